# SPDX-License-Identifier: Apache-2.0
"""Floating-point arithmetic, rounded to nearest; NumPy's own where IEEE 754 leaves no choice.

Not modelled: the payloads of NaN, which of two zeros is the less, the last bits of approximations.
"""

import ctypes

import numpy as np

from ptx_machine.semantics.operations import (
    FLOATS,
    Operation,
    bits_of,
    on_bits,
    on_numbers,
    width_of,
)

# -------------------------------------------------------- multiplication and addition at once
#
# FP16: FP64 holds whatever matters of a product and a sum.
# FP32: FP64 holds the product; the sum is rounded to odd where rounding it twice might show (Boldo
# and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to
# odd", 2008).
# FP64: the C library's, one number after another; NumPy's where all products are exact, as they are
# of FP32 numbers.

_FMA = ctypes.CDLL("libm.so.6").fma
_FMA.argtypes, _FMA.restype = [ctypes.c_double] * 3, ctypes.c_double


def _fma_16(a, b, c):
    return (np.multiply(a, b, dtype=np.float64) + c).astype(np.float16)


def _fma_32(a, b, c):
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


def _fma_64(a, b, c):
    product = np.asarray(a * b)
    short = ((a.view(np.uint64) | b.view(np.uint64)) & np.uint64(0x7FFFFFF)) == 0  # 26 bits each
    normal = np.isfinite(product) & ((np.abs(product) >= 2.0**-1022) | (a == 0) | (b == 0))
    if (short & normal).all():
        return product + c
    return np.asarray(np.frompyfunc(_FMA, 3, 1)(a, b, c), np.float64)[()]


FMA = {"f16": _fma_16, "f32": _fma_32, "f64": _fma_64}

# --------------------------------------------------------------------------------- arithmetic


def _of_numbers_alone(function):
    """Return a function that takes the other operand where one is NaN: a quiet one, for NumPy."""
    return lambda a, b: function(a * 1, b * 1)


def _arithmetic(kind) -> dict[str, Operation]:
    """Describe what every format has."""
    one, two = f"{kind} {kind}", f"{kind} {kind} {kind}"
    bits = bits_of(kind)
    sign = bits(1 << (width_of(kind) - 1))
    found = {
        f"fma.rn.{kind}": on_numbers(f"{two} {kind}", FMA[kind]),
        f"neg.{kind}": on_bits(one, lambda a: a ^ sign),
        f"abs.{kind}": on_bits(one, lambda a: a & ~sign),
        # NaN is no number unless .NaN says that it is to be seen.
        f"min.{kind}": on_numbers(two, _of_numbers_alone(np.fmin)),
        f"max.{kind}": on_numbers(two, _of_numbers_alone(np.fmax)),
        f"min.NaN.{kind}": on_numbers(two, np.minimum),
        f"max.NaN.{kind}": on_numbers(two, np.maximum),
    }
    for name, function in (("add", np.add), ("sub", np.subtract), ("mul", np.multiply)):
        found[f"{name}.{kind}"] = found[f"{name}.rn.{kind}"] = on_numbers(two, function)
    return found


def _wide(kind) -> dict[str, Operation]:
    """Describe what FP32 and FP64 have beyond that."""
    one, two = f"{kind} {kind}", f"{kind} {kind} {kind}"
    return {
        f"div.rn.{kind}": on_numbers(two, np.divide),
        f"sqrt.rn.{kind}": on_numbers(one, np.sqrt),
        f"rcp.rn.{kind}": on_numbers(one, lambda a: FLOATS[kind](1) / a),
        # The sign comes from the first operand, the rest from the second.
        f"copysign.{kind}": on_numbers(two, lambda a, b: np.copysign(b, a)),
    }


# ------------------------------------------------------------------------------ FP16 in pairs


def _pairs(operation) -> Operation:
    """Apply an operation of FP16 to both halves of words."""

    def function(*operands):
        return one_half(*(x[..., None].view(np.uint16) for x in operands)).view(np.uint32)[..., 0]

    one_half = operation.function
    return Operation(function, ("f16x2",) * len(operation.operands), "f16x2")


# ---------------------------------------------------------------------------- approximations


def _approximate(function) -> Operation:
    return on_numbers("f32 f32", lambda a: function(a.astype(np.float64)).astype(np.float32))


APPROXIMATIONS = {
    "ex2.approx.f32": _approximate(np.exp2),
    "lg2.approx.f32": _approximate(np.log2),
    "rcp.approx.f32": _approximate(lambda a: 1 / a),
    "rsqrt.approx.f32": _approximate(lambda a: 1 / np.sqrt(a)),
    "sqrt.approx.f32": _approximate(np.sqrt),
}

_F16 = _arithmetic("f16")
OPERATIONS: dict[str, Operation] = {
    **_F16,
    **{f"{name}x2": _pairs(operation) for name, operation in _F16.items()},
    **_arithmetic("f32"),
    **_arithmetic("f64"),
    **_wide("f32"),
    **_wide("f64"),
    **APPROXIMATIONS,
}
