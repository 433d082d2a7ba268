# SPDX-License-Identifier: Apache-2.0
"""Observers: scales and zero points for arrays that come one after the other."""

from __future__ import annotations

import copy
from typing import Any, Literal, Self

import numpy as np

from halfbyte import ranges
from halfbyte.arrays import F32, Array, checked_real, kind_of, on_device, single_bits
from halfbyte.devices import beside, on_host
from halfbyte.observer import Observer, checked_axis
from halfbyte.quantized import I32

_METHODS = ("mse", "percentile")
_PERCENTILE = 99.99  # what it is where none is given


class MinMaxObserver(Observer):
    """Scales from the smallest and the largest element of all updates.

    Parameters
    ----------
    axis : int, optional
        Observe each index along this axis by itself. Every update has as many.

    Examples
    --------
    >>> observer = MinMaxObserver()
    >>> observer.update(np.array([0.5, -2.0, 1.0], np.float32))
    >>> observer
    MinMaxObserver(axis=None; -2.0 .. 1.0)
    >>> scale, zero_point = observer.scale_zero_point(symmetric=False)
    >>> x = np.array([1.0, 0.5, -3.0], np.float32)
    >>> quantize(x, symmetric=False, scale=scale, zero_point=zero_point).values
    array([ 127,   84, -128], dtype=int8)
    """

    def __init__(self, axis: int | None = None) -> None:
        self.axis = checked_axis("MinMaxObserver", axis)

    def _take(self, x: Array, lo: Array, hi: Array) -> None:
        self._join(lo, hi)

    def _take_on_device(self, x: Any, axis: int | None) -> None:
        from halfbyte.cuda import observers

        self._join_on_device(*observers.extremes(x, axis))

    def merge(self, other: Self) -> None:
        """Take into account all that another observer of the same axis has seen.

        Raises
        ------
        TypeError
            Another kind of observer, or one of arrays of another library.
        ValueError
            Another axis or another number of channels. Nothing is changed.
        """
        self._check_merge(other)
        if other._lo is not None:
            if on_device(other._lo):
                seen = other if self._lo is not None else copy.copy(other)
                self._join_on_device(seen._lo, seen._hi, seen._bad)
            else:
                self._join(other._lo, other._hi)
            self._library = other._library


class MovingAverageObserver(Observer):
    """Scales from extremes that move a part of the way to those of each update.

    The first update that has elements sets the extremes; then ``lo += momentum * (min - lo)``, and
    hi likewise, in float32; where that overflows, ``lo = (1 - momentum) * lo + momentum * min``.
    Updates without elements move nothing.

    Parameters
    ----------
    axis : int, optional
        Observe each index along this axis by itself. Every update has as many.
    momentum : float
        0 < momentum <= 1, rounded once to float32.

    Examples
    --------
    >>> observer = MovingAverageObserver(momentum=0.5)
    >>> observer.update(np.array([0.0, 4.0], np.float32))
    >>> observer.update(np.array([0.0, 8.0], np.float32))
    >>> observer
    MovingAverageObserver(axis=None, momentum=0.5; 0.0 .. 6.0)
    """

    def __init__(self, axis: int | None = None, momentum: float = 0.1) -> None:
        name = "MovingAverageObserver"
        self.axis = checked_axis(name, axis)
        bits = single_bits(checked_real(name, "momentum", momentum))
        if not 0 < bits <= single_bits(1.0):
            msg = f"{name}: momentum is {momentum}; need 0 < momentum <= 1 in float32"
            raise ValueError(msg)
        self.momentum = float(momentum)
        self._momentum = np.array([bits], np.uint32).view(F32)
        self._moving = False  # on a GPU: whether an update had elements

    def _take(self, x: Array, lo: Array, hi: Array) -> None:
        if self._lo is None or not np.isfinite(self._lo).all():
            self._lo, self._hi = lo, hi
        elif x.size:
            from halfbyte.cpu import quantization as cpu

            self._lo = cpu.moved_extremes(self._lo, lo, self._momentum)
            self._hi = cpu.moved_extremes(self._hi, hi, self._momentum)

    def _take_on_device(self, x: Any, axis: int | None) -> None:
        from halfbyte.cuda import observers

        latest = observers.extremes(x, axis)
        if self._moving:
            momentum = float(self._momentum[0])
            observers.move(self._lo, self._hi, self._bad, *latest, momentum)
        elif self._lo is None or x.size:
            self._lo, self._hi, self._bad = latest
            self._moving = x.size > 0

    def _arguments(self) -> str:
        return f"axis={self.axis}, momentum={self.momentum}"


