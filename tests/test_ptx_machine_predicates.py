# SPDX-License-Identifier: Apache-2.0
"""Comparisons, predicates, selections and moves of the PTX machine, against Python's."""

import math
import operator

import pytest

from ptx_kernels import ARCHITECTURES
from ptx_kernels.instructions import Family, mixed, name_of, op
from ptx_kernels.scalars import F32, from_bits
from ptx_kernels.values import NASTY_F16, NASTY_F32, NASTY_F64

pytestmark = pytest.mark.usefixtures("nvrtc")

COMPARISONS = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
UNSIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}


def ordered(compare):
    """Return false where an operand is NaN, for `ne` as well."""
    return lambda a, b: not math.isnan(a) and not math.isnan(b) and compare(a, b)


def unordered(compare):
    """Return true where an operand is NaN."""
    return lambda a, b: math.isnan(a) or math.isnan(b) or compare(a, b)


def setp(name, kind, meaning):
    text = f"{{ .reg .pred p; setp.{name}.{kind} p, %1, %2; selp.u32 %0, 1, 0, p; }}"
    return op(f"setp.{name}.{kind}", f"u32 {kind} {kind}", meaning, text)


def of_integers(width):
    for name, compare in COMPARISONS.items():
        yield setp(name, f"s{width}", compare)
        yield setp(name, f"u{width}", compare)
        if name in ("eq", "ne"):
            yield setp(name, f"b{width}", compare)
    for name, same in UNSIGNED.items():
        yield setp(name, f"u{width}", COMPARISONS[same])


def of_floats(kind):
    for name, compare in COMPARISONS.items():
        yield setp(name, kind, ordered(compare))
        yield setp(f"{name}u", kind, unordered(compare))
    yield setp("num", kind, ordered(lambda a, b: True))
    yield setp("nan", kind, unordered(lambda a, b: False))


# ------------------------------------------------------------------------------ predicates


def combined():
    """Describe comparisons with a third operand: both results, in two bits."""
    for name, join in {"and": operator.and_, "or": operator.or_, "xor": operator.xor}.items():
        for inverse in (False, True):
            yield op(
                f"setp.lt.{name}.s32 p|q{', !r' * inverse}",
                "u32 s32 s32 pred",
                lambda a, b, r, join=join, inverse=inverse: (
                    join(a < b, r ^ inverse) + 2 * join(a >= b, r ^ inverse)
                ),
                "{ .reg .pred p, q, r; .reg .u32 t, u; setp.ne.u32 r, %3, 0;"
                f" setp.lt.{name}.s32 p|q, %1, %2, {'!' * inverse}r;"
                " selp.u32 t, 1, 0, p; selp.u32 u, 2, 0, q; or.b32 %0, t, u; }",
            )


def on_predicates(text):
    """Wrap a text that makes predicate d of p, q, r."""
    return (
        "{ .reg .pred d, p, q, r; setp.ne.u32 p, %1, 0; setp.ne.u32 q, %2, 0;"
        f" setp.ne.u32 r, %3, 0; {text} selp.u32 %0, 1, 0, d; }}"
    )


PREDICATES = {
    "and.pred d, p, q;": lambda p, q, r: p and q,
    "or.pred d, p, q;": lambda p, q, r: p or q,
    "xor.pred d, p, q;": lambda p, q, r: p != q,
    "not.pred d, p;": lambda p, q, r: not p,
    "mov.pred d, p;": lambda p, q, r: p,
    # A copy keeps its value when the original changes.
    "mov.pred d, p; not.pred p, p;": lambda p, q, r: p,
    "mov.pred d, p; @q mov.pred d, r;": lambda p, q, r: r if q else p,
    "mov.pred d, p; @!q not.pred d, d;": lambda p, q, r: p if q else not p,
}
GUARDED = {
    "@p add.u32": ("@p add.u32 %0, %1, %2;", lambda a, b, p: a + b if p else a),
    "@!p add.u32": ("@!p add.u32 %0, %1, %2;", lambda a, b, p: a if p else a + b),
    # An instruction may change its own guard.
    "@p setp": (
        "@p setp.lt.u32 p, %1, %2; @p add.u32 %0, %1, %2;",
        lambda a, b, p: a + b if p and a < b else a,
    ),
    # Labels are local to braces.
    "@p bra": ("@p bra done; add.u32 %0, %1, %2; done:", lambda a, b, p: a if p else a + b),
    "@!p bra": ("@!p bra done; add.u32 %0, %1, %2; done:", lambda a, b, p: a + b if p else a),
}


