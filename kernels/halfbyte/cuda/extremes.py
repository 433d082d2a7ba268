# SPDX-License-Identifier: Apache-2.0
"""The least and the greatest finite elements of an array, by channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import F32
from halfbyte.cuda import channels, elements, runtime
from halfbyte.quantized import I32, scale_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

_AHEAD = 8  # steps; what the kernel has in flight at once, at most


def find(x: Any, axis: int | None = None, group_size: int | None = None) -> tuple[Any, Any, Any]:
    """Return lo and hi of the scale's shape, inf and -inf where there is no finite element.

    And an int32, 1 where some element is not finite, else 0.
    """
    shape = scale_shape(x.shape, axis, group_size)
    bad = runtime.zeros((), I32)
    if not x.size:
        return _filled(shape, np.inf), _filled(shape, -np.inf), bad
    plan = channels.plan([x], axis, group_size, _AHEAD)
    if plan.parts == 1:
        lo, hi = runtime.empty(shape, F32), runtime.empty(shape, F32)
    else:
        lo, hi = _filled(shape, np.inf), _filled(shape, -np.inf)
    defines = plan.defines | {"FROM": elements.type_name(x.dtype)}
    arguments = (x, lo, hi, bad, plan.channels, *plan.strides)
    runtime.launch("extremes", defines, plan.grid, channels.BLOCK, arguments)
    return lo, hi, bad


def variants() -> Iterator[tuple[str, dict[str, int | str]]]:
    """Yield the file and the defines of every kernel for up to two dimensions."""
    for dtype in elements.FLOATS:
        for defines in channels.forms(dtype):
            yield "extremes", defines | {"FROM": elements.type_name(dtype)}


def _filled(shape: tuple[int, ...], value: float) -> Any:
    return runtime.upload(np.full(shape, value, F32))
