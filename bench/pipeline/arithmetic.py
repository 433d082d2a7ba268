# SPDX-License-Identifier: Apache-2.0
"""How the networks' products are computed while they are trained: FP32, or FP16 with FP32 sums."""

from __future__ import annotations

import numpy as np

import halfbyte
from bench.pipeline.devices import Array
from bench.pipeline.layers import Linear, number


class Single:
    """FP32, by NumPy or CuPy: what the others are compared with."""

    flushed_share = 0.0  # of the gradients' elements that are not 0: are, once rounded

    def prepare(self, layers: list[Linear]) -> None:
        """Make the parameters what is trained."""

    def linear(self, layer: Linear, x: Array) -> Array:
        y = x @ layer.w.T + layer.b
        if layer.activation:
            y = np.maximum(y, 0)
        layer.seen = x, y
        return y

    def backward(self, layer: Linear, dy: Array) -> Array:
        """Keep the gradients of the layer's parameters, return that of its x."""
        x, y = layer.seen
        if layer.activation:
            dy = number(dy) * (y > 0)
        dy = self.gradient(dy)
        tall = dy.reshape(-1, dy.shape[-1])
        dw = self.product(tall.T, x.reshape(-1, x.shape[-1]))
        layer.grads = [self.gradient(dw), number(tall).sum(axis=0)]
        return self.product(dy, layer.w)

    def product(self, a: Array, b: Array) -> Array:
        return a @ b

    def gradient(self, dx: Array) -> Array:
        return dx

    def stepped(self) -> None:
        """After each step of the optimizer."""


class Half(Single):
    """FP16 weights and activations, sums in FP32; what is element by element is FP32."""

    def __init__(self) -> None:
        self.gradients = self.flushed = 0  # elements; on a GPU these are counted there

    @property
    def flushed_share(self) -> float:  # type: ignore[override]
        return float(self.flushed / self.gradients) if self.gradients else 0.0

    def prepare(self, layers: list[Linear]) -> None:
        for layer in layers:
            layer.w = half(layer.w)

    def linear(self, layer: Linear, x: Array) -> Array:
        x = half(x)
        y = halfbyte.linear(x, layer.w, layer.b, activation=layer.activation, out_dtype=np.float16)
        layer.seen = x, y
        return y

    def product(self, a: Array, b: Array) -> Array:
        return halfbyte.gemm_f16(half(a), half(b))

    def gradient(self, dx: Array) -> Array:
        """Round a gradient to FP16, and count what was not 0 and is."""
        if dx.dtype == np.float16:
            return dx
        rounded = halfbyte.to_f16(dx)
        some = np.count_nonzero(dx)
        self.gradients += some
        self.flushed += some - np.count_nonzero(rounded.view(np.uint16) << 1)  # without the sign
        return rounded


def half(x: Array) -> Array:
    return x if x.dtype == np.float16 else halfbyte.to_f16(x)
