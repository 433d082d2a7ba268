# SPDX-License-Identifier: Apache-2.0
"""What `quantization` measures: cases, their numbers from a seed, and the check of their results.

Rows are independent of each other in every case, so of a large array some rows are checked: what
is compared is compared exactly. Peers have rules of their own (another range, a product with the
reciprocal); their results must be a step away at most, so that nobody is timed who computes
something else.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import halfbyte_reference as reference
from bench.rows import Verdict

SEED = 20240301
SAMPLED = 64  # rows that are checked
NEAR = 1e-3  # of a step; the peers' quotients are closer than that to the true ones
FEW = 0.01  # of dscale; a peer adds up in FP32, and may count a value near an end elsewhere

TINY = np.finfo(np.float32).tiny  # a scale below it becomes 1

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Case:
    """One call of one function, on an array of `nbytes` bytes of float32, or of int32."""

    function: str
    nbytes: int
    columns: int
    bits: int = 8
    group_size: int | None = None  # else a scale a row; to requantize, a column
    from_data: bool = False  # quantize with the scales of the data, else with given ones
    check_finite: bool = False  # reads x twice: an error must leave `out` as it is

    @property
    def shape(self) -> tuple[int, int]:
        return self.nbytes // 4 // self.columns, self.columns

    @property
    def scale_shape(self) -> tuple[int, ...]:
        rows, columns = self.shape
        if self.function == "requantize":
            return (columns,)
        return (rows,) if self.group_size is None else (rows, columns // self.group_size)

    @property
    def scaled(self) -> dict[str, int]:
        """The keywords that say which elements share a scale."""
        if self.group_size is not None:
            return {"group_size": self.group_size}
        return {"axis": 1 if self.function == "requantize" else 0}

    @property
    def qmax(self) -> int:
        return 2 ** (self.bits - 1) - 1

    @property
    def read(self) -> int:
        """Bytes."""
        scale = 0 if self.from_data else 4 * math.prod(self.scale_shape)
        if self.function == "dequantize":
            return self._codes + scale
        twice = self.function == "fake_quantize_backward" or self.check_finite
        return self.nbytes * (2 if twice else 1) + scale

    @property
    def written(self) -> int:
        """Bytes."""
        scale = 4 * math.prod(self.scale_shape)
        return {
            "quantize": self._codes + (scale if self.from_data else 0),
            "dequantize": self.nbytes,
            "fake_quantize": self.nbytes,
            "fake_quantize_backward": self.nbytes + scale,
            "requantize": self._codes,
        }[self.function]

    @property
    def _codes(self) -> int:
        return self.nbytes * self.bits // 32

    @property
    def what(self) -> str:
        """A title without the size."""
        kind = "INT8" if self.bits == 8 else f"INT{self.bits}"
        scales = "channel" if self.group_size is None else f"group of {self.group_size}"
        if self.function == "requantize":
            return f"requantize to {kind}, scale per column"
        if self.function != "quantize":
            return f"{self.function} {kind}, scale per {scales}"
        if not self.from_data:
            return f"quantize {kind}, given scale per {scales}"
        scales = f"row of {self.columns}" if self.group_size is None else scales
        return f"quantize {kind}, absmax per {scales}, check_finite={self.check_finite}"

    @property
    def title(self) -> str:
        rows, columns = self.shape
        return f"{self.what}, {rows} x {columns}"


@functools.lru_cache(maxsize=1)  # torch takes part twice
def inputs(case: Case) -> dict[str, np.ndarray]:
    """The arrays that go in, by the names of the reference's arguments."""
    rng = np.random.default_rng(SEED)
    if case.function == "requantize":
        acc = rng.integers(-(2**20), 2**20, case.shape, np.int32)
        return {"acc": acc, "scale": _near_one(rng, case) * np.float32(case.qmax / 2**20)}
    if case.function == "dequantize":
        codes = rng.integers(-case.qmax, case.qmax + 1, case.shape, np.int8)
        return {"codes": codes, "scale": _near_one(rng, case)}
    x = rng.standard_normal(case.shape, dtype=np.float32)
    x *= np.exp2(rng.integers(-4, 5, (case.shape[0], 1))).astype(np.float32)
    if case.from_data:
        return {"x": x}
    # Some values are clipped.
    scale = np.abs(x).max(axis=1) * _near_one(rng, case) / np.float32(case.qmax)
    if case.function == "fake_quantize_backward":
        return {"dy": rng.standard_normal(case.shape, dtype=np.float32), "x": x, "scale": scale}
    return {"x": x, "scale": scale}


