# SPDX-License-Identifier: Apache-2.0
"""A quantized network beside the plain NumPy reference, layer by layer.

Two questions. Are these the reference's bits? And how far is the integers' result from the product
that simulated quantization takes, FP32 of fake-quantized numbers: within its bound? Of halves on a
GPU there is the second one alone (`cores`).

The reference computes in the CPU's memory. What lies between layers is the same for both: where the
network is, by NumPy or CuPy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import halfbyte_reference as reference
from bench.pipeline import cores
from bench.pipeline.devices import Array, codes_of, downloaded, on_gpu, on_host
from bench.pipeline.layers import Linear
from bench.pipeline.quantized import Grid, Halves, Quantized
from halfbyte import QuantizedTensor

U = 2.0**-24  # half a unit in FP32's last place


class Reference:
    """The arithmetic of a `Quantized`, of the reference's functions."""

    def __init__(self, checked: Quantized) -> None:
        self.checked = checked
        # The largest distance to the fake-quantized product, of its bound; floats have none.
        self.of_bound = None if checked.scheme.x_bits == 16 else 0.0
        self.weights = [downloaded(w) for w in checked.weights]
        self.codes = [codes_of(w) for w in self.weights]

    def __call__(self, x: Array) -> Array:
        grid = self.checked.grids[0]
        if self.checked.takes_codes:
            x = quantized_tensor(on_host(x), grid, like=x)
        return self.checked.network.forward(x, self)

    def linear(self, layer: Linear, x: Array | QuantizedTensor) -> Array | QuantizedTensor:
        place, like, wide = self.checked.place[id(layer)], layer.b, {}
        w, grid = self.weights[place], self.checked.grids[place]
        if isinstance(x, QuantizedTensor):
            x = downloaded(x)
            x, wide = x.values, {"x_scale": x.scale, "x_zero_point": x.zero_point}
        elif grid is not None:
            x, *rest = quantized(on_host(x), grid)
            wide = dict(zip(("x_scale", "x_zero_point"), rest, strict=True))
        else:
            x = on_host(x)
        known = {
            "axis": w.axis,
            "group_size": w.group_size,
            "bias": on_host(layer.b),
            "x_bits": max(self.checked.scheme.x_bits, 8),
            "activation": layer.activation,
        }
        y = reference.linear_int(x, self.codes[place], w.scale, **known, **wide)
        if self.of_bound is not None:
            self.of_bound = max(self.of_bound, distance(y, x, wide, known, w))
        after = self.checked.requantized(place)
        if not after:
            return np.asarray(y, like=like)
        return quantized_tensor(y, Grid(after["out_scale"], after["out_zero_point"]), like=like)

    def product(self, a: Array, b: Array) -> Array:
        return self.checked.product(a, b)


class HalfReference:
    """The arithmetic of a `Halves`, of the reference's functions."""

    of_bound = None

    def __init__(self, checked: Halves) -> None:
        self.checked = checked

    def __call__(self, x: Array) -> Array:
        return self.checked.network.forward(x, self)

    def linear(self, layer: Linear, x: Array) -> Array:
        w = self.checked.halves[id(layer)]
        return reference.linear(x, w, layer.b, activation=layer.activation, out_dtype=np.float16)

    def product(self, a: Array, b: Array) -> Array:
        a, b = (x if x.dtype == np.float16 else reference.to_f16(x) for x in (a, b))
        c = np.empty((*a.shape[:-1], b.shape[-1]), np.float32)
        for place in np.ndindex(a.shape[:-2]):
            c[place] = reference.gemm_f16(a[place], b[place])
        return c


def check(network: Any, x: Array) -> tuple[bool | None, float | None]:
    """Whether the logits have the reference's bits; the largest distance of its bound."""
    halves = isinstance(network, Halves)
    if on_gpu(x) and (halves or network.scheme.x_bits == 16):
        return None, cores.of_bound(network, x)
    expected = (HalfReference if halves else Reference)(network)
    got, want = (bits(on_host(each(x))) for each in (network, expected))
    return np.array_equal(got, want), expected.of_bound


def distance(
    y: np.ndarray, x: np.ndarray, grid: dict[str, Any], known: dict[str, Any], w: QuantizedTensor
) -> float:
    """How far y is from FP32 of fake-quantized x and w, of what rounding allows.

    Integers: the sum of a group is exact, and is rounded three times at most on its way to y, as is
    each addition of groups: gamma_(G + 3). FP32: both numbers of a product are rounded, the product
    is, and k additions in any order: gamma_(k + 3). Then each adds the bias, once rounded.
    """
    if not grid:
        codes, scale, _ = reference.quantize(x.reshape(-1, x.shape[-1]), axis=0)
        xq = (codes * scale[:, None]).reshape(x.shape)
    else:
        xq = reference.dequantize(x, grid["x_scale"], grid["x_zero_point"])
    wq = w.dequantize()
    fake = xq @ wq.T + known["bias"]
    size = np.abs(xq).astype(np.float64) @ np.abs(wq.T).astype(np.float64)
    k = wq.shape[1]
    groups = -(-k // w.group_size) if w.group_size else 0
    gamma = reference.bounds.gamma
    bound = (gamma(k + 3, U) + gamma(groups + 3, U)) * size * (1 + 4 * U)
    bound += 2 * U * (np.abs(fake) + bound)
    if known["activation"]:
        fake = np.maximum(fake, 0)  # which brings numbers closer together
    off = np.abs(y.astype(np.float64) - fake)
    return float(np.max(off / np.maximum(bound, math.ulp(0.0))))


def quantized(x: np.ndarray, grid: Grid) -> Any:
    scale, zero_point = on_host(grid.scale), on_host(grid.zero_point)
    return reference.quantize(
        x, bits=grid.bits, symmetric=False, scale=scale, zero_point=zero_point
    )


def quantized_tensor(x: np.ndarray, grid: Grid, like: Array) -> QuantizedTensor:
    """The codes of x where `like` is."""
    parts = (np.asarray(part, like=like) for part in quantized(x, grid))
    return QuantizedTensor(*parts)


def bits(x: np.ndarray) -> np.ndarray:
    return x.view(f"u{x.dtype.itemsize}")
