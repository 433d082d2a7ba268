# SPDX-License-Identifier: Apache-2.0
"""Plan and launch codes of given scales."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import copies, elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.quantized import Scheme


def quantize(
    x: Any, out: Any, scale: Any, zero_point: Any, scheme: Scheme, seed: int | None
) -> None:
    """Codes of x, which has elements; to nearest, or stochastically with a seed."""
    packed, stochastic = scheme.bits == 4, seed is not None
    scale, zero_point = copies.aligned(scale), copies.aligned(zero_point)
    plan = elements.plan(
        x.shape,
        [elements.elements(x), elements.nibbles(out) if packed else elements.elements(out)],
        elements.scales_and_zero_points(scale, zero_point, x.ndim, scheme),
        elements.numbers(x.shape) if stochastic else None,
        step=elements.step_of(x.dtype, packed=packed),
        group_size=scheme.group_size,
    )
    defines = plan.defines | _defines(x.dtype, packed=packed, stochastic=stochastic)
    pointers = (x, out, scale, elements.NULL if zero_point is None else zero_point)
    limits = (np.int32(scheme.qmin), np.int32(scheme.qmax))
    arguments = (*pointers, plan.layout, *limits, np.uint64(seed or 0))
    runtime.launch("quantize", defines, plan.grid, elements.THREADS, arguments)


def variants() -> Iterator[tuple[str, elements.Defines]]:
    """Yield the file and the defines of the kernels."""
    both = (False, True)
    for dtype, packed, stochastic in itertools.product(elements.FLOATS, both, both):
        step = elements.step_of(dtype, packed=packed)
        for defines in elements.forms(step, packed=packed, along=True):
            yield "quantize", defines | _defines(dtype, packed=packed, stochastic=stochastic)


def _defines(dtype: np.dtype[Any], *, packed: bool, stochastic: bool) -> elements.Defines:
    return {
        "FROM": elements.type_name(dtype),
        "NIBBLES": int(packed),
        "STOCHASTIC": int(stochastic),
    }
