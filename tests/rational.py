# SPDX-License-Identifier: Apache-2.0
"""Quantization of single numbers in rational arithmetic, rounded to FP32 on integers."""

import math
from fractions import Fraction


def single(x: Fraction) -> float:
    """Round a rational number to FP32, ties to even, on integers."""
    if not x:
        return 0.0
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    if abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    place = Fraction(2) ** max(exponent - 23, -149)
    y = round(x / place) * place
    return math.copysign(math.inf, y) if abs(y) >= 2**128 else float(y)


def rational(x) -> Fraction:
    return Fraction(float(x))


def scalar_code(x, scale, zero_point, qmin, qmax) -> int:
    if math.isnan(x):
        return int(zero_point)
    t = float(x) if math.isinf(x) else single(rational(x) / rational(scale))
    if math.isinf(t):
        return qmax if t > 0 else qmin
    return min(max(round(Fraction(t)) + int(zero_point), qmin), qmax)


def scalar_scale(lo, hi, qmin, qmax, symmetric) -> tuple[float, int | None]:
    lo, hi = min(rational(lo), Fraction(0)), max(rational(hi), Fraction(0))
    if symmetric:
        scale = single(max(-lo, hi) / qmax)
    else:
        d, span = qmax - qmin, single(hi - lo)
        scale = single(Fraction(span) / d) if span < math.inf else None
        if scale is None:
            scale = single(Fraction(single(hi / d)) - Fraction(single(lo / d)))
    scale = 1.0 if scale < 2.0**-126 else scale
    if symmetric:
        return scale, None
    zero_point = round(Fraction(single(qmin - Fraction(single(lo / Fraction(scale))))))
    return scale, min(max(zero_point, qmin), qmax)


def scalar_error(x, scale, zero_point, qmin, qmax, counts=None) -> Fraction:
    """Return the exact sum of squared errors, infinite ones as a very large number."""
    total = Fraction(0)
    for value, count in zip(x, counts if counts is not None else [1] * len(x), strict=True):
        code = scalar_code(value, scale, zero_point, qmin, qmax)
        y = single(Fraction(code - zero_point) * rational(scale))
        if math.isinf(y):
            return Fraction(2) ** 1000
        total += (rational(value) - Fraction(y)) ** 2 * int(count)
    return total
