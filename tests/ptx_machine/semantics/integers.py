# SPDX-License-Identifier: Apache-2.0
"""Integer arithmetic, logic and fields of bits, of 16, 32 and 64 bits. Overflow wraps.

NumPy shifts in zeros, or signs, however far it is told to: like PTX, and unlike C.
"""

import functools

import numpy as np

from ptx_machine.semantics.operations import INTEGERS, Operation, on_bits, on_numbers


def _arithmetic(width, signed) -> dict[str, Operation]:
    kind = f"{'us'[signed]}{width}"
    two, three = f"{kind} {kind} {kind}", f"{kind} {kind} {kind} {kind}"
    dtype = INTEGERS[width][signed]

    def high(a, b):
        """Return the upper halves of products, from Python's integers."""
        return np.asarray(np.multiply(a, b, dtype=object) >> width, dtype)[()]

    def quotient(a, b):
        """Divide toward zero; NumPy divides down."""
        return np.floor_divide(a - np.fmod(a, b), b)

    found = {
        f"add.{kind}": on_bits(two, np.add),
        f"sub.{kind}": on_bits(two, np.subtract),
        f"min.{kind}": on_numbers(two, np.minimum),
        f"max.{kind}": on_numbers(two, np.maximum),
        f"mul.lo.{kind}": on_bits(two, np.multiply),
        f"mul.hi.{kind}": on_numbers(two, high),
        f"mad.lo.{kind}": on_bits(three, lambda a, b, c: a * b + c),
        f"mad.hi.{kind}": on_numbers(three, lambda a, b, c: high(a, b) + c),
        f"div.{kind}": on_numbers(two, quotient),
        f"rem.{kind}": on_numbers(two, np.fmod),
        # NumPy shifts in the wider of the two types.
        f"shr.{kind}": on_numbers(
            f"{kind} {kind} {kind[0]}32", lambda a, n: (a >> n).astype(dtype, copy=False)
        ),
    }
    if signed:
        found[f"neg.{kind}"] = on_bits(f"{kind} {kind}", np.negative)
        found[f"abs.{kind}"] = on_numbers(f"{kind} {kind}", np.abs)
    if width < 64:
        wide, both = f"{kind[0]}{2 * width}", INTEGERS[2 * width][signed]
        found[f"mul.wide.{kind}"] = on_numbers(
            f"{wide} {kind} {kind}", lambda a, b: np.multiply(a, b, dtype=both)
        )
        found[f"mad.wide.{kind}"] = on_numbers(
            f"{wide} {kind} {kind} {wide}", lambda a, b, c: np.multiply(a, b, dtype=both) + c
        )
    return found


def _logic(kind) -> dict[str, Operation]:
    two = f"{kind} {kind} {kind}"
    return {
        f"and.{kind}": on_bits(two, np.bitwise_and),
        f"or.{kind}": on_bits(two, np.bitwise_or),
        f"xor.{kind}": on_bits(two, np.bitwise_xor),
        f"not.{kind}": on_bits(f"{kind} {kind}", np.invert),
    }


# ------------------------------------------------------------------------------------ fields


def _bit_length(x):
    """Return the bits of unsigned integers without leading zeros."""
    # Without the bit below the highest one, rounding to FP64 cannot carry.
    return np.frexp((x & ~(x >> 1)).astype(np.float64))[1].astype(np.uint32)


def _fields(width) -> dict[str, Operation]:
    unsigned, signed = INTEGERS[width]
    one = unsigned(1)

    def reverse(x):
        """Swap bits, pairs and nibbles, then bytes."""
        for n in (1, 2, 4):
            mask = unsigned((2**width - 1) // (2**n + 1))
            x = x >> n & mask | (x & mask) << n
        return x.byteswap()

    def highest(a):
        return _bit_length(a) - 1  # of zero: all ones

    def highest_signed(a):
        return highest(a ^ (a.view(signed) >> width - 1).view(unsigned))

    def shift_amount(place):
        return np.where(place == 0xFFFFFFFF, place, width - 1 - place)

    def mask(n):
        return (one << (n & 255)) - one  # all ones from n = width on

    def extract(a, p, n):
        return a >> (p & 255) & mask(n)

    def extract_signed(a, p, n):
        """Shift the field up to the sign, then down; beyond the sign there are only signs."""
        p, n = p & 255, n & 255
        above = width - np.minimum(p + n, width)
        down = (above + p).view(np.int32)
        return np.where(n == 0, one - one, ((a << above).view(signed) >> down).view(unsigned))

    def insert(a, b, p, n):
        field = mask(n) << (p & 255)
        return b & ~field | a << (p & 255) & field

    u, s, b = f"u{width}", f"s{width}", f"b{width}"
    return {
        f"clz.{b}": on_bits(f"u32 {b}", lambda a: width - _bit_length(a)),
        f"popc.{b}": on_bits(f"u32 {b}", lambda a: np.bitwise_count(a).astype(np.uint32)),
        f"brev.{b}": on_bits(f"{b} {b}", reverse),
        f"bfind.{u}": on_bits(f"u32 {u}", highest),
        f"bfind.{s}": on_bits(f"u32 {s}", highest_signed),
        f"bfind.shiftamt.{u}": on_bits(f"u32 {u}", lambda a: shift_amount(highest(a))),
        f"bfind.shiftamt.{s}": on_bits(f"u32 {s}", lambda a: shift_amount(highest_signed(a))),
        f"bfe.{u}": on_bits(f"{u} {u} u32 u32", extract),
        f"bfe.{s}": on_bits(f"{s} {s} u32 u32", extract_signed),
        f"bfi.{b}": on_bits(f"{b} {b} {b} u32 u32", insert),
    }


# ---------------------------------------------------------------------- words of 32 bits only


def _dot_product(a_signed, b_signed):
    def function(a, b, c):
        a = a[..., None].view(INTEGERS[8][a_signed]).astype(np.int32)
        b = b[..., None].view(INTEGERS[8][b_signed]).astype(np.int32)
        return (a * b).sum(-1).astype(np.uint32) + c

    return on_bits("b32 b32 b32 b32", function)


def _lop3(a, b, c, table):
    """Look every bit up: bit 4 a + 2 b + c of the table."""
    rows = (
        (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c)
        for row in range(8)
        if table >> row & 1
    )
    return functools.reduce(np.bitwise_or, rows, a & ~a & b & c)


def _prmt(a, b, selectors):
    """Choose four of eight bytes; bit 3 of a selector asks for the byte's sign instead."""
    both = b.astype(np.uint64) << 32 | a
    result = np.uint32(0)
    for place in range(0, 32, 8):
        selector = selectors >> place // 2
        byte = (both >> 8 * (selector & 7)).astype(np.uint32) & 255
        if np.bitwise_or.reduce(selector, axis=None) & 8:
            byte = np.where(selector & 8, (byte >> 7) * 255, byte)
        result = result | byte << place
    return result


# Shifts of 64 bits in two words, a the lower one.
_FUNNELS = {
    "l.wrap": lambda a, b, n: b << (n & 31) | a >> 32 - (n & 31),
    "r.wrap": lambda a, b, n: a >> (n & 31) | b << 32 - (n & 31),
    "l.clamp": lambda a, b, n: b << n | a >> 32 - np.minimum(n, 32),
    "r.clamp": lambda a, b, n: a >> n | b << 32 - np.minimum(n, 32),
}

OPERATIONS: dict[str, Operation] = {
    "lop3.b32": on_bits("b32 b32 b32 b32 b32", _lop3),
    "prmt.b32": on_bits("b32 b32 b32 b32", _prmt),
    **{f"dp4a.{'us'[a]}32.{'us'[b]}32": _dot_product(a, b) for a in (0, 1) for b in (0, 1)},
    **{f"shf.{mode}.b32": on_bits("b32 b32 b32 u32", x) for mode, x in _FUNNELS.items()},
    **_logic("pred"),
}
for _width in (16, 32, 64):
    _b = f"b{_width}"
    OPERATIONS |= _arithmetic(_width, False) | _arithmetic(_width, True) | _logic(_b)
    OPERATIONS[f"shl.{_b}"] = on_bits(
        f"{_b} {_b} u32", lambda a, n: (a << n).astype(a.dtype, copy=False)
    )
for _width in (32, 64):
    OPERATIONS |= _fields(_width)
