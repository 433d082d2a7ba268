# SPDX-License-Identifier: Apache-2.0
"""Integer matrices from a seed, and the check of their product against the reference.

The codes have the full range of their format, extremes likely. The first row of a and column of b
meet in pairs on which instructions for pairs of bytes saturate, the last ones in a sum close to
the largest. So who is exact here did not get away with small numbers.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import machine
from bench.matrices import SEED, WHOLE, some
from bench.rows import Verdict
from halfbyte_reference import code_range, gemm_int, inputs_quantized


@dataclass(frozen=True)
class Product:
    """a (m, k) times b (k, n), of "s8", "u8" or "s4" each. `cold` operands b do not fit the
    last-level cache together and are used in turn."""

    m: int
    n: int
    k: int
    a: str = "s8"
    b: str = "s8"
    cold: bool = False
    whole_call: bool = False  # results are allocated by the call, as users mostly write it

    @property
    def operations(self) -> float:
        return 2.0 * self.m * self.n * self.k

    @property
    def weight_bytes(self) -> int:
        """Of b, as it is stored; 4-bit codes two a byte."""
        return self.k * self.n * bits(self.b) // 8

    @property
    def title(self) -> str:
        text = f"{self.a} x {self.b}, {self.m} x {self.n} x {self.k}"
        text += ", weights from memory" if self.cold else ""
        return text + (", whole call" if self.whole_call else "")

    def copies(self, itemsize: float) -> int:
        """How many b of so many bytes an element are used in turn."""
        return machine.copies_beyond_cache(int(self.k * self.n * itemsize)) if self.cold else 1


def bits(kind: str) -> int:
    return int(kind[1:])


def signed(kind: str) -> bool:
    return kind.startswith("s")


@functools.lru_cache(maxsize=3)  # the contenders of a row, and rows that share operands
def operands(m: int, n: int, k: int, a_kind: str, b_kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Codes a (m, k) and b (k, n), int8 or uint8, 4-bit ones not packed."""
    a = inputs_quantized.codes((m, k), SEED, bits(a_kind), signed(a_kind))
    b = inputs_quantized.codes((k, n), SEED + 1, bits(b_kind), signed(b_kind))
    half = k // 2
    a[-1], b[:, -1] = (code_range(bits(kind), signed(kind), False)[1] for kind in (a_kind, b_kind))
    a[-1, -1:] -= 1  # an odd sum, no float32 number from 2^24 on
    if (a_kind, b_kind) == ("u8", "s8"):
        a[:1, :half], b[:half, :1] = inputs_quantized.saturating(1, half, 1)
    # The codes farthest from zero: without saturation, their products sum up to the most.
    a[0, half:], _ = inputs_quantized.extreme_codes(k - half, bits(a_kind), signed(a_kind))
    b[half:, 0], _ = inputs_quantized.extreme_codes(k - half, bits(b_kind), signed(b_kind))
    return a, b


def operands_of(product: Product) -> tuple[np.ndarray, np.ndarray]:
    return operands(product.m, product.n, product.k, product.a, product.b)


def check(product: Product, computed: Any, *, exact: bool) -> Verdict:
    """Compare a product, of any dtype, with the exact one.

    `exact`: anything but the same int32 numbers is wrong.
    """
    computed = np.asarray(computed)
    if computed.shape != (product.m, product.n):
        return Verdict(same_bits=False, acceptable=False)
    off_by = 0.0
    for rows, columns, reference in _reference(product):
        got = computed[rows][:, columns].astype(np.float64)
        off_by = max(off_by, float(np.max(np.abs(got - reference), initial=0.0)))
    same = off_by == 0 and (computed.dtype == np.int32 or not exact)
    return Verdict(same_bits=same, off_by=off_by, acceptable=same or not exact)


@functools.lru_cache(maxsize=2)
def _reference(product: Product) -> list[tuple[Any, Any, np.ndarray]]:
    """Of a large product some rows and columns, the first and last among them."""
    a, b = operands_of(product)
    everything = slice(None)
    if product.operations <= 2 * WHOLE:
        pieces = [(everything, everything)]
    else:
        pieces = [(some(product.m), everything), (everything, some(product.n))]
    return [(rows, columns, gemm_int(a[rows], b[:, columns])) for rows, columns in pieces]