def check(case: Case, got: Arrays, *, exact: bool) -> Verdict:
    """Compare results with the reference: codes (4-bit ones packed) and scale; y; or dx and dscale.

    `exact`: anything but the same bits is wrong, or for dscale, which has a bound, more than that.
    """
    rows = _some(case.shape[0])
    # A scale a column belongs to all rows.
    given = {
        name: array if case.function == "requantize" and name == "scale" else array[rows]
        for name, array in inputs(case).items()
    }
    if case.function == "fake_quantize_backward":
        return _check_gradients(case, given, tuple(array[rows] for array in got), exact=exact)
    want, slack = _expected(case, given)
    got = tuple(array[rows] for array in got[: len(want)])
    same = all(map(_same_bits, got, want))
    if same or exact:
        return Verdict(same_bits=same, acceptable=same)
    close = all(map(_within, _plain(case, got), _plain(case, want), slack))
    return Verdict(same_bits=False, acceptable=close)


def _expected(case: Case, given: dict[str, np.ndarray]) -> tuple[Arrays, tuple[Any, ...]]:
    """The results, and how far a peer may be off."""
    function = getattr(reference, case.function)
    if case.function == "requantize":
        return (function(**given, axis=1),), (1,)
    if case.function == "dequantize":
        return (function(**given, **case.scaled),), (0,)
    if case.function == "fake_quantize":
        y = function(**given, bits=case.bits, **case.scaled)
        return (y,), ((1 + NEAR) * given["scale"][:, None],)
    codes, scale, _ = function(**given, bits=case.bits, **case.scaled)
    packed = reference.pack_nibbles(codes) if case.bits == 4 else codes
    return (packed, scale), (1, np.spacing(scale))


def _check_gradients(
    case: Case, given: dict[str, np.ndarray], got: Arrays, *, exact: bool
) -> Verdict:
    dx, exact_dscale, magnitude = reference.fake_quantize_backward(
        **given, bits=case.bits, **case.scaled
    )
    value, bound, _ = reference.bounds.dscale(exact_dscale, magnitude, case.columns)
    error = np.abs(got[1].astype(np.float64) - value)
    of_bound = float(np.max(error / bound))
    same = _same_bits(got[0], dx)
    if exact:
        same_sum = _same_bits(got[1], value.astype(np.float32))
        acceptable = same and got[1].dtype == np.float32 and of_bound <= 1
        return Verdict(same and same_sum, of_bound, acceptable)
    steps = np.abs(given["x"] / given["scale"][:, None])
    at_an_end = np.abs(steps - (case.qmax + 0.5)) < NEAR
    close = _within(got[0], dx, np.abs(given["dy"]) * at_an_end)
    return Verdict(same_bits=False, of_bound=of_bound, acceptable=close and _sums(error, magnitude))


def _sums(error: np.ndarray, magnitude: np.ndarray) -> bool:
    return bool(np.all(error <= FEW * magnitude))


def _plain(case: Case, arrays: Arrays) -> Arrays:
    if case.bits != 4 or case.function != "quantize":
        return arrays
    return reference.unpack_nibbles(arrays[0], case.columns, signed=True), *arrays[1:]


def _within(got: np.ndarray, want: np.ndarray, slack: Any) -> bool:
    if got.shape != want.shape:
        return False
    return bool(np.all(np.abs(got.astype(np.float64) - want) <= slack))


def _same_bits(got: np.ndarray, want: np.ndarray) -> bool:
    word = f"u{want.itemsize}"
    return got.dtype == want.dtype and np.array_equal(got.view(word), want.view(word))


def _near_one(rng: np.random.Generator, case: Case) -> np.ndarray:
    return rng.uniform(0.8, 1.2, case.scale_shape).astype(np.float32)


def _some(rows: int) -> np.ndarray:
    """Some of so many indices, the first and last among them; all of a few."""
    if rows <= SAMPLED:
        return np.arange(rows)
    middle = np.random.default_rng(SEED).integers(0, rows, SAMPLED - 2)
    return np.unique(np.concatenate([[0, rows - 1], middle]))
