# SPDX-License-Identifier: Apache-2.0
"""Multiply and add with one rounding, by formats and sums that lose nothing.

FP16: FP64 holds whatever matters of a product and a sum.
FP32: FP64 holds the product; the sum is rounded to odd where rounding it twice might show.
FP64: products and sums are pairs of numbers (Boldo and Melquiond, "Emulation of a FMA and
correctly rounded sums: proved algorithms using rounding to odd", 2008), fractions near the ends
of the format.
"""

import math
from fractions import Fraction

import numpy as np


def fma_16(a, b, c):
    return (np.multiply(a, b, dtype=np.float64) + c).astype(np.float16)


def fma_32(a, b, c):
    product = np.multiply(a, b, dtype=np.float64)
    total = product + c
    # A tie of FP32, or a subnormal number of it, of which any bits may be a tie.
    doubtful = (total.view(np.uint64) & np.uint64(0x1FFFFFFF)) == 0x10000000
    doubtful |= np.abs(total) < 2.0**-126
    if doubtful.any():
        total = _to_odd(total, _error(total, product, c))
    return total.astype(np.float32)


def _error(total, x, y):
    """Return x + y - total exactly, where total is x + y rounded (Knuth's two-sum)."""
    back = total - x
    return (x - (total - back)) + (y - back)


def _to_odd(total, error):
    """Move inexact sums to the neighbour with an odd last bit, between which and them the sum is.

    Rounded again, to fewer bits by two at least, they are what the sum itself rounds to.
    """
    bits = total.view(np.int64)
    inexact_and_even = (np.abs(error) > 0) & ((bits & 1) == 0)
    # One step up in magnitude if the signs are the same, else one down; the sum is not zero.
    step = (bits ^ error.view(np.int64)) >> 63 | 1
    return np.where(inexact_and_even, bits + step, bits).view(np.float64)


# --------------------------------------------------------------------------------------- FP64


BLOCK = 4096  # lanes whose intermediate results stay in a cache


def fma_64(a, b, c):
    a, b, c = np.broadcast_arrays(a, b, c)
    if a.size <= BLOCK:
        return _fma_64(a, b, c)
    starts = range(0, a.size, BLOCK)
    return np.concatenate([_fma_64(*(x[i : i + BLOCK] for x in (a, b, c))) for i in starts])


def _fma_64(a, b, c):
    product = a * b
    size = np.abs(product)
    largest = np.maximum(np.maximum(np.abs(a), np.abs(b)), np.maximum(np.abs(c), size))
    nothing = (a == 0) | (b == 0)
    usual = nothing | ((size > 2.0**-960) & (largest < 2.0**990))
    result = np.where(nothing, product + c, _fma_of_pairs(a, b, c, product))
    if not usual.all():
        rare = ~usual
        rows = (np.broadcast_to(x, rare.shape)[rare].tolist() for x in (a, b, c))
        result[rare] = [_fma_of_fractions(*row) for row in zip(*rows, strict=True)]
    return result


def _fma_of_pairs(a, b, c, product):
    below = _error_of_product(a, b, product)
    low = c + below
    low_error = _error(low, c, below)
    high = product + low
    high_error = _error(high, product, low)
    rest = low_error + high_error
    return high + _to_odd(rest, _error(rest, low_error, high_error))


def _error_of_product(a, b, product):
    """Return a * b - product exactly (Dekker), from factors of 26 bits."""
    (a1, a0), (b1, b0) = _halves(a), _halves(b)
    return a0 * b0 - (((product - a1 * b1) - a0 * b1) - a1 * b0)


def _halves(x):
    scaled = x * (2.0**27 + 1)
    high = scaled - (scaled - x)
    return high, x - high


def _fma_of_fractions(a, b, c):
    if not (math.isfinite(a) and math.isfinite(b)):
        return a * b + c
    if not math.isfinite(c):
        return c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf
