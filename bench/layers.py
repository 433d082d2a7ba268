# SPDX-License-Identifier: Apache-2.0
"""Layers with quantized weights: what goes in, from a seed, and the check of what comes out.

Every contender is also told how far it lies from the exact product of x with the dequantized
weights. That says more of how it rounds x (a row, a block or all of it at a time, to 7, 8 or 16
bits, or not at all) than of its sums.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import halfbyte_reference as reference
from bench import machine
from bench.matrices import SEED, WHOLE, some
from bench.rows import Verdict
from halfbyte_reference import inputs, inputs_quantized
from halfbyte_reference.linear_int import quantized_rows

NUMBERS, CODES, HALVES = "numbers", "codes", "halves"
OUT_ZERO_POINT = 131  # of the codes that come out; the middle, nearly


@dataclass(frozen=True)
class Layer:
    """x (m, k) times the transpose of w (n, k).

    x: NUMBERS are quantized a row by the layer, CODES are given, with one scale and zero point for
    all; HALVES are multiplied as they are (weight-only). `codes_out`: so is the result, to uint8.
    """

    m: int
    n: int
    k: int
    bits: int = 8  # of the weights
    group_size: int | None = None  # else a scale a row of w
    x: str = NUMBERS
    codes_out: bool = False
    cold: bool = False  # matrices w do not fit the last-level cache together, and are used in turn

    @property
    def operations(self) -> float:
        return 2.0 * self.m * self.n * self.k

    @property
    def channel(self) -> dict[str, int]:
        """The keyword that says which weights share a scale."""
        return {"axis": 0} if self.group_size is None else {"group_size": self.group_size}

    @property
    def scale_shape(self) -> tuple[int, ...]:
        return (self.n,) if self.group_size is None else (self.n, self.k // self.group_size)

    @property
    def weight_bytes(self) -> int:
        """Codes, 4-bit ones two a byte, and scales."""
        return self.n * self.k * self.bits // 8 + 4 * int(np.prod(self.scale_shape))

    @property
    def kind(self) -> str:
        name = f"W{self.bits}A{16 if self.x == HALVES else 8}"
        scales = "per channel" if self.group_size is None else f"groups of {self.group_size}"
        form = {NUMBERS: "", CODES: " static", HALVES: ""}[self.x]
        return f"{name}{form}, {scales}" + (", uint8 out" if self.codes_out else "")

    @property
    def title(self) -> str:
        size = f"{self.m} x {self.n} x {self.k}"
        return f"{self.kind}, {size}" + (", weights from memory" if self.cold else "")

    def copies(self, itemsize: float) -> int:
        """How many w of so many bytes an element are used in turn."""
        return machine.copies_beyond_cache(int(self.n * self.k * itemsize)) if self.cold else 1


class Inputs(NamedTuple):
    x: np.ndarray  # float32, float16 or uint8
    x_scale: np.float32 | None
    x_zero_point: int | None
    codes: np.ndarray  # int8, 4-bit ones not packed
    scale: np.ndarray
    out_scale: np.float32 | None

    @property
    def numbers(self) -> np.ndarray:
        """x in float32."""
        if self.x_scale is None:
            return self.x.astype(np.float32)
        return (self.x.astype(np.float32) - np.float32(self.x_zero_point)) * self.x_scale

    def weights(self, layer: Layer) -> np.ndarray:
        """w in float32, each number rounded once."""
        return reference.dequantize(self.codes, self.scale, **layer.channel)

    def several(
        self, copies: int, codes: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Codes, in the form given or as they are, and scale; then others, whose rows are in
        another order, as they are asked for."""
        codes = self.codes if codes is None else codes
        yield codes, self.scale
        for i in range(1, copies):
            yield np.roll(codes, i, axis=0), np.roll(self.scale, i, axis=0)


