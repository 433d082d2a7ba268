# SPDX-License-Identifier: Apache-2.0
"""Floating-point arithmetic, rounded to nearest; NumPy's own where IEEE 754 leaves no choice.

Not modelled: the payloads of NaN, which of two zeros is the less, the last bits of approximations.
"""

import numpy as np

from ptx_machine.semantics.fma import fma_16, fma_32, fma_64
from ptx_machine.semantics.operations import (
    FLOATS,
    Operation,
    bits_of,
    on_bits,
    on_numbers,
    width_of,
)

FMA = {"f16": fma_16, "f32": fma_32, "f64": fma_64}


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
