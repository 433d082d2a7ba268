# SPDX-License-Identifier: Apache-2.0
"""Multiply and add with one rounding.

FP16: FP64 holds whatever matters of a product and a sum.
FP32: FP64 holds the product; the sum is rounded to odd where rounding it twice might show (Boldo
and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to
odd", 2008).
FP64: the C library's, one number after another.
"""

import ctypes

import numpy as np

_FMA = ctypes.CDLL("libm.so.6").fma
_FMA.argtypes, _FMA.restype = [ctypes.c_double] * 3, ctypes.c_double


def fma_16(a, b, c):
    return (np.multiply(a, b, dtype=np.float64) + c).astype(np.float16)


def fma_32(a, b, c):
    product = np.multiply(a, b, dtype=np.float64)
    total = product + c
    # A tie of FP32, or a subnormal number of it, of which any bits may be a tie.
    doubtful = (total.view(np.uint64) & np.uint64(0x1FFFFFFF)) == 0x10000000
    doubtful |= np.abs(total) < 2.0**-126
    if doubtful.any():
        total = _to_odd(total, product, c)
    return total.astype(np.float32)


def _to_odd(total, x, y):
    """Move x + y, rounded, to a neighbour with an odd last bit, unless it is exact.

    The sum is between the two. Rounded again, to fewer bits by two at least, the odd one is what
    the sum itself rounds to.
    """
    back = total - x
    error = (x - (total - back)) + (y - back)  # exact: Knuth's two-sum
    bits = total.view(np.int64)
    inexact_and_even = (np.abs(error) > 0) & ((bits & 1) == 0)
    # One step up in magnitude if the signs are the same, else one down; the sum is not zero.
    step = (bits ^ error.view(np.int64)) >> 63 | 1
    return np.where(inexact_and_even, bits + step, bits).view(np.float64)


def fma_64(a, b, c):
    return np.asarray(np.frompyfunc(_FMA, 3, 1)(a, b, c), np.float64)[()]
