# SPDX-License-Identifier: Apache-2.0
"""Comparisons, and selections by their results."""

import numpy as np

from ptx_machine.semantics.operations import (
    FLOATS,
    Operation,
    on_bits,
    on_numbers,
)


def _differ(a, b):
    """Compare ordered: false where an operand is NaN."""
    return (a < b) | (a > b)


SAME = {"eq": np.equal, "ne": np.not_equal}
ORDER = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}
UNSIGNED = {"lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal}
FLOATING = {
    **ORDER,
    "eq": np.equal,
    "ne": _differ,
    # True where an operand is NaN.
    "equ": lambda a, b: ~_differ(a, b),
    "neu": np.not_equal,
    "ltu": lambda a, b: ~(a >= b),
    "leu": lambda a, b: ~(a > b),
    "gtu": lambda a, b: ~(a <= b),
    "geu": lambda a, b: ~(a < b),
    "num": lambda a, b: (a == a) & (b == b),
    "nan": lambda a, b: (a != a) | (b != b),
}
JOINS = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}


def _comparisons():
    """Return (name, type, function of numbers)."""
    found = [(name, kind, compare) for kind in FLOATS for name, compare in FLOATING.items()]
    for width in (16, 32, 64):
        found += [(name, f"{kind}{width}", x) for kind in "bus" for name, x in SAME.items()]
        found += [(name, f"{kind}{width}", x) for kind in "us" for name, x in ORDER.items()]
        found += [(name, f"u{width}", x) for name, x in UNSIGNED.items()]
    return found


def _setp(name, kind, compare) -> dict[str, Operation]:
    plain = on_numbers(f"pred {kind} {kind}", compare)
    bare = plain.function
    found = {f"setp.{name}.{kind}": plain._replace(complement=lambda a, b: ~bare(a, b))}
    for how, join in JOINS.items():
        found[f"setp.{name}.{how}.{kind}"] = Operation(
            lambda a, b, r, join=join: join(bare(a, b), r),
            (kind, kind, "pred"),
            ("pred",),
            lambda a, b, r, join=join: join(~bare(a, b), r),
        )
    return found


def _set(name, kind, compare) -> dict[str, Operation]:
    """Describe comparisons that give all ones, or 1.0, where they are true."""
    bare = on_numbers(f"pred {kind} {kind}", compare).function
    yes = {"u32": 0xFFFFFFFF, "s32": 0xFFFFFFFF, "f32": 0x3F800000}
    return {
        f"set.{name}.{result}.{kind}": on_bits(
            f"{result} {kind} {kind}",
            lambda a, b, true=true: bare(a, b).astype(np.uint32) * np.uint32(true),
        )
        for result, true in yes.items()
    }


def _selections(kind) -> dict[str, Operation]:
    three = f"{kind} {kind} {kind}"
    return {
        f"selp.{kind}": on_bits(f"{three} pred", lambda a, b, p: np.where(p, a, b)),
        f"slct.{kind}.s32": on_bits(
            f"{three} s32", lambda a, b, c: np.where(c.view(np.int32) >= 0, a, b)
        ),
        f"slct.{kind}.f32": on_bits(
            f"{three} f32", lambda a, b, c: np.where(c.view(np.float32) >= 0, a, b)
        ),
    }


# ------------------------------------------------------------------------- kinds of numbers


def _tests(kind) -> dict[str, Operation]:
    least = np.finfo(FLOATS[kind]).smallest_normal
    tests = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda a: a == a,
        "notanumber": np.isnan,
        "normal": lambda a: (np.abs(a) >= least) & (np.abs(a) < np.inf),
        "subnormal": lambda a: (np.abs(a) < least) & (a != 0),
    }
    return {f"testp.{name}.{kind}": on_numbers(f"pred {kind}", x) for name, x in tests.items()}


OPERATIONS: dict[str, Operation] = _tests("f32") | _tests("f64")
for _case in _comparisons():
    OPERATIONS |= _setp(*_case) | _set(*_case)
for _width in (16, 32, 64):
    for _kind in "bus" if _width == 16 else "busf":
        OPERATIONS |= _selections(f"{_kind}{_width}")
