# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training: FP32 masters learn under the rounding that inference will do.

It starts from what post-training quantization has found. Gradients go straight through the
rounding, where nothing was clipped. Scales stay as they are, or are learned as well (LSQ). What
comes out is a `Quantized` network again, and runs on integers.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np

import halfbyte
from bench.pipeline.arithmetic import Single
from bench.pipeline.data import Part
from bench.pipeline.devices import Array
from bench.pipeline.layers import Linear
from bench.pipeline.quantized import Quantized
from bench.pipeline.training import train

RATE = 1e-3
SCALE_RATE = 2e-4  # AdamW moves a scale by about that each step; scales are 0.02 .. 0.5
LEAST_SCALE = np.float32(1e-6)


class FewBits(Single):
    """FP32 products of fake-quantized weights and activations."""

    def __init__(self, network: Any, start: Quantized) -> None:
        self.place = {id(layer): place for place, layer in enumerate(network.layers)}
        self.bits = start.scheme.w_bits
        self.w_scales = [w.scale.copy() for w in start.weights]
        grids = [grid for grid in start.grids if grid is not None]
        self.grids = [replace(grid, scale=grid.scale.copy()) for grid in grids]
        self.w_gradients = [None] * len(self.grids)  # of the scales
        self.x_gradients = [None] * len(self.grids)

    def linear(self, layer: Linear, x: Array) -> Array:
        w_grid, x_grid = self.grids_of(layer)
        wq, xq = (halfbyte.fake_quantize(v, **grid) for v, grid in ((layer.w, w_grid), (x, x_grid)))
        y = super().linear(replace(layer, w=wq), xq)
        layer.seen = x, y, xq, wq
        return y

    def backward(self, layer: Linear, dy: Array) -> Array:
        x, y, xq, wq = layer.seen
        w_grid, x_grid = self.grids_of(layer)
        rounded = replace(layer, w=wq, seen=(xq, y))
        dxq = super().backward(rounded, dy)
        dwq, db = rounded.grads
        dw, dw_scale = halfbyte.fake_quantize_backward(dwq, layer.w, **w_grid)
        dx, dx_scale = halfbyte.fake_quantize_backward(dxq, x, **x_grid)
        layer.grads = [dw, db]
        place = self.place[id(layer)]
        self.w_gradients[place], self.x_gradients[place] = dw_scale, dx_scale
        return dx

    def grids_of(self, layer: Linear) -> tuple[dict[str, Any], dict[str, Any]]:
        """What fake_quantize is told of a layer's w, and of its x."""
        place = self.place[id(layer)]
        grid = self.grids[place]
        of_x = {"scale": grid.scale, "zero_point": grid.zero_point, "bits": grid.bits}
        return {"scale": self.w_scales[place], "bits": self.bits, "axis": 0}, of_x


class Learned(FewBits):
    """LSQ: the scales are parameters, too."""

    def __init__(self, network: Any, start: Quantized) -> None:
        super().__init__(network, start)
        self.scales = [*self.w_scales, *(grid.scale for grid in self.grids)]
        self.optimizer = halfbyte.AdamW(self.scales, lr=SCALE_RATE, weight_decay=0.0)

    def stepped(self) -> None:
        # LSQ's factor 1 / sqrt(n qmax) is left out: AdamW does not see how large gradients are.
        self.optimizer.grads = [*self.w_gradients, *self.x_gradients]
        self.optimizer.step()
        for scale in self.scales:
            np.maximum(scale, LEAST_SCALE, out=scale)


METHODS: dict[str, type[FewBits]] = {"straight-through": FewBits, "LSQ": Learned}


def trained_again(
    start: Quantized, part: Part, *, method: str, seed: int, epochs: int
) -> Quantized:
    """Train a quantized network's masters, and its scales if the method says so."""
    network = copy.deepcopy(start.network)
    how = METHODS[method](network, start)
    train(network, how, part, seed=seed, epochs=epochs, rate=RATE)
    weights = [
        halfbyte.quantize(layer.w, bits=how.bits, axis=0, scale=scale)
        for layer, scale in zip(network.layers, how.w_scales, strict=True)
    ]
    return Quantized(network, start.scheme, weights, [*how.grids])


def longer(network: Any, part: Part, *, seed: int, epochs: int) -> Any:
    """The same steps in FP32: what of the gain is training longer, and not the fewer bits."""
    network = copy.deepcopy(network)
    train(network, Single(), part, seed=seed, epochs=epochs, rate=RATE)
    return network
