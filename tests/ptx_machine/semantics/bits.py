# SPDX-License-Identifier: Apache-2.0
"""Logic, shifts, and fields of bits.

NumPy shifts in zeros, or signs, however far it is told to: like PTX, and unlike C.
"""

import numpy as np

from ptx_machine.semantics.operations import INTEGERS, Operation, on_bits, on_numbers


def _logic(kind) -> dict[str, Operation]:
    one, two = f"{kind} {kind}", f"{kind} {kind} {kind}"
    return {
        f"and.{kind}": on_bits(two, np.bitwise_and),
        f"or.{kind}": on_bits(two, np.bitwise_or),
        f"xor.{kind}": on_bits(two, np.bitwise_xor),
        f"not.{kind}": on_bits(one, np.invert),
    }


def _shifts(width) -> dict[str, Operation]:
    u, s, b = f"u{width}", f"s{width}", f"b{width}"
    unsigned, signed = INTEGERS[width]
    if width == 16:  # NumPy shifts in 32 bits, as wide as the amount

        def left(a, n):
            return (a << n).astype(unsigned)

        def right(a, n):
            return (a >> n).astype(unsigned)

        def right_signed(a, n):
            return (a.view(signed) >> n.view(np.int32)).astype(unsigned)
    else:
        left, right = np.left_shift, np.right_shift

        def right_signed(a, n):
            return (a.view(signed) >> n.view(np.int32)).view(unsigned)

    return {
        f"shl.{b}": on_bits(f"{b} {b} u32", left),
        f"shr.{b}": on_bits(f"{b} {b} u32", right),
        f"shr.{u}": on_bits(f"{u} {u} u32", right),
        f"shr.{s}": on_bits(f"{s} {s} u32", right_signed),
    }


def _funnel_shifts() -> dict[str, Operation]:
    """Describe the shifts of 64 bits in two words, a the lower one."""
    found = {}
    for mode, amount in (("wrap", lambda n: n & 31), ("clamp", lambda n: np.minimum(n, 32))):

        def left(a, b, n, amount=amount):
            n = amount(n)
            return b << n | a >> 32 - n

        def right(a, b, n, amount=amount):
            n = amount(n)
            return a >> n | b << 32 - n

        found[f"shf.l.{mode}.b32"] = on_bits("b32 b32 b32 u32", left)
        found[f"shf.r.{mode}.b32"] = on_bits("b32 b32 b32 u32", right)
    return found


# ---------------------------------------------------------------------------------- counting


def bit_length(x):
    """Return the bits of unsigned integers without leading zeros."""
    # Without the bit below the highest one, rounding to FP64 cannot carry.
    return np.frexp((x & ~(x >> 1)).astype(np.float64))[1].astype(np.uint32)


def _counts(width) -> dict[str, Operation]:
    unsigned, signed = INTEGERS[width]
    b = f"b{width}"
    found = {
        f"clz.{b}": on_bits(f"u32 {b}", lambda a: width - bit_length(a)),
        f"popc.{b}": on_bits(f"u32 {b}", lambda a: np.bitwise_count(a).astype(np.uint32)),
        f"brev.{b}": on_bits(f"{b} {b}", lambda a: _reversed(a, width)),
    }

    def magnitude(a):
        return a ^ (a.view(signed) >> (width - 1)).view(unsigned)

    def shift_amount(a):
        n = bit_length(a)
        return np.where(n == 0, np.uint32(0xFFFFFFFF), width - n)

    for kind, of in ((f"u{width}", lambda a: a), (f"s{width}", magnitude)):
        found[f"bfind.{kind}"] = on_bits(f"u32 {kind}", lambda a, of=of: bit_length(of(a)) - 1)
        found[f"bfind.shiftamt.{kind}"] = on_bits(
            f"u32 {kind}", lambda a, of=of: shift_amount(of(a))
        )
    return found


def _reversed(x, width):
    """Swap bits, pairs and nibbles, then bytes."""
    ones = 2**width - 1
    for n in (1, 2, 4):
        mask = INTEGERS[width][0](ones // (2**n + 1))
        x = x >> n & mask | (x & mask) << n
    return x.byteswap()


# ------------------------------------------------------------------------------------ fields


def _fields(width) -> dict[str, Operation]:
    unsigned, signed = INTEGERS[width]
    one = unsigned(1)

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
        f"bfe.{u}": on_bits(f"{u} {u} u32 u32", extract),
        f"bfe.{s}": on_bits(f"{s} {s} u32 u32", extract_signed),
        f"bfi.{b}": on_bits(f"{b} {b} {b} u32 u32", insert),
    }


OPERATIONS: dict[str, Operation] = _funnel_shifts()
for _kind in ("pred", "b16", "b32", "b64"):
    OPERATIONS |= _logic(_kind)
for _width in (16, 32, 64):
    _dtype, _b = INTEGERS[_width][0], f"b{_width}"
    OPERATIONS[f"cnot.{_b}"] = on_numbers(
        f"{_b} {_b}", lambda a, dtype=_dtype: (a == 0).astype(dtype)
    )
    OPERATIONS |= _shifts(_width)
for _width in (32, 64):
    OPERATIONS |= _counts(_width) | _fields(_width)
