# SPDX-License-Identifier: Apache-2.0
"""Scales with the least squared error, of 41 candidates a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import channels, elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.quantized import Scheme

_CANDIDATES = 41
_AHEAD = 4  # steps; what a thread has in flight at once
_CHANNELS_A_BLOCK = 8  # of best_scale


def best_scales(x: Any, scale: Any, zero_point: Any, scheme: Scheme) -> None:
    """Make each scale the candidate of the least error in place; x has elements.

    scale: what the extremes give. zero_point: what belongs to it, or None.
    """
    own = channels.dense(scale)
    zero_points = elements.NULL if zero_point is None else channels.dense(zero_point)
    plan = channels.plan([x], scheme.axis, scheme.group_size, _AHEAD)
    parts = plan.parts > 1
    shape = (plan.count, plan.parts, _CANDIDATES)
    sums = runtime.empty(shape, np.float64) if parts else elements.NULL
    runtime.launch(
        "errors",
        plan.defines | {"FROM": channels.type_name(x.dtype)},
        plan.grid,
        channels.BLOCK,
        (x, own, zero_points, sums, plan.channels, *plan.strides)
        + (np.int32(scheme.qmin), np.int32(scheme.qmax)),
    )
    if parts:
        grid = -(-plan.count // _CHANNELS_A_BLOCK)
        arguments = (sums, own, np.int64(plan.count), np.int32(plan.parts))
        runtime.launch("best_scale", {}, grid, channels.BLOCK, arguments)
    if own is not scale:
        runtime.assign(scale, own)


def variants() -> Iterator[tuple[str, dict[str, int | str]]]:
    """Yield the file and the defines of the kernels."""
    for name in ("float32", "uint16"):
        for defines in channels.forms(name):
            yield "errors", defines | {"FROM": name}
    yield "best_scale", {}
