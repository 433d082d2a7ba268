# SPDX-License-Identifier: Apache-2.0
"""Observers: what they remember of the arrays they see, and the scales that follow.

`lo` and `hi` are None before the first update, inf and -inf while every update was empty. A
non-finite update raises ValueError and changes nothing.
"""

import math

import numpy as np

from halfbyte_reference.casts import to_f32
from halfbyte_reference.channels import gather
from halfbyte_reference.scales import best_scale, code_range, scale_zero_point

BINS = 2048
"""How many bins a histogram has; bin i - HALF of counts[i] covers [i - HALF, i - HALF + 1) 2^e."""

HALF = BINS // 2

_SMALLEST_EXPONENT = -126
_EMPTY = (np.float32(np.inf), np.float32(-np.inf))


class MinMaxObserver:
    """The smallest and the largest element ever, of all elements or of each index along an axis."""

    def __init__(self, axis: int | None = None) -> None:
        self.axis = axis
        self.lo = self.hi = None

    def update(self, x: np.ndarray) -> None:
        """Take the elements of x into account."""
        self._join(*_extremes(x, self.axis))

    def merge(self, other: "MinMaxObserver") -> None:
        """Take into account what `other` has seen."""
        if other.lo is not None:
            self._join(other.lo, other.hi)

    def _join(self, lo, hi):
        first = self.lo is None
        self.lo = lo.copy() if first else np.minimum(self.lo, lo)
        self.hi = hi.copy() if first else np.maximum(self.hi, hi)

    def scale_zero_point(self, bits: int = 8, symmetric: bool = True):
        """Return scale and zero point (None when symmetric) of signed codes."""
        return _signed(self.lo, self.hi, bits, symmetric)


class MovingAverageObserver:
    """Extremes that follow each update's by a fraction, `momentum`, of the way."""

    def __init__(self, axis: int | None = None, momentum: float = 0.1) -> None:
        self.axis = axis
        self.momentum = np.float32(momentum)
        self.lo = self.hi = None

    def update(self, x: np.ndarray) -> None:
        """Move the extremes towards those of x; an empty x moves nothing."""
        lo, hi = _extremes(x, self.axis)
        if self.lo is None or np.isinf(self.lo).any():
            self.lo, self.hi = lo, hi
        elif x.size:
            self.lo, self.hi = self._moved(self.lo, lo), self._moved(self.hi, hi)

    def _moved(self, old, new):
        m = self.momentum
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            moved = old + m * (new - old)
            # Where the difference overflows, or is rounded so that the sum does.
            return np.where(np.isfinite(moved), moved, (np.float32(1) - m) * old + m * new)

    def scale_zero_point(self, bits: int = 8, symmetric: bool = True):
        """Return scale and zero point (None when symmetric) of signed codes."""
        return _signed(self.lo, self.hi, bits, symmetric)


class HistogramObserver:
    """Counts of elements in 2048 bins of width 2^e, e the smallest that has room for all of them.

    Doubling the width joins bins in pairs, so counts do not depend on the order of updates.
    """

    def __init__(self, method: str = "mse", percentile: float = 99.99) -> None:
        self.method = method
        self.percentile = percentile
        self.counts = np.zeros(BINS, np.int64)
        self.exponent = None  # e, None while there was nothing but zeros
        self.lo = self.hi = None

    def update(self, x: np.ndarray) -> None:
        """Count the elements of x."""
        lo, hi = _extremes(x, None)
        absmax = max(abs(float(lo)), abs(float(hi))) if x.size else 0.0
        exponent = None
        if absmax:
            exponent = max(math.frexp(absmax)[1] - 10, _SMALLEST_EXPONENT)
        bins = np.floor(x.astype(np.float64).reshape(x.size) * 2.0 ** -(exponent or 0))
        counts = np.bincount(bins.astype(np.int64) + HALF, minlength=BINS)
        self._join(lo, hi, exponent, counts)

    def merge(self, other: "HistogramObserver") -> None:
        """Count what `other` has counted."""
        if other.lo is not None:
            self._join(other.lo, other.hi, other.exponent, other.counts)

    def _join(self, lo, hi, exponent, counts):
        seen = [e for e in (self.exponent, exponent) if e is not None]
        common = max(seen, default=None)
        self.counts = _widened(self.counts, self.exponent, common) + _widened(
            counts, exponent, common
        )
        self.exponent = common
        first = self.lo is None
        self.lo = lo if first else np.minimum(self.lo, lo)
        self.hi = hi if first else np.maximum(self.hi, hi)

    def scale_zero_point(self, bits: int = 8, symmetric: bool = True):
        """Return scale and zero point (None when symmetric) of signed codes."""
        if self.exponent is None:  # nothing, or nothing but zeros
            return _signed(self.lo, self.hi, bits, symmetric)
        if self.method == "percentile":
            return _signed(*self._cut(symmetric), bits, symmetric)
        scale, zero_point = _signed(self.lo, self.hi, bits, symmetric)
        # Empty bins stay out: one that dequantizes to infinity would add 0 times infinity.
        filled = np.flatnonzero(self.counts)
        middle = np.float32((filled - HALF + 0.5) * 2.0**self.exponent)
        limits = code_range(bits, signed=True, narrow=symmetric)
        return best_scale(middle, scale, zero_point, *limits, self.counts[filled]), zero_point

    def _cut(self, symmetric):
        """Return the extremes that hold the percentile, exact ones where those are tighter."""
        need = math.ceil(int(self.counts.sum()) * self.percentile / 100)
        width = 2.0**self.exponent
        lo, hi = float(self.lo), float(self.hi)
        if symmetric:
            # Bins i and -i - 1 have the same absolute values, and the upper edge (i + 1) 2^e.
            both = self.counts[HALF:] + self.counts[HALF - 1 :: -1]
            edge = min(_holding(both, need) * width, max(-lo, hi))
            return -edge, edge
        below = (_holding(self.counts, need) - HALF) * width
        above = (HALF - _holding(self.counts[::-1], need)) * width
        return max(above, lo), min(below, hi)


def _holding(counts, need):
    """How many bins from the first on hold `need` elements."""
    return int(np.argmax(np.cumsum(counts) >= need)) + 1


def _widened(counts, exponent, common):
    """Counts in bins of width 2^common: bin i goes to floor(i / 2) for each doubling."""
    if exponent is None:
        return counts  # zeros are in bin 0 of any width
    bins = np.arange(BINS) - HALF
    shift = min(common - exponent, 63)
    wide = np.zeros(BINS, np.int64)
    np.add.at(wide, (bins >> shift) + HALF, counts)
    return wide


def _extremes(x, axis):
    """Smallest and largest element of each channel; inf and -inf of an empty one."""
    held = gather(to_f32(x), axis, None)
    if not np.isfinite(held).all():
        msg = "update: x has a NaN or an infinity"
        raise ValueError(msg)
    lo, hi = _EMPTY
    return held.min(axis=-1, initial=lo), held.max(axis=-1, initial=hi)


def _signed(lo, hi, bits, symmetric):
    if lo is None:
        msg = "scale_zero_point: no update yet"
        raise ValueError(msg)
    return scale_zero_point(lo, hi, bits=bits, signed=True, symmetric=symmetric, narrow=symmetric)
