# SPDX-License-Identifier: Apache-2.0
"""What torch offers for quantization.

`torch` is torch's own function of the same meaning, the fastest that there is:
    quantize INT8           quantize_per_channel (quantized_decomposed takes twice as long)
    quantize INT4           quantize_per_channel to quint4x2
    scales from the data    maximum(amax, -amin) (abs, then amax: longer; aminmax: 8 times as long)
    dequantize              .dequantize() (with out: longer)
    fake_quantize           fake_quantize_per_channel_affine
    ..._backward            _fake_quantize_learnable_per_channel_affine_backward: dx and dscale. The
                            gradient without dscale takes half of that.
    requantize              none: a cast, then quantize_per_channel with the reciprocal scale
`torch ops` is a chain of torch's vectorized operations into given buffers, which needs several
passes over memory and is faster all the same; quantize_per_tensor with a scale of 1 rounds, clips
and casts in one of them. Not torch.compile: it needs a C++ compiler where it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench import codes
from bench.codes import TINY, Arrays, Case
from bench.rows import Job
from halfbyte_reference import pack_nibbles


def prepare(params: dict[str, Any]) -> Job:
    return _job(_FUNCTIONS, params)


def prepare_chain(params: dict[str, Any]) -> Job:
    return _job(_CHAINS, params)


def _job(makers: dict[str, Callable[..., Callable[[], Any]]], params: dict[str, Any]) -> Job:
    case = Case(**params)
    call = makers[case.function](case, **codes.inputs(case))
    return Job([call], lambda: codes.check(case, _arrays(case, call()), exact=False))


def _arrays(case: Case, got: tuple[Any, ...]) -> Arrays:
    """What a call gave, as the reference gives it."""
    import torch

    arrays = []
    for tensor in got:
        plain = tensor.int_repr() if tensor.is_quantized else tensor
        array = plain.numpy()
        if tensor.dtype == torch.quint4x2:
            array = array ^ np.uint8(0x88)  # from unsigned nibbles with zero point 8
        # Channels may have been rows of their own.
        arrays.append(array.reshape(case.shape[0], -1) if array.size > case.shape[0] else array)
    return tuple(arrays)


def _scale_of(case: Case, channels: Any) -> Any:
    """The scales of the data, a channel a row."""
    import torch

    scale = torch.maximum(channels.amax(1), channels.amin(1).neg_()).div_(case.qmax)
    if case.check_finite and not bool(torch.isfinite(scale).all()):
        raise ValueError
    scale[scale < TINY] = 1
    return scale


def _quantize(
    case: Case, x: np.ndarray, scale: np.ndarray | None = None
) -> Callable[[], tuple[Any, ...]]:
    import torch

    channels = torch.from_numpy(x).view(-1, case.group_size or case.columns)
    given = None if scale is None else torch.from_numpy(scale)
    kind = torch.qint8 if case.bits == 8 else torch.quint4x2
    # quint4x2 wants its zero points as floats.
    zero_point = torch.zeros(len(channels), dtype=torch.int64)
    zero_point = zero_point if case.bits == 8 else zero_point.float() + 8

    def call() -> tuple[Any, ...]:
        s = _scale_of(case, channels) if given is None else given
        return torch.quantize_per_channel(channels, s, zero_point, 0, kind), s

    return call


def _dequantize(case: Case, codes: np.ndarray, scale: np.ndarray) -> Callable[[], tuple[Any, ...]]:
    import torch

    channels = torch.from_numpy(codes).view(scale.size, -1)
    s = torch.from_numpy(scale).view(-1)
    zero_point = torch.zeros(len(s), dtype=torch.int64)
    if case.bits == 8:
        q = torch._make_per_channel_quantized_tensor(channels, s, zero_point, 0)
    else:
        y = channels * s[:, None]
        q = torch.quantize_per_channel(y, s, zero_point.float() + 8, 0, torch.quint4x2)
    return lambda: (q.dequantize(),)


def _fake_quantize(case: Case, x: np.ndarray, scale: np.ndarray) -> Callable[[], tuple[Any, ...]]:
    import torch

    zero_point = torch.zeros(len(scale), dtype=torch.int32)
    arguments = torch.from_numpy(x), torch.from_numpy(scale), zero_point, 0, -case.qmax, case.qmax
    return lambda: (torch.fake_quantize_per_channel_affine(*arguments),)


def _backward(
    case: Case, dy: np.ndarray, x: np.ndarray, scale: np.ndarray
) -> Callable[[], tuple[Any, ...]]:
    import torch

    function = torch.ops.aten._fake_quantize_learnable_per_channel_affine_backward
    tensors = (torch.from_numpy(array) for array in (dy, x, scale))
    arguments = *tensors, torch.zeros(len(scale)), 0, -case.qmax, case.qmax, 1.0
    return lambda: function(*arguments)[:2]


def _requantize(case: Case, acc: np.ndarray, scale: np.ndarray) -> Callable[[], tuple[Any, ...]]:
    import torch

    a, reciprocal = torch.from_numpy(acc), 1 / torch.from_numpy(scale)
    work = torch.zeros(acc.shape)
    zero_point = torch.zeros(len(reciprocal), dtype=torch.int64)
    kind = torch.qint8
    return lambda: (torch.quantize_per_channel(work.copy_(a), reciprocal, zero_point, 1, kind),)


# ---- Chains of torch's operations --------------------------------------------------------------
def _quantize_by_chain(
    case: Case, x: np.ndarray, scale: np.ndarray | None = None
) -> Callable[[], tuple[Any, ...]]:
    import torch

    channels = torch.from_numpy(x).view(-1, case.group_size or case.columns)
    given = None if scale is None else torch.from_numpy(scale)
    work, values = torch.zeros_like(channels), torch.zeros(channels.shape, dtype=torch.int8)
    both = values.view(torch.int16)  # two codes, the first one low
    nibbles, low = torch.zeros_like(both), torch.zeros_like(both)
    packed = torch.zeros(both.shape, dtype=torch.uint8)

    def call() -> tuple[Any, ...]:
        s = _scale_of(case, channels) if given is None else given
        torch.div(channels, s[:, None], out=work)
        if case.bits == 8:
            return torch.quantize_per_tensor(work, 1.0, 0, torch.qint8), s
        values.copy_(work.round_().clamp_(-case.qmax, case.qmax))
        torch.bitwise_right_shift(both, 4, out=nibbles).bitwise_and_(0xF0)
        nibbles.bitwise_or_(torch.bitwise_and(both, 15, out=low))
        return packed.copy_(nibbles), s

    return call


def _dequantize_by_chain(
    case: Case, codes: np.ndarray, scale: np.ndarray
) -> Callable[[], tuple[Any, ...]]:
    import torch

    values, s = torch.from_numpy(codes), torch.from_numpy(scale).view(-1, 1)
    y = torch.zeros(case.shape)
    channels = y.view(len(s), -1)
    if case.bits == 8:
        return lambda: (y.copy_(values).mul_(s),)
    packed = torch.from_numpy(pack_nibbles(codes)).view(torch.int8)
    work, pairs = torch.zeros_like(packed), y.view(*packed.shape, 2)

    def call() -> tuple[Any, ...]:
        torch.bitwise_left_shift(packed, 4, out=work)
        pairs[..., 0].copy_(work.bitwise_right_shift_(4))
        pairs[..., 1].copy_(torch.bitwise_right_shift(packed, 4, out=work))
        channels.mul_(s)
        return (y,)

    return call


def _fake_quantize_by_chain(
    case: Case, x: np.ndarray, scale: np.ndarray
) -> Callable[[], tuple[Any, ...]]:
    import torch

    source, s, y = torch.from_numpy(x), torch.from_numpy(scale)[:, None], torch.zeros(x.shape)

    def call() -> tuple[Any, ...]:
        torch.div(source, s, out=y)
        return (y.round_().clamp_(-case.qmax, case.qmax).mul_(s),)

    return call


def _backward_by_chain(
    case: Case, dy: np.ndarray, x: np.ndarray, scale: np.ndarray
) -> Callable[[], tuple[Any, ...]]:
    import torch

    gradient, source, s = (torch.from_numpy(array) for array in (dy, x, scale))
    steps, rounded, dx = (torch.zeros(x.shape) for _ in range(3))
    inside, zero = torch.zeros(x.shape, dtype=torch.bool), torch.zeros(())

    def call() -> tuple[Any, ...]:
        torch.div(source, s[:, None], out=steps)
        torch.round(steps, out=rounded)
        torch.sub(rounded, steps, out=steps)
        torch.clamp(rounded, -case.qmax, case.qmax, out=dx)
        torch.eq(dx, rounded, out=inside)
        torch.where(inside, steps, dx, out=steps)
        dscale = steps.mul_(gradient).sum(1)
        return torch.where(inside, gradient, zero, out=dx), dscale

    return call


def _requantize_by_chain(
    case: Case, acc: np.ndarray, scale: np.ndarray
) -> Callable[[], tuple[Any, ...]]:
    import torch

    a, s, work = torch.from_numpy(acc), torch.from_numpy(scale), torch.zeros(acc.shape)
    return lambda: (torch.quantize_per_tensor(work.copy_(a).mul_(s), 1.0, 0, torch.qint8),)


_FUNCTIONS = {
    "quantize": _quantize,
    "dequantize": _dequantize,
    "fake_quantize": _fake_quantize,
    "fake_quantize_backward": _backward,
    "requantize": _requantize,
}
_CHAINS = {
    "quantize": _quantize_by_chain,
    "dequantize": _dequantize_by_chain,
    "fake_quantize": _fake_quantize_by_chain,
    "fake_quantize_backward": _backward_by_chain,
    "requantize": _requantize_by_chain,
}