def predicates():
    yield from combined()
    for text, meaning in PREDICATES.items():
        yield op(text, "u32 pred pred pred", meaning, on_predicates(text))
    for name, (text, meaning) in GUARDED.items():
        body = f"{{ .reg .pred p; setp.ne.u32 p, %3, 0; mov.u32 %0, %1; {text} }}"
        yield op(name, "u32 u32 u32 pred", meaning, body)
    for kind in ("b16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64"):
        yield op(
            f"selp.{kind}",
            f"{kind} {kind} {kind} pred",
            lambda a, b, p: a if p else b,
            f"{{ .reg .pred p; setp.ne.u32 p, %3, 0; selp.{kind} %0, %1, %2, p; }}",
        )


# ----------------------------------------------------------------------------------- moves

MOVES = [
    op("mov.b32 of 16s", "b32 b16 b16", lambda a, b: b << 16 | a, "mov.b32 %0, {%1, %2};"),
    op("mov.b64 of 32s", "b64 b32 b32", lambda a, b: b << 32 | a, "mov.b64 %0, {%1, %2};"),
    op(
        "mov.b64 of 16s",
        "b64 b16 b16 b16",
        lambda a, b, c: a << 48 | c << 32 | b << 16 | a,
        "mov.b64 %0, {%1, %2, %3, %1};",
    ),
    op(
        "16s of mov.b32",
        "b32 b32",
        lambda a: (a >> 16 | a << 16) & 0xFFFFFFFF,
        "{ .reg .b16 x, y; mov.b32 {x, y}, %1; mov.b32 %0, {y, x}; }",
    ),
    op(
        "32s of mov.b64",
        "b64 b64",
        lambda a: (a >> 32 | a << 32) & (2**64 - 1),
        "{ .reg .b32 x, y; mov.b64 {x, y}, %1; mov.b64 %0, {y, x}; }",
    ),
    op("half of mov.b64", "b32 b64", lambda a: a >> 32, "{ .reg .b32 x; mov.b64 {x, %0}, %1; }"),
    op("mov.f32", "f32 f32", lambda a: a),
    op("mov.f64", "f64 f64", lambda a: a),
    op(
        "copy stays when the original changes",
        "b32 b32",
        lambda a: a,
        "{ .reg .u32 x, y; mov.u32 x, %1; mov.u32 y, x; add.u32 x, x, 1; mov.u32 %0, y; }",
    ),
    op("mov.b32 to f32", "f32 b32", lambda a: from_bits(a, F32), "mov.b32 %0, %1;"),
    op(
        "constants",
        "b32 b32",
        lambda a: 0x3FA00000 + 0xFF - 5,
        "{ .reg .f32 f; .reg .b32 x; add.rn.f32 f, 0f3F800000, 0f3E800000;"
        " mov.b32 x, f; add.s32 x, x, -5; add.u32 %0, x, 0xFF; }",
    ),
    op("double constant", "f64 f64", lambda a: -2.5, "mov.f64 %0, 0dC004000000000000;"),
]

WORDS = [*(0, 1, 2, 127, 128, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x10000), *(2**31, 2**31 - 1)]
WORDS += [2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1]
FAMILIES = {
    "integers": Family([x for w in (16, 32, 64) for x in of_integers(w)], mixed(WORDS, 64)),
    "f16": Family(of_floats("f16"), mixed(NASTY_F16, 16)),
    "f32": Family(of_floats("f32"), mixed(NASTY_F32, 32)),
    "f64": Family(of_floats("f64"), mixed(NASTY_F64, 64)),
    "predicates": Family(predicates(), mixed(WORDS, 64)),
    "moves": Family(MOVES, mixed(WORDS, 64)),
}
CASES = [(family, *case) for family in FAMILIES for case in FAMILIES[family].cases(ARCHITECTURES)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: name_of(case[1:]))
def test_comparison_or_move_does_what_python_does(case):
    family, architecture, instruction = case
    assert FAMILIES[family].wrong(architecture, instruction) == []
