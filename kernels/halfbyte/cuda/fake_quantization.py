# SPDX-License-Identifier: Apache-2.0
"""Plan and launch fake quantization and its gradients."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import F32
from halfbyte.cuda import channels, elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.quantized import Scheme

_TYPES = ("float32", "uint16")  # the latter for float16
_AHEAD = 4  # steps; what the kernel of gradients has in flight at once
_CHANNELS_A_BLOCK = 8  # of channel_sums


def fake_quantize(x: Any, out: Any, scale: Any, zero_point: Any, scheme: Scheme) -> None:
    """out = what x, which has elements, is after quantizing and dequantizing."""
    scale, zero_point = elements.aligned(scale), elements.aligned(zero_point)
    plan = elements.plan(
        x.shape,
        [elements.elements(x), elements.elements(out)],
        elements.scales_and_zero_points(scale, zero_point, x.ndim, scheme),
        step=_step(x.itemsize),
        group_size=scheme.group_size,
    )
    defines = plan.defines | {"TYPE": channels.type_name(x.dtype)}
    pointers = (x, out, scale, elements.NULL if zero_point is None else zero_point)
    limits = (np.int32(scheme.qmin), np.int32(scheme.qmax))
    arguments = (*pointers, plan.layout, *limits)
    runtime.launch("fake_quantize", defines, plan.grid, elements.THREADS, arguments)


def fake_quantize_backward(
    dy: Any, x: Any, dx: Any, scale: Any, zero_point: Any, scheme: Scheme
) -> Any:
    """Fill dx; return dscale. x has elements."""
    plan = channels.plan([x, dy, dx], scheme.axis, scheme.group_size, _AHEAD)
    dscale = runtime.empty(scale.shape, F32)
    parts = plan.parts > 1
    sums = runtime.empty((plan.total, plan.parts), np.float64) if parts else elements.NULL
    zero_points = elements.NULL if zero_point is None else channels.dense(zero_point)
    limits = (np.int32(scheme.qmin), np.int32(scheme.qmax))
    pointers = (dy, x, dx, channels.dense(scale), zero_points, sums, dscale)
    defines = plan.defines | _types(*map(channels.type_name, (dy.dtype, x.dtype)))
    arguments = (*pointers, plan.channels, *plan.strides, *limits)
    runtime.launch("fake_quantize_backward", defines, plan.grid, channels.BLOCK, arguments)
    if parts:
        grid = -(-plan.total // _CHANNELS_A_BLOCK)
        sizes = (np.int64(plan.total), np.int32(plan.parts))
        runtime.launch("channel_sums", {}, grid, channels.BLOCK, (sums, dscale, *sizes))
    return dscale


def variants() -> Iterator[tuple[str, dict[str, int | str]]]:
    """Yield the file and the defines of the kernels."""
    for name, size in zip(_TYPES, (4, 2), strict=True):
        for defines in elements.forms(_step(size), packed=False, along=True):
            yield "fake_quantize", defines | {"TYPE": name}
    for upstream, name in itertools.product(_TYPES, _TYPES):
        for defines in channels.forms(upstream, name):
            yield "fake_quantize_backward", defines | _types(upstream, name)
    yield "channel_sums", {}


def _step(size: int) -> int:
    """Return how many elements a thread has at once: 16 bytes."""
    return 16 // size


def _types(upstream: str, name: str) -> dict[str, int | str]:
    return {"UPSTREAM": upstream, "FROM": name}
