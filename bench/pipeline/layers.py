# SPDX-License-Identifier: Apache-2.0
"""Linear layers, and what lies between them and has no parameters, forward and backward."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import halfbyte
from bench.pipeline.devices import Array, Device
from halfbyte import QuantizedTensor

TAPS = 3  # rows that a convolution sees at once


@dataclass(eq=False)
class Linear:
    """activation(x @ w.T + b); how it is computed is `arithmetic`'s or `quantized`'s to say."""

    w: Array  # (n, k)
    b: Array  # (n,)
    activation: str | None = None
    seen: tuple[Array, ...] = ()  # what the way back needs
    grads: list[Array] = field(default_factory=list)  # of w and b

    @staticmethod
    def drawn(generator: np.random.Generator, k: int, n: int, activation: str | None = "relu"):  # type: ignore[no-untyped-def]
        spread = np.sqrt((2 if activation else 1) / k)  # He's, where half of the outputs are cut
        w = generator.standard_normal((n, k), np.float32) * np.float32(spread)
        return Linear(w, np.zeros(n, np.float32), activation)


def moved(network: Any, device: Device) -> Any:
    """A network that was drawn, its parameters where the run's arrays are."""
    for layer in network.layers:
        layer.w, layer.b = device.asarray(layer.w), device.asarray(layer.b)
    return network


def windows(x: Array | QuantizedTensor) -> Array | QuantizedTensor:
    """Each three neighbouring rows of x (images, rows, channels) as one: a view, nothing is copied.

    This is im2col: a convolution along the rows is `linear` on it. Codes stay codes.
    """
    if isinstance(x, QuantizedTensor):
        return of_codes(x, windows(x.values))
    images, rows, channels = x.shape
    shape = (images, rows - TAPS + 1, TAPS * channels)
    return strides_of(x).as_strided(x, shape, x.strides)


def windows_backward(dy: Array) -> Array:
    """Add up what the windows that hold a row say of it."""
    images, places, taps = dy.shape
    channels = taps // TAPS
    dx = np.zeros_like(dy, shape=(images, places + TAPS - 1, channels))
    for tap in range(TAPS):
        dx[:, tap : tap + places] += dy[..., tap * channels : (tap + 1) * channels]
    return dx


def reshaped(x: Array | QuantizedTensor, *shape: int) -> Array | QuantizedTensor:
    if isinstance(x, QuantizedTensor):
        return of_codes(x, x.values.reshape(shape))
    return x.reshape(shape)


def of_codes(x: QuantizedTensor, values: Array) -> QuantizedTensor:
    """Other codes of the same scale."""
    return QuantizedTensor(values, x.scale, x.zero_point, bits=x.bits, signed=x.signed)


def strides_of(x: Array):  # type: ignore[no-untyped-def]
    """numpy.lib.stride_tricks, or cupy's."""
    return sys.modules[type(x).__module__.partition(".")[0]].lib.stride_tricks


def number(x: Array) -> Array:
    """Numbers to compute with element by element: float32."""
    return halfbyte.to_f32(x) if x.dtype == np.float16 else x


def norm(x: Array) -> tuple[Array, Array]:
    """Each row with mean 0 and variance 1, and 1 / its standard deviation."""
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(1e-5))
    return centred * scale, scale


def norm_backward(dy: Array, y: Array, scale: Array) -> Array:
    mean = dy.mean(axis=-1, keepdims=True)
    return (dy - mean - y * (dy * y).mean(axis=-1, keepdims=True)) * scale


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_backward(dp: Array, p: Array) -> Array:
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))
