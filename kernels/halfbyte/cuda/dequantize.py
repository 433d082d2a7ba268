# SPDX-License-Identifier: Apache-2.0
"""Plan and launch codes back to numbers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.quantized import Scheme

_TYPES = {4: "float32", 2: "uint16"}
_CODES = ("int8", "uint8", "nibbles")


def dequantize(q: Any, out: Any, scale: Any, zero_point: Any, scheme: Scheme) -> None:
    """out = (code - zero point) * scale, of a shape that has elements."""
    codes = "nibbles" if scheme.bits == 4 else q.dtype.name
    packed = codes == "nibbles"
    scale, zero_point = elements.aligned(scale), elements.aligned(zero_point)
    plan = elements.plan(
        out.shape,
        [elements.nibbles(q) if packed else elements.elements(q), elements.elements(out)],
        elements.scales_and_zero_points(scale, zero_point, out.ndim, scheme),
        step=_step(codes, out.itemsize),
        group_size=scheme.group_size,
    )
    pointers = (q, out, scale, elements.NULL if zero_point is None else zero_point)
    flip = np.int32(8 if packed and scheme.qmin < 0 else 0)
    defines = plan.defines | _defines(codes, out.itemsize)
    arguments = (*pointers, plan.layout, flip)
    runtime.launch("dequantize", defines, plan.grid, elements.THREADS, arguments)


def variants() -> Iterator[tuple[str, elements.Defines]]:
    """Yield the file and the defines of the kernels."""
    for codes, size in itertools.product(_CODES, _TYPES):
        step = _step(codes, size)
        for defines in elements.forms(step, packed=codes == "nibbles", along=True):
            yield "dequantize", defines | _defines(codes, size)


def _step(codes: str, size: int) -> int:
    """Return how many elements a unit has: 16 bytes of out, 32 of float32 from nibbles."""
    return 8 if codes == "nibbles" else 16 // size


def _defines(codes: str, size: int) -> elements.Defines:
    packed = codes == "nibbles"
    return {"CODE": "uint8" if packed else codes, "NIBBLES": int(packed), "TO": _TYPES[size]}
