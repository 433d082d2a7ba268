# SPDX-License-Identifier: Apache-2.0
"""Scales with the least squared error, of 41 candidates a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import channels, copies, elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.quantized import Scheme

_CANDIDATES = 41
_AHEAD = 4  # steps; what the kernel of errors has in flight at once, at most


def best_scales(x: Any, scale: Any, zero_point: Any, scheme: Scheme) -> None:
    """Make each scale the candidate of the least error in place; x has elements.

    scale: what the extremes give. zero_point: what belongs to it, or None.
    """
    own = copies.dense(scale)
    zero_points = elements.NULL if zero_point is None else copies.dense(zero_point)
    plan = channels.plan([x], scheme.axis, scheme.group_size, _AHEAD)
    parts = plan.parts > 1
    shape = (plan.total, plan.parts, _CANDIDATES)
    sums = runtime.empty(shape, np.float64) if parts else elements.NULL
    defines = plan.defines | {"FROM": elements.type_name(x.dtype)}
    limits = (np.int32(scheme.qmin), np.int32(scheme.qmax))
    arguments = (x, own, zero_points, sums, plan.channels, *plan.strides, *limits)
    runtime.launch("errors", defines, plan.grid, channels.BLOCK, arguments)
    if parts:
        grid = -(-plan.total // channels.CHANNELS_A_BLOCK)
        sizes = (np.int64(plan.total), np.int32(plan.parts))
        runtime.launch("best_scale", {}, grid, channels.BLOCK, (sums, own, *sizes))
    if own is not scale:
        runtime.assign(scale, own)


def variants() -> Iterator[tuple[str, dict[str, int | str]]]:
    """Yield the file and the defines of the kernels."""
    for dtype in elements.FLOATS:
        for defines in channels.forms(dtype):
            yield "errors", defines | {"FROM": elements.type_name(dtype)}
    yield "best_scale", {}
