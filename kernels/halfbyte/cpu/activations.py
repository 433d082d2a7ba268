# SPDX-License-Identifier: Apache-2.0
"""relu, gelu and silu on FP32 vectors.

Plain additions, multiplications and divisions, each rounded, in one fixed order and without FMA:
every instruction set returns the same bits. Largest error found on 140 million values, in units
of 2^-24 |x| (rule 1 allows 4): gelu 2.2, silu 2.0.
"""

from halfbyte.cpu.compile import inlined, inner
from halfbyte.cpu.simd import magnitude, power_of_two, select, splat

NONE, RELU, GELU, SILU = 0, 1, 2, 3
CODES = {None: NONE, "relu": RELU, "gelu": GELU, "silu": SILU}


@inlined
def activate(isa, x, activation):
    """Apply the activation with this code to a vector."""
    if activation == RELU:
        return relu(isa, x)
    if activation == GELU:
        return gelu(isa, x)
    if activation == SILU:
        return silu(isa, x)
    return x


@inlined
def relu(isa, x):
    """x where x > 0 or NaN, else +0."""
    zero = splat(isa, 0.0)
    return select(x <= zero, zero, x)


@inner
def exp(isa, y):
    """e^y; 0 below -104, inf above 89, NaN stays. Cody and Waite's reduction y = n ln 2 + r."""
    low, high = splat(isa, -104.0), splat(isa, 89.0)
    y = select(y < low, low, y)
    y = select(y >= high, high, y)
    to_integer = splat(isa, 12582912.0)  # 1.5 * 2^23: adding it rounds to an integer
    n = (y * splat(isa, 1.44269502) + to_integer) - to_integer
    # ln 2 in two parts; the first has 9 bits, so n times it is exact.
    r = (y - n * splat(isa, 0.693359375)) - n * splat(isa, -2.12194440e-4)
    # (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2, minimax: 0.06 units of 2^-24 in e^r
    p = splat(isa, 1.3949069e-3)
    p = p * r + splat(isa, 8.3682551e-3)
    p = p * r + splat(isa, 4.1666234e-2)
    p = p * r + splat(isa, 1.6666526e-1)
    p = p * r + splat(isa, 5.0000001e-1)
    value = (p * (r * r) + r) + splat(isa, 1.0)
    # 2^n in two factors: n reaches -150 and 128.
    half = (n * splat(isa, 0.5) + to_integer) - to_integer
    return (value * power_of_two(half)) * power_of_two(n - half)


@inlined
def silu(isa, x):
    """x / (1 + exp(-x)); -0 at -inf."""
    one = splat(isa, 1.0)
    value = x / (one + exp(isa, splat(isa, -0.0) - x))
    return select(x == splat(isa, -float("inf")), splat(isa, -0.0), value)


@inlined
def gelu(isa, x):
    """x Phi(x), Phi the normal distribution function; -0 at -inf."""
    value = x * normal_cdf(isa, x)
    return select(x == splat(isa, -float("inf")), splat(isa, -0.0), value)


@inlined
def normal_cdf(isa, x):
    """The normal distribution function, by two fits (minimax; errors in units of 2^-24)."""
    one, half = splat(isa, 1.0), splat(isa, 0.5)
    # |x| < 1.25: 1/2 + x P(x^2), 0.16
    square = x * x
    p = splat(isa, -6.8094923e-6)
    p = p * square + splat(isa, 1.1104113e-4)
    p = p * square + splat(isa, -1.1838372e-3)
    p = p * square + splat(isa, 9.9722827e-3)
    p = p * square + splat(isa, -6.6490208e-2)
    p = p * square + splat(isa, 3.9894228e-1)
    center = half + x * p
    # beyond: Phi(-|x|) = exp(-x^2 / 2) t Q(t) with t = 1 / (1 + |x| / 4), 0.07
    t = one / (one + magnitude(x) * splat(isa, 0.25))
    q = splat(isa, 2.5418627e-1)
    q = q * t + splat(isa, -1.3343261e-1)
    q = q * t + splat(isa, 2.0502969e-1)
    q = q * t + splat(isa, 7.2015128e-2)
    q = q * t + splat(isa, 1.0234454e-1)
    tail = exp(isa, splat(isa, -0.5) * square) * (t * q)
    outside = select(x < splat(isa, 0.0), tail, one - tail)
    return select(magnitude(x) < splat(isa, 1.25), center, outside)
