# SPDX-License-Identifier: Apache-2.0
"""Products of halves on a GPU: tensor cores add in an order of their own, so that there are no bits
to compare, but a bound for each element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import halfbyte_reference as reference
from bench.pipeline.devices import Array, codes_of, downloaded, on_host
from bench.pipeline.layers import Linear
from bench.pipeline.quantized import Halves, Quantized
from halfbyte import QuantizedTensor
from halfbyte_reference import bounds

STEP = 8  # products that a tensor core adds at once, or more: a partial sum has no fewer


def of_bound(network: Quantized | Halves, x: Array) -> float:
    """The largest distance of a product's element to the exact one, of its bound."""
    watching = Watching(network)
    network.network.forward(x, watching)
    return watching.of_bound


class Watching:
    """The arithmetic of a network with halves in its products, each compared with FP64."""

    def __init__(self, watched: Quantized | Halves) -> None:
        self.watched = watched
        self.of_bound = 0.0

    def linear(self, layer: Linear, x: Array) -> Array:
        y = self.watched.linear(layer, x)
        if isinstance(self.watched, Halves):
            w, out_dtype = self.watched.halves[id(layer)], np.float16
        else:
            w, out_dtype = self.watched.weights[self.watched.place[id(layer)]], None
        self._compare(y, of_layer(x, w, layer.b, layer.activation, out_dtype))
        return y

    def product(self, a: Array, b: Array) -> Array:
        c = self.watched.product(a, b)
        if isinstance(self.watched, Halves):
            self._compare(c, bounds.cast(*of_product(*(in_halves(on_host(x)) for x in (a, b)))))
        return c

    def _compare(self, got: Array, bounded: bounds.Bounded) -> None:
        got, (value, bound, inf_allowed) = on_host(got).astype(np.float64), bounded
        with np.errstate(invalid="ignore"):
            off = np.abs(got - value) / np.maximum(bound, math.ulp(0.0))
        off[inf_allowed & np.isinf(got)] = 0
        self.of_bound = max(self.of_bound, float(off.max()))


def of_layer(
    x: Array, w: Any, bias: Array, activation: str | None, out_dtype: Any = None
) -> bounds.Bounded:
    """The exact result of a layer, and how far from it tensor cores may be. w: halves, or codes
    whose x is halves."""
    rows = in_halves(on_host(x)).reshape(-1, x.shape[-1])
    if isinstance(w, QuantizedTensor):
        w = downloaded(w)
        splits = partial_sums(min(w.group_size or rows.shape[1], rows.shape[1]))
        found = bounds.weight_only_tensor_core(rows, codes_of(w), w.scale, w.group_size, splits)
    else:
        found = of_product(rows, on_host(w).T)
    ends = {"bias": on_host(bias), "activation": activation, "out_dtype": out_dtype}
    bounded = bounds.layer_epilogue(*found, **ends)
    return bounds.Bounded(*(part.reshape(*x.shape[:-1], -1) for part in bounded))


def of_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    k = a.shape[-1]
    bound = bounds.gemm_tensor_core(bounds.magnitude(a, b), k, partial_sums(k))
    return a.astype(np.float64) @ b.astype(np.float64), bound


def partial_sums(k: int) -> int:
    return -(-k // STEP)


def in_halves(x: np.ndarray) -> np.ndarray:
    return x if x.dtype == np.float16 else reference.to_f16(x)
