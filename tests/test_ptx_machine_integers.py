# SPDX-License-Identifier: Apache-2.0
"""Integer instructions of the PTX machine, against Python's integers."""

import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptx_kernels import ARCHITECTURES
from ptx_kernels.instructions import Family, mixed, name_of, op

pytestmark = pytest.mark.usefixtures("nvrtc")

WORDS = [
    *(0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256),
    *(0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0x80000001),
    *(0xFFFFFFFE, 0xFFFFFFFF, 0x55555555, 0x80FF7F01, 0xDEADBEEF),
]
LONGS = [
    *(0, 1, 3, 8, 31, 32, 33, 63, 64, 65, 128, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1),
    *(2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1, 0x5555555555555555, 0x0123456789ABCDEF),
]


def div(a, b):
    """Divide as C does, toward zero; a zero divisor and an overflow have no defined result."""
    return None if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def rem(a, b):
    return None if b == 0 else a - b * div(a, b)


def signed_div(width):
    return lambda a, b: None if (a, b) == (-(2 ** (width - 1)), -1) else div(a, b)


def signed_rem(width):
    return lambda a, b: None if (a, b) == (-(2 ** (width - 1)), -1) else rem(a, b)


# ------------------------------------------------------------------------ of every width


def arithmetic(width):
    """Describe what 16, 32 and 64 bits have in common."""
    u, s, b = f"u{width}", f"s{width}", f"b{width}"
    for kind in (u, s):
        yield op(f"add.{kind}", f"{kind} {kind} {kind}", operator.add)
        yield op(f"sub.{kind}", f"{kind} {kind} {kind}", operator.sub)
        yield op(f"min.{kind}", f"{kind} {kind} {kind}", min)
        yield op(f"max.{kind}", f"{kind} {kind} {kind}", max)
        yield op(f"mul.lo.{kind}", f"{kind} {kind} {kind}", operator.mul)
        yield op(f"mul.hi.{kind}", f"{kind} {kind} {kind}", lambda a, b: a * b >> width)
        yield op(f"mad.lo.{kind}", f"{kind} {kind} {kind} {kind}", lambda a, b, c: a * b + c)
        # The amount is unsigned and is clamped, not wrapped.
        yield op(f"shr.{kind}", f"{kind} {kind} u32", lambda a, n: a >> min(n, width))
        if width < 64:
            wide = f"{kind[0]}{2 * width}"
            yield op(f"mul.wide.{kind}", f"{wide} {kind} {kind}", operator.mul)
            yield op(f"mad.wide.{kind}", f"{wide} {kind} {kind} {wide}", lambda a, b, c: a * b + c)
    yield op(f"div.{u}", f"{u} {u} {u}", div)
    yield op(f"rem.{u}", f"{u} {u} {u}", rem)
    yield op(f"div.{s}", f"{s} {s} {s}", signed_div(width))
    yield op(f"rem.{s}", f"{s} {s} {s}", signed_rem(width))
    yield op(f"shl.{b}", f"{b} {b} u32", lambda a, n: a << min(n, width))
    yield op(f"neg.{s}", f"{s} {s}", operator.neg)
    yield op(f"abs.{s}", f"{s} {s}", abs)
    yield op(f"and.{b}", f"{b} {b} {b}", operator.and_)
    yield op(f"or.{b}", f"{b} {b} {b}", operator.or_)
    yield op(f"xor.{b}", f"{b} {b} {b}", operator.xor)
    yield op(f"not.{b}", f"{b} {b}", operator.invert)


# ------------------------------------------------------------------------------ of bits


def bfe(a, position, length, width, signed):
    """Extract bits as the manual says it, bit by bit; a is unsigned here."""
    position, length = position & 255, length & 255
    bit = [a >> i & 1 for i in range(width)]
    fill = bit[min(position + length - 1, width - 1)] if signed and length else 0
    inside = [i < length and position + i < width for i in range(width)]
    return sum((bit[position + i] if inside[i] else fill) << i for i in range(width))


def bfi(a, b, position, length, width):
    for i in range(length & 255):
        place = (position & 255) + i
        if place < width:
            b = b & ~(1 << place) | (a >> i & 1) << place
    return b


def bfind(a, shift_amount=None):
    """Find the highest bit that is not the sign's."""
    found = (~a if a < 0 else a).bit_length() - 1
    return shift_amount - found if shift_amount and found >= 0 else found


def brev(a, width):
    return int(f"{a:0{width}b}"[::-1], 2)


def bits(width):
    """Describe what 32 and 64 bits have in common."""
    u, s, b = f"u{width}", f"s{width}", f"b{width}"
    # The operands of bfi after the first two come from one register each.
    yield op(f"bfe.{u}", f"{u} {u} u32 u32", lambda a, p, n: bfe(a, p, n, width, False))
    yield op(f"bfe.{s}", f"{s} {s} u32 u32", lambda a, p, n: bfe(a % 2**width, p, n, width, True))
    yield op(
        f"bfi.{b}",
        f"{b} {b} {b} u32",
        lambda a, b, p: bfi(a, b, p & 255, p >> 8, width),
        f"{{ .reg .u32 n; shr.u32 n, %3, 8; bfi.{b} %0, %1, %2, %3, n; }}",
    )
    for kind in (u, s):
        yield op(f"bfind.{kind}", f"u32 {kind}", bfind)
        yield op(f"bfind.shiftamt.{kind}", f"u32 {kind}", lambda a: bfind(a, width - 1))
    yield op(f"clz.{b}", f"u32 {b}", lambda a: width - a.bit_length())
    yield op(f"popc.{b}", f"u32 {b}", int.bit_count)
    yield op(f"brev.{b}", f"{b} {b}", lambda a: brev(a, width))


def prmt(a, b, selectors):
    """Choose four of eight bytes; a selector's bit 3 asks for its sign instead."""
    source = (b << 32 | a).to_bytes(8, "little")
    chosen = 0
    for i in range(4):
        selector = selectors >> 4 * i & 15
        byte = source[selector & 7]
        chosen |= (255 * (byte >> 7) if selector & 8 else byte) << 8 * i
    return chosen


def lop3(table):
    """Look every bit up in a table of eight: bit 4 a + 2 b + c of it."""
    return lambda a, b, c: sum(
        (table >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1) << i for i in range(32)
    )


def shf(left, wrap):
    def meaning(a, b, c):
        n = c & 31 if wrap else min(c, 32)
        return (b << 32 | a) << n >> 32 if left else (b << 32 | a) >> n

    return meaning


def dp4a(a_kind, b_kind):
    def byte(word, i, kind):
        x = word >> 8 * i & 255
        return x - 256 if kind == "s32" and x > 127 else x

    return lambda a, b, c: c + sum(byte(a, i, a_kind) * byte(b, i, b_kind) for i in range(4))


def only_32_bits():
    yield op("mad.hi.u32", "u32 u32 u32 u32", lambda a, b, c: (a * b >> 32) + c)
    yield op("mad.hi.s32", "s32 s32 s32 s32", lambda a, b, c: (a * b >> 32) + c)
    yield op("prmt.b32", "b32 b32 b32 b32", prmt)
    for table in (0x00, 0x1A, 0x80, 0x96, 0xCA, 0xD8, 0xE8, 0xEA, 0xF8, 0xFE, 0xFF):
        text = f"lop3.b32 %0, %1, %2, %3, {table:#x};"
        yield op(f"lop3-{table:#x}", "b32 b32 b32 b32", lop3(table), text)
    for side in "lr":
        for mode in ("wrap", "clamp"):
            meaning = shf(side == "l", mode == "wrap")
            yield op(f"shf.{side}.{mode}.b32", "b32 b32 b32 u32", meaning)
    for a_kind in ("u32", "s32"):
        for b_kind in ("u32", "s32"):
            yield op(f"dp4a.{a_kind}.{b_kind}", "b32 b32 b32 b32", dp4a(a_kind, b_kind))


FAMILIES = {
    "16 bits": Family(arithmetic(16), mixed(WORDS, 32, 100)),
    "32 bits": Family(arithmetic(32), mixed(WORDS, 32)),
    "64 bits": Family(arithmetic(64), mixed(LONGS, 64)),
    "bits of 32": Family([*bits(32), *only_32_bits()], mixed(WORDS, 32)),
    "bits of 64": Family(bits(64), mixed(LONGS, 64)),
}
CASES = [(family, *case) for family in FAMILIES for case in FAMILIES[family].cases(ARCHITECTURES)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: name_of(case[1:]))
def test_integer_instruction_computes_what_python_does(case):
    family, architecture, instruction = case
    assert FAMILIES[family].wrong(architecture, instruction) == []


words = st.one_of(st.sampled_from(WORDS), st.sampled_from(LONGS), st.integers(0, 2**64 - 1))


@pytest.mark.parametrize("family", FAMILIES)
@given(slots=st.lists(st.tuples(words, words, words), min_size=1, max_size=20))
@settings(max_examples=20)
def test_integer_instructions_take_any_operands(family, slots):
    assert FAMILIES[family].wrong_on(80, slots) == {}
