# SPDX-License-Identifier: Apache-2.0
"""Plan and launch codes back to numbers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import copies, elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.quantized import Scheme

_CODES = ("int8", "uint8", "nibbles")


def dequantize(q: Any, out: Any, scale: Any, zero_point: Any, scheme: Scheme) -> None:
    """out = (code - zero point) * scale, of a shape that has elements."""
    codes = "nibbles" if scheme.bits == 4 else q.dtype.name
    packed = codes == "nibbles"
    scale, zero_point = copies.aligned(scale), copies.aligned(zero_point)
    plan = elements.plan(
        out.shape,
        [elements.nibbles(q) if packed else elements.elements(q), elements.elements(out)],
        elements.scales_and_zero_points(scale, zero_point, out.ndim, scheme),
        step=elements.step_of(out.dtype, packed=packed),
        group_size=scheme.group_size,
    )
    pointers = (q, out, scale, elements.NULL if zero_point is None else zero_point)
    flip = np.int32(8 if packed and scheme.qmin < 0 else 0)
    defines = plan.defines | _defines(codes, out.dtype)
    arguments = (*pointers, plan.layout, flip)
    runtime.launch("dequantize", defines, plan.grid, elements.THREADS, arguments)


def variants() -> Iterator[tuple[str, elements.Defines]]:
    """Yield the file and the defines of the kernels."""
    for codes, dtype in itertools.product(_CODES, elements.FLOATS):
        packed = codes == "nibbles"
        step = elements.step_of(dtype, packed=packed)
        for defines in elements.forms(step, packed=packed, along=True):
            yield "dequantize", defines | _defines(codes, dtype)


def _defines(codes: str, dtype: np.dtype[Any]) -> elements.Defines:
    packed = codes == "nibbles"
    code = "uint8" if packed else codes
    return {"CODE": code, "NIBBLES": int(packed), "TO": elements.type_name(dtype)}