class HistogramObserver(Observer):
    """Scales from a histogram: those of the least squared error, or of a percentile.

    Counts elements in 2048 bins around 0, whose width is a power of two that doubles as larger
    elements come. Counts depend neither on the order of updates nor on how they were divided among
    observers that are then merged. The extremes are kept exactly.

    Parameters
    ----------
    method : {'mse', 'percentile'}
        'mse': of 41 scales from the extremes' one down to 24 / 64 of it, the one with the least
        squared error, each bin standing for its middle. 'percentile': the range that leaves out the
        largest magnitudes (symmetric), or as many on either side.
    percentile : float
        0 < percentile <= 100: how many of 100 elements the range holds. Of method 'percentile'.

    Raises
    ------
    TypeError
        Another kind of argument.
    ValueError
        Another method, a percentile out of range, or one that 'mse' has no use for.

    Examples
    --------
    An outlier does not widen the range of a percentile:

    >>> observer = HistogramObserver("percentile", percentile=99)
    >>> observer.update(np.linspace(-1, 1, 200, dtype=np.float32))
    >>> observer.update(np.array([16.0], np.float32))
    >>> scale, _ = observer.scale_zero_point()
    >>> print(scale * 127)
    1.0
    """

    def __init__(
        self, method: Literal["mse", "percentile"] = "mse", percentile: float = _PERCENTILE
    ) -> None:
        name = "HistogramObserver"
        if not isinstance(method, str):
            msg = f"{name}: method is a {kind_of(method)}; need 'mse' or 'percentile'"
            raise TypeError(msg)
        if method not in _METHODS:
            msg = f"{name}: method is {method!r}; need 'mse' or 'percentile'"
            raise ValueError(msg)
        self.method = method
        self.percentile = checked_real(name, "percentile", percentile)
        if not 0 < self.percentile <= 100:
            msg = f"{name}: percentile is {percentile}; need 0 < percentile <= 100"
            raise ValueError(msg)
        if method != "percentile" and self.percentile != _PERCENTILE:
            msg = f"{name}: percentile is {percentile} and method is {method!r}"
            raise ValueError(msg + "; need method='percentile', or no percentile")
        self._counts: Any = np.zeros(ranges.BINS, np.int64)
        self._exponent: Any = None  # of a bin's width; None while there were only zeros

    def _take(self, x: Array, lo: Array, hi: Array) -> None:
        exponent = ranges.exponent_of(lo, hi) if x.size else None
        self._count(lo, hi, exponent, ranges.histogram(x, exponent))

    def _take_on_device(self, x: Any, axis: int | None) -> None:
        from halfbyte.cuda import observers

        self._start_on_device(x)
        observers.count(x, self._counts, self._exponent, self._lo, self._hi, self._bad)

    def _start_on_device(self, like: Any) -> None:
        """Make sure that there is a histogram on a GPU."""
        if self._lo is None:
            from halfbyte.cuda import observers

            self._counts = beside(like, self._counts, np.int64)
            self._exponent = beside(like, observers.NO_EXPONENT, I32)
            self._lo, self._hi = (beside(like, end, F32) for end in (np.inf, -np.inf))
            self._bad = beside(like, 0, I32)

    def _on_host(self) -> Self:
        seen = super()._on_host()
        if seen is not self:
            from halfbyte.cuda import observers

            exponent = int(on_host(self._exponent))
            seen._counts = on_host(self._counts)
            seen._exponent = None if exponent == observers.NO_EXPONENT else exponent
        return seen

    def merge(self, other: Self) -> None:
        """Count all that another observer of the same method has counted.

        Raises
        ------
        TypeError
            Another kind of observer, or one of arrays of another library.
        ValueError
            Another method or percentile. Nothing is changed.
        """
        self._check_merge(other)
        if on_device(other._lo):
            from halfbyte.cuda import observers

            self._start_on_device(other._lo)
            observers.merge(self._counts, self._exponent, other._counts, other._exponent)
            self._join_on_device(other._lo, other._hi, other._bad)
            self._library = other._library
        elif other._lo is not None:
            self._count(other._lo, other._hi, other._exponent, other._counts)
            self._library = other._library

    def _count(self, lo: Array, hi: Array, exponent: int | None, counts: Array) -> None:
        """Add counts in bins of width 2^exponent to ours, in the wider bins of the two."""
        common = max((e for e in (self._exponent, exponent) if e is not None), default=None)
        self._counts = _in_bins(self._counts, self._exponent, common) + _in_bins(
            counts, exponent, common
        )
        self._exponent = common
        self._join(lo, hi)

    def _scale_zero_point(
        self, lo: Array, hi: Array, bits: int, symmetric: bool
    ) -> tuple[Array, Array | None]:
        if self._exponent is None:
            return ranges.scale_zero_point(lo, hi, bits, symmetric)
        if self.method == "percentile":
            lo, hi = ranges.cut(self._counts, self._exponent, lo, hi, self.percentile, symmetric)
            return ranges.scale_zero_point(lo, hi, bits, symmetric)
        scale, zero_point = ranges.scale_zero_point(lo, hi, bits, symmetric)
        filled = np.flatnonzero(self._counts)
        middles = np.ldexp(filled - ranges.HALF + 0.5, self._exponent).astype(F32)
        best = ranges.best_scale(middles, self._counts[filled], scale, zero_point, bits)
        return best, zero_point

    def _arguments(self) -> str:
        percentile = f", percentile={self.percentile}" if self.method == "percentile" else ""
        return f"method={self.method!r}{percentile}"


def _in_bins(counts: Array, exponent: int | None, common: int | None) -> Array:
    # Zeros are in bin 0 of any width.
    if exponent is None or common is None:
        return counts
    return ranges.widened(counts, common - exponent)
