# SPDX-License-Identifier: Apache-2.0
"""A trained network, quantized: weights once, activations by what calibration saw or in the call.

What other libraries call fuse, prepare and convert: a layer's bias, relu and the next layer's scale
are arguments of `linear`; observers watch a network in FP32; and `Quantized` is an arithmetic that
any of the networks can be run with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import halfbyte
from bench.pipeline.arithmetic import Half, Single, half
from bench.pipeline.devices import Array
from bench.pipeline.layers import Linear, number
from bench.pipeline.schemes import Scheme
from halfbyte import PackedMatrix, QuantizedTensor

PARAMETER = 4  # bytes of a float32 bias, scale or int32 zero point


@dataclass(frozen=True)
class Grid:
    """What the codes of an activation mean."""

    scale: Any
    zero_point: Any
    bits: int = 8

    def codes(self, x: Array) -> QuantizedTensor:
        return halfbyte.quantize(
            x,
            bits=self.bits,
            symmetric=False,
            scale=self.scale,
            zero_point=self.zero_point,
        )


class Watching(Single):
    """FP32 again, and an observer for each layer's x."""

    def __init__(self, observer: Callable[[], Any]) -> None:
        self.observer = observer
        self.observers: dict[int, Any] = {}

    def linear(self, layer: Linear, x: Array) -> Array:
        seen = self.observers.setdefault(id(layer), self.observer())
        seen.update(x)
        return super().linear(layer, x)


def calibrate(
    network: Any, x: Array, bits: int = 8, observer: Callable[[], Any] = halfbyte.MinMaxObserver
) -> list[Grid]:
    """A grid for each layer's x."""
    watching = Watching(observer)
    network.forward(x, watching)
    seen = [watching.observers[id(layer)] for layer in network.layers]
    return [Grid(*each.scale_zero_point(bits=bits, symmetric=False), bits) for each in seen]


@dataclass
class Quantized:
    """An arithmetic whose layers have quantized weights; `reference` computes it in plain NumPy."""

    network: Any
    scheme: Scheme
    weights: list[QuantizedTensor]
    grids: list[Grid | None]
    packed: list[PackedMatrix] = field(init=False)

    def __post_init__(self) -> None:
        self.packed = [halfbyte.prepack(w) for w in self.weights]
        self.place = {id(layer): place for place, layer in enumerate(self.network.layers)}

    def __call__(self, x: Array) -> Array:
        if self.takes_codes:
            x = self.grids[0].codes(x)
        return self.network.forward(x, self)

    @property
    def takes_codes(self) -> bool:
        """Whether the network is given codes: bytes, of which windows can be taken."""
        grid = self.grids[0]
        return self.network.chained and grid is not None and grid.bits == 8

    def linear(self, layer: Linear, x: Array | QuantizedTensor) -> Array | QuantizedTensor:
        place = self.place[id(layer)]
        grid = self.grids[place]
        if grid is not None and not isinstance(x, QuantizedTensor):
            x = grid.codes(x)
        return halfbyte.linear(
            x,
            self.packed[place],
            layer.b,
            activation=layer.activation,
            x_bits=max(self.scheme.x_bits, 8),
            **self.requantized(place),
        )

    def requantized(self, place: int) -> dict[str, Any]:
        """The next layer's grid, where its x is what this layer gives, and 8 bits."""
        grids = self.grids[place + 1 : place + 2] if self.network.chained else []
        if not grids or grids[0] is None or grids[0].bits != 8:
            return {}
        return {"out_scale": grids[0].scale, "out_zero_point": grids[0].zero_point}

    def product(self, a: Array, b: Array) -> Array:
        return a @ b

    @property
    def nbytes(self) -> int:
        """Of codes, biases, scales and zero points."""
        known = sum(w.nbytes for w in self.weights)
        known += sum(layer.b.nbytes for layer in self.network.layers)
        return known + 2 * PARAMETER * sum(grid is not None for grid in self.grids)


def quantized(network: Any, scheme: Scheme, calibration: Array) -> Quantized | Halves:
    """Post-training quantization: the network as it is, with another arithmetic."""
    if scheme.w_bits == 16:
        return Halves(network)
    weights = [
        halfbyte.quantize(
            number(layer.w),
            bits=scheme.w_bits,
            axis=scheme.axis,
            group_size=scheme.group_size,
            method=scheme.method,
        )
        for layer in network.layers
    ]
    grids: list[Grid | None] = [None] * len(weights)
    if scheme.static:
        observer = halfbyte.HistogramObserver if scheme.method == "mse" else halfbyte.MinMaxObserver
        grids = [*calibrate(network, calibration, scheme.x_bits, observer)]
    return Quantized(network, scheme, weights, grids)


class Halves(Half):
    """FP16 weights, packed once, under masters that stay as they are."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.halves = {id(layer): half(layer.w) for layer in network.layers}
        self.packed = {key: halfbyte.prepack(w.T) for key, w in self.halves.items()}

    def __call__(self, x: Array) -> Array:
        return self.network.forward(x, self)

    def linear(self, layer: Linear, x: Array) -> Array:
        return halfbyte.linear(
            x, self.packed[id(layer)], layer.b, activation=layer.activation, out_dtype=np.float16
        )

    @property
    def nbytes(self) -> int:
        halves = sum(w.nbytes for w in self.halves.values())
        return halves + sum(layer.b.nbytes for layer in self.network.layers)
