# SPDX-License-Identifier: Apache-2.0
"""Plan and launch codes of given scales."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.quantized import Scheme

_TYPES = {4: "float32", 2: "uint16"}


def quantize(
    x: Any, out: Any, scale: Any, zero_point: Any, scheme: Scheme, seed: int | None
) -> None:
    """Codes of x, which has elements; to nearest, or stochastically with a seed."""
    packed, stochastic = scheme.bits == 4, seed is not None
    scale, zero_point = elements.aligned(scale), elements.aligned(zero_point)
    plan = elements.plan(
        x.shape,
        [elements.elements(x), elements.nibbles(out) if packed else elements.elements(out)],
        elements.scales_and_zero_points(scale, zero_point, x.ndim, scheme),
        elements.numbers(x.shape) if stochastic else None,
        step=_step(x.itemsize, packed=packed),
        group_size=scheme.group_size,
    )
    defines = plan.defines | _defines(x.itemsize, packed=packed, stochastic=stochastic)
    pointers = (x, out, scale, elements.NULL if zero_point is None else zero_point)
    limits = (np.int32(scheme.qmin), np.int32(scheme.qmax))
    arguments = (*pointers, plan.layout, *limits, np.uint64(seed or 0))
    runtime.launch("quantize", defines, plan.grid, elements.THREADS, arguments)


def variants() -> Iterator[tuple[str, elements.Defines]]:
    """Yield the file and the defines of the kernels."""
    for size, packed, stochastic in itertools.product(_TYPES, (False, True), (False, True)):
        for defines in elements.forms(_step(size, packed=packed), packed=packed, along=True):
            yield "quantize", defines | _defines(size, packed=packed, stochastic=stochastic)


def _step(size: int, *, packed: bool) -> int:
    """Return how many elements a thread has at once: 16 bytes of x, 32 where codes are nibbles."""
    return 8 if packed else 16 // size


def _defines(size: int, *, packed: bool, stochastic: bool) -> elements.Defines:
    return {"FROM": _TYPES[size], "NIBBLES": int(packed), "STOCHASTIC": int(stochastic)}
