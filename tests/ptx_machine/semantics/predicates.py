# SPDX-License-Identifier: Apache-2.0
"""Comparisons, and selections by their results."""

import numpy as np

from ptx_machine.semantics.operations import FLOATS, Operation, on_bits, on_numbers


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
_COMPARISONS = dict.fromkeys(FLOATS, FLOATING)
for _width in (16, 32, 64):
    _COMPARISONS |= {f"b{_width}": SAME, f"s{_width}": SAME | ORDER,
                     f"u{_width}": SAME | ORDER | UNSIGNED}  # fmt: skip

OPERATIONS: dict[str, Operation] = {}
for _kind, _functions in _COMPARISONS.items():
    for _name, _compare in _functions.items():
        for _join in ("", ".and", ".or", ".xor"):  # with a third operand: by who knows of it
            OPERATIONS[f"setp.{_name}{_join}.{_kind}"] = on_numbers(
                f"pred {_kind} {_kind}", _compare
            )
    OPERATIONS[f"selp.{_kind}"] = on_bits(
        f"{_kind} {_kind} {_kind} pred", lambda a, b, p: np.where(p, a, b)
    )
