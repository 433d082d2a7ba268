# SPDX-License-Identifier: Apache-2.0
"""What describes an instruction: a function on the bits of all lanes, and the types it has.

Operands and results are arrays of unsigned integers as wide as their types, predicates of bool;
an operand may be a scalar. Functions are written on numbers or on bits, whichever is plainer.
They return fresh arrays. NumPy's warnings are off while they run.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

INTEGERS = {8: (np.uint8, np.int8), 16: (np.uint16, np.int16), 32: (np.uint32, np.int32),
            64: (np.uint64, np.int64)}  # fmt: skip
FLOATS = {"f16": np.float16, "f32": np.float32, "f64": np.float64}


class Operation(NamedTuple):
    """What an instruction computes in every lane from the lane's operands."""

    function: Callable
    operands: tuple[str, ...]
    result: str


def width_of(kind) -> int:
    """Return the bits of a type; f16x2 has 32."""
    return 32 if kind == "f16x2" else int(kind[1:])


def bits_of(kind):
    """Return the dtype in which a value of a type arrives and leaves."""
    return np.bool_ if kind == "pred" else INTEGERS[width_of(kind)][0]


def numbers_of(kind):
    """Return the dtype of a type's numbers."""
    if kind in FLOATS:
        return FLOATS[kind]
    return INTEGERS[width_of(kind)][1] if kind[0] == "s" else bits_of(kind)


def on_bits(types, function) -> Operation:
    """Describe a function of bits. types: "result operand operand"."""
    result, *operands = types.split()
    return Operation(function, tuple(operands), result)


def on_numbers(types, function) -> Operation:
    """Describe a function of numbers, whose result is a number of the result's type."""
    result, *operands = types.split()
    out, dtypes = bits_of(result), [numbers_of(kind) for kind in operands]
    if dtypes == [bits_of(kind) for kind in operands] and numbers_of(result) == out:
        return on_bits(types, function)

    def on_views(*bits):
        return function(*[x.view(d) for x, d in zip(bits, dtypes, strict=True)]).view(out)

    return on_bits(types, on_views)
