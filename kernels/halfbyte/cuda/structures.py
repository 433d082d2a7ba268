# SPDX-License-Identifier: Apache-2.0
"""C structures as NumPy dtypes, which kernels take by value: see product.cuh and epilogue.cuh."""

from __future__ import annotations

from typing import Any

import numpy as np

from halfbyte.cuda.gemm_f16_problem import BATCH

I32, I64, ADDRESS = np.int32, np.int64, np.uint64


def structure(**fields: Any) -> np.dtype[Any]:
    """Return the dtype of a C structure; a field is a dtype, or one and a shape."""
    return np.dtype(list(fields.items()), align=True)


_STRIDES = (I64, (BATCH,))
OPERAND = structure(start=ADDRESS, row=I64, step=I64, batch=_STRIDES, aligned=I32, by_rows=I32)
STRIDED = structure(start=ADDRESS, row=I64, column=I64, batch=_STRIDES)
# Fields that products of halves and of integers have in common, in this order.
SIZES = {
    "sums": ADDRESS,
    **dict.fromkeys(("m", "n", "k", "pitch", "products", "split_k"), I64),
    "batch": (I64, (2,)),
    "first": I64,
    **dict.fromkeys(("splits", "tiles_m", "tiles_n"), I32),
}
