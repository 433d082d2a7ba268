# SPDX-License-Identifier: Apache-2.0
"""Extremes, histograms, and the scales that follow from them (rules 4 and 11 of the documentation).

Elements are looked at as integers, so extremes and counts are exact in any floating-point mode.
"""

from __future__ import annotations

import math

import numpy as np

from halfbyte.arrays import F32, Array, exact_float, single_bits
from halfbyte.quantization import dequantize, quantize

BINS = 2048
HALF = BINS // 2  # bin i of -1024 .. 1023 is counts[HALF + i]
SMALLEST_EXPONENT = -126

# Elements looked at in one go: what is computed of them stays in the cache.
_CHUNK = 1 << 16


def extremes(x: Array, axis: int | None) -> tuple[Array, Array, bool]:
    """Return the smallest and the largest element as float32, of each index along `axis`.

    Of finite elements only, inf and -inf where there are none; and whether all are finite.
    """
    if not x.size:
        shape = () if axis is None else (x.shape[axis],)
        return np.full(shape, np.inf, F32), np.full(shape, -np.inf, F32), True
    from halfbyte.cpu import quantization as cpu

    return cpu.ranges(x, axis)


def joined(lo: Array, hi: Array, other_lo: Array, other_hi: Array) -> tuple[Array, Array]:
    """Return the smaller of each two minima and the larger of each two maxima."""
    # Not as floats: where the process flushes subnormals, NumPy would.
    low = np.asarray(np.minimum(_ordered(lo), _ordered(other_lo)))
    high = np.asarray(np.maximum(_ordered(hi), _ordered(other_hi)))
    return _ordered(low).view(F32), _ordered(high).view(F32)


def _ordered(x: Array) -> Array:
    """Bits of float32 as integers of the same order; the other way round, too."""
    word = x.view(np.int32)
    return np.asarray(word ^ (word >> 31 & 0x7FFFFFFF))


def scale_zero_point(
    lo: Array, hi: Array, bits: int, symmetric: bool
) -> tuple[Array, Array | None]:
    """Return the scales and zero points of signed codes for values from lo to hi, and 0.

    They are those of an array that holds nothing but the extremes. lo > hi is no range but 0.
    """
    zero = F32.type(0)
    lo, hi = np.where(lo.view(np.int32) < 0, lo, zero), np.where(hi.view(np.int32) > 0, hi, zero)
    ends = np.stack([lo, hi], axis=-1)
    q = quantize(ends, bits=bits, axis=0 if lo.ndim else None, symmetric=symmetric)
    return q.scale, q.zero_point


def best_scale(
    values: Array, counts: Array, scale: Array, zero_point: Array | None, bits: int
) -> Array:
    """Return that of 41 scales from `scale` down with the least squared error.

    Each value counts once or more: near FLT_MAX an error may be infinite, and 0 of it NaN.
    """
    widest = exact_float(scale[()])
    # Products of 24 by 7 bits are exact in FP64, and so rounded once.
    words = [single_bits(widest * (1 - i / 64)) for i in range(41)]
    scales = np.array(words, np.uint32).view(F32)
    q = quantize(
        np.broadcast_to(values, (len(scales), len(values))), bits=bits, axis=0, scale=scales,
        zero_point=None if zero_point is None else np.broadcast_to(zero_point, scales.shape),
        symmetric=zero_point is None,
    )  # fmt: skip
    error = values.astype(np.float64) - dequantize(q).astype(np.float64)
    return np.asarray(scales[np.argmin(np.sum(error * error * counts, axis=-1))])


def exponent_of(lo: Array, hi: Array) -> int | None:
    """Return the least e >= -126 with every magnitude below 2^(e + 10), or None for zeros alone."""
    top = max(int(end.view(np.uint32)) & 0x7FFFFFFF for end in (lo, hi))
    return max((top >> 23) - 127 - 9, SMALLEST_EXPONENT) if top else None


def histogram(x: Array, exponent: int | None) -> Array:
    """Count finite elements in bins [i 2^exponent, (i + 1) 2^exponent); None: all are zeros."""
    counts = np.zeros(BINS, np.int64)
    if exponent is None:
        counts[HALF] = x.size
        return counts
    if not x.size:
        return counts
    chunks = np.nditer(
        x, flags=["external_loop", "buffered"], op_dtypes=[F32], casting="safe",
        order="K", buffersize=_CHUNK,
    )  # fmt: skip
    for chunk in chunks:
        word = np.asarray(chunk).view(np.int32)
        field, sign = word >> 23 & 0xFF, word >> 31
        # |x| = integer * 2^(field - 150), below 2^(exponent + 10): the shift is 14 or more. Of a
        # subnormal it should be one less, but all of them lie in bins -1 and 0 either way.
        integer = (word & 0x7FFFFF) + (np.minimum(field, 1) << 23)
        shift = np.minimum(exponent + 150 - field, 31)
        # floor(-n / 2^s) = ~((n - 1) >> s), of n = 0, too
        bins = ((integer + sign) >> shift) ^ sign
        counts += np.bincount(bins + HALF, minlength=BINS)
    return counts


def widened(counts: Array, doublings: int) -> Array:
    """Return counts in bins 2^doublings times as wide: bin i goes to floor(i / 2^doublings)."""
    for _ in range(min(doublings, 10)):  # from then on everything is in bins -1 and 0
        pairs = counts.reshape(HALF, 2).sum(axis=1)
        counts = np.zeros(BINS, np.int64)
        counts[HALF // 2 : HALF // 2 + HALF] = pairs
    return counts


def cut(
    counts: Array, exponent: int, lo: Array, hi: Array, percentile: float, symmetric: bool
) -> tuple[Array, Array]:
    """Return the extremes that hold `percentile` per cent of the values, each on its side."""
    need = math.ceil(float(counts.sum()) * percentile / 100)
    width = math.ldexp(1.0, exponent)
    low, high = float(lo), float(hi)
    if symmetric:
        # Bins i and -1 - i hold the magnitudes between i and i + 1.
        magnitudes = counts[HALF:] + counts[HALF - 1 :: -1]
        edge = min(_holding(magnitudes, need) * width, max(-low, high))
        return np.asarray(-edge, F32), np.asarray(edge, F32)
    below = (_holding(counts, need) - HALF) * width
    above = (HALF - _holding(counts[::-1], need)) * width
    return np.asarray(max(above, low), F32), np.asarray(min(below, high), F32)


def _holding(counts: Array, need: int) -> int:
    """How many bins from the first on hold `need` values."""
    return int(np.searchsorted(np.cumsum(counts), need)) + 1
