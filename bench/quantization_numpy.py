# SPDX-License-Identifier: Apache-2.0
"""Quantization as a user of NumPy writes it: whole arrays, a ufunc a step, buffers given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench import codes
from bench.codes import TINY, Arrays, Case
from bench.rows import Job
from halfbyte_reference import pack_nibbles


def prepare(params: dict[str, Any]) -> Job:
    case = Case(**params)
    call = _MAKERS[case.function](case, **codes.inputs(case))
    return Job([call], lambda: codes.check(case, call(), exact=False))


def _quantize(case: Case, x: np.ndarray, scale: np.ndarray | None = None) -> Callable[[], Arrays]:
    channels = x.reshape(*case.scale_shape, -1)
    work, values = np.zeros_like(channels), np.zeros(channels.shape, np.int8)
    nibbles = values.view(np.uint8).reshape(case.shape)
    packed = np.zeros((case.shape[0], case.columns // 2), np.uint8)

    def call() -> Arrays:
        s = scale
        if s is None:
            s = np.abs(channels, out=work).max(axis=-1) / np.float32(case.qmax)
            if case.check_finite and not np.isfinite(s).all():
                raise ValueError
            s[s < TINY] = 1
        np.divide(channels, s[..., None], out=work)
        np.rint(work, out=work)
        np.clip(work, -case.qmax, case.qmax, out=work)
        np.copyto(values, work, casting="unsafe")
        if case.bits == 8:
            return values, s
        np.left_shift(nibbles[:, 1::2], 4, out=packed)
        np.bitwise_or(packed, nibbles[:, 0::2] & 15, out=packed)
        return packed, s

    return call


def _dequantize(case: Case, codes: np.ndarray, scale: np.ndarray) -> Callable[[], Arrays]:
    y = np.zeros(case.shape, np.float32)
    channels = y.reshape(*case.scale_shape, -1)
    if case.bits == 8:
        return lambda: (np.multiply(codes, scale[:, None], out=y),)
    packed = pack_nibbles(codes).view(np.int8)
    values = np.zeros_like(codes)

    def call() -> Arrays:
        np.right_shift(np.left_shift(packed, 4), 4, out=values[:, 0::2])
        np.right_shift(packed, 4, out=values[:, 1::2])
        np.multiply(values.reshape(channels.shape), scale[..., None], out=channels)
        return (y,)

    return call


def _fake_quantize(case: Case, x: np.ndarray, scale: np.ndarray) -> Callable[[], Arrays]:
    y = np.zeros_like(x)

    def call() -> Arrays:
        np.divide(x, scale[:, None], out=y)
        np.rint(y, out=y)
        np.clip(y, -case.qmax, case.qmax, out=y)
        np.multiply(y, scale[:, None], out=y)
        return (y,)

    return call


def _backward(case: Case, dy: np.ndarray, x: np.ndarray, scale: np.ndarray) -> Callable[[], Arrays]:
    steps, rounded, clipped, dx = (np.zeros_like(x) for _ in range(4))

    def call() -> Arrays:
        np.divide(x, scale[:, None], out=steps)
        np.rint(steps, out=rounded)
        np.clip(rounded, -case.qmax, case.qmax, out=clipped)
        inside = rounded == clipped
        np.subtract(rounded, steps, out=clipped, where=inside)
        dscale = np.multiply(clipped, dy, out=clipped).sum(axis=1)
        return np.multiply(dy, inside, out=dx), dscale

    return call


def _requantize(case: Case, acc: np.ndarray, scale: np.ndarray) -> Callable[[], Arrays]:
    work, values = np.zeros(acc.shape, np.float32), np.zeros(acc.shape, np.int8)

    def call() -> Arrays:
        np.multiply(acc, scale, out=work, dtype=np.float32)
        np.rint(work, out=work)
        np.clip(work, -128, 127, out=work)
        np.copyto(values, work, casting="unsafe")
        return (values,)

    return call


_MAKERS = {
    "quantize": _quantize,
    "dequantize": _dequantize,
    "fake_quantize": _fake_quantize,
    "fake_quantize_backward": _backward,
    "requantize": _requantize,
}
