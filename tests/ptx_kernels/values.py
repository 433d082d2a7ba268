# SPDX-License-Identifier: Apache-2.0
"""Numbers that arithmetic gets wrong, as bits: the ends of formats, ties, subnormals, NaN."""

import math
import random
from fractions import Fraction

from ptx_kernels.scalars import F16, F32, F64, Format, from_bits, rounded, to_bits


def nasty(fmt: Format) -> list[int]:
    """Return zeros, ends, subnormals, the neighbours of one and NaN, of both signs."""
    fraction_bits = fmt.precision - 1
    one = to_bits(1.0, fmt)
    inf = to_bits(math.inf, fmt)
    normal = 1 << fraction_bits  # the least normal number
    plus = [
        *(0, 1, 2, normal - 1, normal, normal + 1, one - 1, one, one + 1, inf - 1, inf),
        *(inf | 1, inf | normal >> 1, inf | 3 * normal >> 2),  # NaN, signalling and quiet
        *(to_bits(x, fmt) for x in (0.5, 1.5, 2.0, 2.5, 3.0, 127.5)),
        to_bits(rounded(Fraction(1, 3), fmt), fmt),
        to_bits(rounded(Fraction(fmt.bound) ** 3, fmt), fmt),
    ]
    sign = 1 << (inf | (normal - 1)).bit_length()
    return [*plus, *(sign | x for x in plus)]


def around(x: float, fmt: Format) -> list[int]:
    """Return a number and its neighbours; x is not zero."""
    bits = to_bits(x, fmt)
    return [bits - 1, bits, bits + 1]


def edges_of_integers(fmt: Format) -> list[int]:
    """Return numbers around the ends of integer types, halves, and where halves stop to exist."""
    powers = (7, 8, 10, 11, 15, 16, 22, 23, 24, 31, 32, 52, 53, 63, 64)
    values = [2.0**p for p in powers if p < fmt.bound] + [0.5, 1.5, 2.5, 3.5, 126.5, 127.5, 255.5]
    return [bits for x in values for s in (x, -x) for bits in around(s, fmt)]


def double_rounding_sums(count: int, seed: int) -> list[tuple[int, int, int]]:
    """Return bits (a, b, c) of FP32 for which a * b + c is next to a tie, by less than FP64 sees.

    a * b is half a unit of c's last place and up to 2**-29 of that more or less. Rounded to FP64
    first, the sum is the tie itself.
    """
    draw = random.Random(seed)
    found = []
    while len(found) < count:
        a = draw.randrange(2**23, 2**24)
        b = 2**47 // a + draw.randint(0, 1)
        if b < 2**24 and 0 < abs(a * b - 2**47) < 2**18:
            half = draw.choice((-90, -25, -24, 0, 1, 40))  # exponent of half a unit
            c = draw.randrange(2**23, 2**24)
            terms = ((a, -23), (b, half - 24), (c, half + 1))
            signed = [draw.choice((1, -1)) * math.ldexp(x, e) for x, e in terms]
            found.append(tuple(to_bits(x, F32) for x in signed))
    return found


def subnormal_sums(count: int, seed: int) -> list[tuple[int, int, int]]:
    """Return bits of FP32: a * b is less than the least subnormal, c about that."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        a = from_bits(draw.getrandbits(23) | draw.choice((20, 40, 60)) << 23, F32)
        b = rounded(Fraction(draw.choice((1, 3, 5))) * Fraction(2) ** -151 / Fraction(a), F32)
        c = from_bits(draw.choice((0, 1, 2, 3, 2**23 - 1, 2**23)), F32)
        signs = [draw.choice((1, -1)) for _ in range(3)]
        found.append(tuple(to_bits(s * x, F32) for s, x in zip(signs, (a, b, c), strict=True)))
    return found


NASTY_F16, NASTY_F32, NASTY_F64 = nasty(F16), nasty(F32), nasty(F64)
