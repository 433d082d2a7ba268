# SPDX-License-Identifier: Apache-2.0
"""Float16 matrices from a seed, and the check of their product against the reference.

The reference adds up k outer products one by one. A row of a product is the product of a row, and
likewise a column, so of a large product some whole rows and columns are checked: what is
compared is compared exactly.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import machine
from bench.rows import Verdict
from halfbyte_reference import bounds, gemm_f16, inputs

SEED = 20240229
WHOLE = 2**22  # products of up to so many multiply-adds are checked whole
SAMPLED = 6  # rows, and columns, of a larger one


@dataclass(frozen=True)
class Shape:
    """a (m, k) times b (k, n). `layout` has a letter an operand, "t" where it is a transposed
    view. `cold` operands b do not fit the last-level cache together and are used in turn."""

    m: int
    n: int
    k: int
    layout: str = "nn"
    cold: bool = False
    whole_call: bool = False  # results are allocated by the call, as users mostly write it

    @property
    def flops(self) -> float:
        return 2.0 * self.m * self.n * self.k

    def copies(self, itemsize: int) -> int:
        return machine.copies_beyond_cache(self.n * self.k * itemsize) if self.cold else 1


def operands(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """a and b of one shape, float16; row-major or, by the layout, a transposed view."""
    a, b = shape.layout
    return _halves(shape.m, shape.k, a, SEED), _halves(shape.k, shape.n, b, SEED + 1)


def several(b: np.ndarray, copies: int) -> list[np.ndarray]:
    """b itself, then others with the same rows in another order: quicker than random ones."""
    return [b, *(np.roll(b, i, axis=0) for i in range(1, copies))]


def check(shape: Shape, computed: Any, *, exact: bool) -> Verdict:
    """Compare a product with the reference. `exact`: anything but the same bits is wrong."""
    computed = np.asarray(computed)
    if computed.shape != (shape.m, shape.n):
        return Verdict(same_bits=False, acceptable=False)
    same, worst = True, 0.0
    for rows, columns, (reference, bound) in _reference(shape):
        got = computed[rows][:, columns]
        same = same and got.dtype == np.float32 and _same_bits(got, reference)
        error = np.abs(got.astype(np.float64) - reference)
        with np.errstate(invalid="ignore", divide="ignore"):
            units = np.where(error == 0, 0.0, error / bound)
        worst = max(worst, float(np.max(units, initial=0.0)))
    return Verdict(same_bits=same, of_bound=worst, acceptable=same or not exact)


@functools.lru_cache(maxsize=2)
def _reference(shape: Shape) -> list[tuple[Any, Any, tuple[np.ndarray, np.ndarray]]]:
    a, b = operands(shape)
    everything = slice(None)
    if shape.flops <= 2 * WHOLE:
        pieces = [(everything, everything)]
    else:
        pieces = [(some(shape.m), everything), (everything, some(shape.n))]
    known = []
    for rows, columns in pieces:
        part_a, part_b = a[rows], b[:, columns]
        bound = bounds.gemm_cpu(bounds.magnitude(part_a, part_b), shape.k)
        known.append((rows, columns, (gemm_f16(part_a, part_b), bound)))
    return known


def some(count: int) -> np.ndarray:
    """Some of `count` indices, the first and last among them."""
    rng = np.random.default_rng(SEED + count)
    middle = rng.integers(0, count, SAMPLED - 2)
    return np.unique(np.concatenate([[0, count - 1], middle]))


@functools.lru_cache(maxsize=3)  # the rows of a table often share b
def _halves(rows: int, columns: int, letter: str, seed: int) -> np.ndarray:
    return inputs.strided(
        inputs.halves((rows, columns), seed), "transposed" if letter == "t" else "c"
    )


def _same_bits(x: np.ndarray, y: np.ndarray) -> bool:
    return bool(np.array_equal(x.view(np.uint32), y.view(np.uint32)))
