# SPDX-License-Identifier: Apache-2.0
"""Plan and launch fake quantization and its gradients."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import F32
from halfbyte.cuda import channels, copies, elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.quantized import Scheme

_AHEAD = 4  # steps; what the kernel of gradients has in flight at once, at most


def fake_quantize(x: Any, out: Any, scale: Any, zero_point: Any, scheme: Scheme) -> None:
    """out = what x, which has elements, is after quantizing and dequantizing."""
    scale, zero_point = copies.aligned(scale), copies.aligned(zero_point)
    plan = elements.plan(
        x.shape,
        [elements.elements(x), elements.elements(out)],
        elements.scales_and_zero_points(scale, zero_point, x.ndim, scheme),
        step=elements.step_of(x.dtype),
        group_size=scheme.group_size,
    )
    defines = plan.defines | {"TYPE": elements.type_name(x.dtype)}
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
    zero_points = elements.NULL if zero_point is None else copies.dense(zero_point)
    limits = (np.int32(scheme.qmin), np.int32(scheme.qmax))
    pointers = (dy, x, dx, copies.dense(scale), zero_points, sums, dscale)
    defines = plan.defines | _types(dy.dtype, x.dtype)
    arguments = (*pointers, plan.channels, *plan.strides, *limits)
    runtime.launch("fake_quantize_backward", defines, plan.grid, channels.BLOCK, arguments)
    if parts:
        grid = -(-plan.total // channels.CHANNELS_A_BLOCK)
        sizes = (np.int64(plan.total), np.int32(plan.parts))
        runtime.launch("channel_sums", {}, grid, channels.BLOCK, (sums, dscale, *sizes))
    return dscale


def variants() -> Iterator[tuple[str, dict[str, int | str]]]:
    """Yield the file and the defines of the kernels."""
    for dtype in elements.FLOATS:
        for defines in elements.forms(elements.step_of(dtype), packed=False, along=True):
            yield "fake_quantize", defines | {"TYPE": elements.type_name(dtype)}
    for dtypes in itertools.product(elements.FLOATS, elements.FLOATS):
        for defines in channels.forms(*dtypes):
            yield "fake_quantize_backward", defines | _types(*dtypes)
    yield "channel_sums", {}


def _types(upstream: np.dtype[Any], dtype: np.dtype[Any]) -> elements.Defines:
    return {"UPSTREAM": elements.type_name(upstream), "FROM": elements.type_name(dtype)}