@functools.lru_cache(maxsize=2)  # the contenders of a row
def inputs_of(layer: Layer) -> Inputs:
    rng = np.random.default_rng(SEED)
    codes = inputs_quantized.codes((layer.n, layer.k), SEED + 1, layer.bits, narrow=True)
    scale = rng.uniform(2.0**-10, 2.0**-9, layer.scale_shape).astype(np.float32)
    make = inputs.halves if layer.x == HALVES else inputs.floats
    x, x_scale, x_zero_point = make((layer.m, layer.k), SEED), None, None
    if layer.x == CODES:
        x, x_scale, zero_point = reference.quantize(x, symmetric=False, signed=False)
        x_scale, x_zero_point = np.float32(x_scale), int(zero_point)
    # Steps such that four standard deviations of the result are in range.
    rows = np.sqrt(np.square(codes[: min(layer.n, 64)].astype(np.float64)).sum(axis=1).mean())
    out_scale = np.float32(4 * rows * scale.mean() / 127) if layer.codes_out else None
    return Inputs(x, x_scale, x_zero_point, codes, scale, out_scale)


def check(layer: Layer, computed: np.ndarray, *, exact: bool) -> Verdict:
    """Compare a result with the reference. `exact`: anything but the same bits is wrong."""
    if computed.shape != (layer.m, layer.n):
        return Verdict(same_bits=False, acceptable=False)
    same, error, size = True, 0.0, 0.0
    for rows, columns, want, product in _reference(layer):
        got = computed[rows][:, columns]
        same = same and _same_bits(got, want)
        numbers = got.astype(np.float64)
        if layer.codes_out:
            numbers = (numbers - OUT_ZERO_POINT) * inputs_of(layer).out_scale
        error += float(np.square(numbers - product).sum())
        size += float(np.square(product).sum())
    relative = float(np.sqrt(error / size))
    return Verdict(same_bits=same, relative=relative, acceptable=same or not exact)


def check_sums(layer: Layer, computed: np.ndarray) -> Verdict:
    """Compare integer sums, without any scale, with those of the reference."""
    given = inputs_of(layer)
    rows = some(layer.m)
    want = reference.gemm_int(codes_of_rows(layer)[rows], given.codes.T)
    same = computed.shape == (layer.m, layer.n) and _same_bits(computed[rows], want)
    return Verdict(same_bits=same, off_by=None, acceptable=same)


def codes_of_rows(layer: Layer) -> np.ndarray:
    """The codes that a layer makes of its x."""
    return quantized_rows(inputs_of(layer).x)[0]


@functools.lru_cache(maxsize=2)
def _reference(layer: Layer) -> list[tuple[Any, Any, np.ndarray, np.ndarray]]:
    """The layer's bits and the exact product; of a large one some rows and columns of both."""
    given = inputs_of(layer)
    named: dict[str, Any] = dict(layer.channel)
    if layer.x == HALVES:
        named["x_bits"] = 16
    elif layer.x == CODES:
        named |= {"x_scale": given.x_scale, "x_zero_point": given.x_zero_point}
    if layer.codes_out:
        named |= {"out_dtype": np.uint8, "out_scale": given.out_scale}
        named["out_zero_point"] = OUT_ZERO_POINT
    numbers, weights = given.numbers.astype(np.float64), given.weights(layer)
    everything = slice(None)
    if layer.operations <= 2 * WHOLE:
        pieces = [(everything, everything)]
    else:
        pieces = [(some(layer.m), everything), (everything, some(layer.n))]
    known = []
    for rows, columns in pieces:
        y = reference.linear_int(given.x[rows], given.codes[columns], given.scale[columns], **named)
        y = y.codes if layer.codes_out else y
        product = numbers[rows] @ weights[columns].T.astype(np.float64)
        known.append((rows, columns, y, product))
    return known


def _same_bits(got: np.ndarray, want: np.ndarray) -> bool:
    return got.dtype == want.dtype and got.tobytes() == want.tobytes()
