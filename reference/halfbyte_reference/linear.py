# SPDX-License-Identifier: Apache-2.0
"""The linear layer with float16 weights: x rounded to FP16, then the GEMM with w transposed."""

import numpy as np

from halfbyte_reference.casts import to_f16
from halfbyte_reference.gemm_f16 import gemm_f16


def linear(x, w, bias=None, *, activation=None, out_dtype=None) -> np.ndarray:
    """Return activation(x @ w.T + bias).

    x is (..., k), float32 (rounded to float16 first) or float16; w is (n, k) float16.
    """
    x16 = x if x.dtype == np.float16 else to_f16(x)
    # Leading dimensions become rows, also when there are none: row i depends on row i alone.
    rows = x16.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])
    y = gemm_f16(rows, w.T, bias=bias, activation=activation, out_dtype=out_dtype)
    return y.reshape((*x.shape[:-1], w.shape[0]))
