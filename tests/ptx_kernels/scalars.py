# SPDX-License-Identifier: Apache-2.0
"""IEEE arithmetic of one number at a time, exact in fractions and then rounded once.

A number of any format is a Python float, which holds it exactly. Results are rounded on integers;
only what no rounding touches (infinities, NaN, the sign of zero) is left to Python's floats.
"""

import math
import struct
from fractions import Fraction
from typing import NamedTuple


class Format(NamedTuple):
    """A binary format of IEEE 754."""

    code: str  # the struct module's
    precision: int  # bits of the significand, the hidden one included
    smallest: int  # exponent of the least subnormal
    bound: int  # numbers are below 2**bound


F16 = Format("e", 11, -24, 16)
F32 = Format("f", 24, -149, 128)
F64 = Format("d", 53, -1074, 1024)


def from_bits(bits: int, fmt: Format) -> float:
    size = struct.calcsize(fmt.code)
    return struct.unpack(f"<{fmt.code}", bits.to_bytes(size, "little"))[0]


def to_bits(x: float, fmt: Format) -> int:
    """Return the bits of a number that the format has."""
    return int.from_bytes(struct.pack(f"<{fmt.code}", x), "little")


def rounded(x: Fraction, fmt: Format) -> float:
    """Round a number other than zero to the format, ties to even."""
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    if abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    place = Fraction(2) ** max(exponent - fmt.precision + 1, fmt.smallest)
    y = round(x / place) * place
    magnitude = math.inf if abs(y) >= Fraction(2) ** fmt.bound else float(abs(y))
    return -magnitude if x < 0 else magnitude


def finite(*numbers) -> bool:
    return all(map(math.isfinite, numbers))


def add(a: float, b: float, fmt: Format) -> float:
    if not finite(a, b) or Fraction(a) + Fraction(b) == 0:
        return a + b
    return rounded(Fraction(a) + Fraction(b), fmt)


def sub(a: float, b: float, fmt: Format) -> float:
    return add(a, -b, fmt)


def mul(a: float, b: float, fmt: Format) -> float:
    if not finite(a, b) or a == 0 or b == 0:
        return a * b
    return rounded(Fraction(a) * Fraction(b), fmt)


def div(a: float, b: float, fmt: Format) -> float:
    if math.isnan(a) or math.isnan(b) or (math.isinf(a) and math.isinf(b)) or a == b == 0:
        return math.nan
    sign = math.copysign(1, a) * math.copysign(1, b)
    if math.isinf(a) or b == 0:
        return math.copysign(math.inf, sign)
    if math.isinf(b) or a == 0:
        return math.copysign(0, sign)
    return rounded(Fraction(a) / Fraction(b), fmt)


def fma(a: float, b: float, c: float, fmt: Format) -> float:
    if not finite(a, b):
        return a * b + c
    if not finite(c):
        return c
    product = Fraction(a) * Fraction(b)
    if product + Fraction(c) == 0:
        # Zero: of the sign both terms have, else plus.
        zero = math.copysign(0, math.copysign(1, a) * math.copysign(1, b))
        return zero + c if product == 0 else 0.0
    return rounded(product + Fraction(c), fmt)


def sqrt(a: float, fmt: Format) -> float:
    if math.isnan(a) or a < 0:
        return math.nan
    if math.isinf(a) or a == 0:
        return a
    # The root of a * 4**s has as many bits as needed; a last bit says that it is not exact.
    s = 2 * fmt.precision - fmt.smallest
    scaled = Fraction(a) * 4**s
    root = math.isqrt(int(scaled))
    sticky = Fraction(root * root != scaled, 2)
    return rounded((root + sticky) / 2**s, fmt)


def cast(a: float, fmt: Format) -> float:
    return a if not finite(a) or a == 0 else rounded(Fraction(a), fmt)


def minimum(a: float, b: float) -> float:
    """Return the lesser number; NaN is no number. (Zeros are equal: see the tests.)"""
    return b if math.isnan(a) else a if math.isnan(b) else min(a, b)


def maximum(a: float, b: float) -> float:
    return -minimum(-a, -b)


ROUNDINGS = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}


def to_integer(a: float, rounding: str, lo: int, hi: int, nan: int) -> int:
    """Round to an integer and clamp it."""
    if math.isnan(a):
        return nan
    if math.isinf(a):
        return hi if a > 0 else lo
    return min(max(ROUNDINGS[rounding](Fraction(a)), lo), hi)


def integral(a: float, rounding: str) -> float:
    """Round to an integer in the same format."""
    if not finite(a):
        return a
    return math.copysign(float(ROUNDINGS[rounding](Fraction(a))), a)
