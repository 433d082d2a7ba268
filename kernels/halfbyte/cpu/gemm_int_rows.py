# SPDX-License-Identifier: Apache-2.0
"""Bring operand a into the layout that integer tiles read, with the sums of its rows.

Rows of signed bytes, contiguous along k; each group of k starts a new unit of b's panels and is
filled up with zeros. Where the Isa multiplies 16-bit integers, these (in the order of `dots.py`).

   +-- group 0 --+0+-- group 1 --+0+ ... +----+
   | row 0       |0|             |0|     |    |  padding: the rows of a tile must not
   | row 1       |0|             |0|     |    |  fall into the same sets of the L1 cache
"""

from halfbyte.cpu.compile import inlined, inner, shared
from halfbyte.cpu.quantization_rows import lesser
from halfbyte.cpu.simd import (
    BITS,
    BYTE,
    NIBBLE,
    add_bytes,
    copy_bytes,
    lanes_of,
    load,
    load_byte,
    load_integer,
    load_part,
    splat_integer,
    store,
    store_byte,
    store_integer,
    store_part,
    sums_of_32,
    total,
    widen_bytes,
    zero_bytes,
)

SMALL = 7  # the "bits" of bytes of which none, as stored, is above 128


@shared
def unit_of(bits):
    """Steps of k in a unit of a panel."""
    return 8 if bits == 4 else 4


@shared
def padded(k, span, unit):
    """k with each group of `span` filled up to whole units."""
    whole, rest = k // span, k % span
    return whole * ((span + unit - 1) // unit * unit) + (rest + unit - 1) // unit * unit


@shared
def row_bytes(size):
    """Bytes between rows that hold `size` bytes, room for a vector beyond them included."""
    size = (size + 63) // 64 * 64 + 64
    return size + 64 if size % 512 == 0 else size


@inner
def sum_bytes(isa, source, target, count, flip):
    """The sum of signed bytes, flip added (xor), that are moved unless they are in their place."""
    lanes = lanes_of(isa)
    acc, change = splat_integer(isa, 0), splat_integer(isa, flip)
    moved = target != source or flip != 0
    i = 0
    while i + 4 * lanes <= count:
        x = load(isa, source + i, BITS) ^ change
        if moved:
            store(isa, x, target + i, BITS)
        acc = add_bytes(isa, acc, x)
        i += 4 * lanes
    rest = (count - i) // 4
    result = 0
    if rest > 0:
        x = load_part(isa, source + i, rest, BITS) ^ change
        if moved:
            store_part(isa, x, target + i, rest, BITS)
        acc = add_bytes(isa, acc, x)
        if flip != 0:  # the lanes beyond hold -128, four times
            result += 512 * (lanes - rest)
        i += 4 * rest
    while i < count:
        byte = load_byte(source + i) ^ (flip & 0xFF)
        if moved:
            store_byte(byte, target + i)
        result += byte - (byte & 0x80) * 2
        i += 1
    return result + total(acc)


@inner
def unpack_nibbles(isa, source, stride, first, count, sign, target):
    """Codes first, ..., of a row of nibbles as bytes; sign is 8 for signed ones, else 0."""
    lanes = lanes_of(isa)
    i = 0
    if stride == 1 and first % 2 == 0:
        change = splat_integer(isa, sign)
        while i + lanes <= count:
            x = load(isa, source + (first + i) // 2, NIBBLE)
            store(isa, (x ^ change) - change, target + i, BYTE)
            i += lanes
    while i < count:
        p = first + i
        nibble = (load_byte(source + p // 2 * stride) >> (4 * (p % 2))) & 15
        store_byte((nibble ^ sign) - sign, target + i)
        i += 1


@inlined
def gather_bytes(source, stride, count, target):
    for i in range(count):
        copy_bytes(target + i, source + i * stride, 1)


@inner
def sum_groups(isa, source, k, span, offset, line, sums, starts):
    """Sums of groups of a row that lies side by side, all multiples of 32 long, and -offset times
    them. line: room for the sums of 32 bytes."""
    lanes, count = lanes_of(isa), k // 32
    i = 0
    while i + lanes <= count:
        store(isa, sums_of_32(isa, source + 32 * i), line + 4 * i, BITS)
        i += lanes
    while i < count:
        store_integer(sum_bytes(isa, source + 32 * i, source + 32 * i, 32, 0), line + 4 * i)
        i += 1
    per, i = span // 32, 0
    for _ in range(0, count, per):
        result = 0
        for _ in range(lesser(per, count - i)):
            result += load_integer(line + 4 * i)
            i += 1
        store_integer(result, sums)
        store_integer(-offset * result, starts)
        sums += 4
        starts += 4


@inlined
def lay_row(isa, a, source, place, k, span, unit, offset, sums, starts):
    """One row of a to bytes, where it is if that is its place, its groups' sums, and -offset times
    these."""
    for first in range(0, k, span):
        count = lesser(span, k - first)
        at = source + first
        if a.bits == 4:
            unpack_nibbles(isa, source, a.column, first, count, a.flip, place)
            at = place
        elif a.column != 1:
            gather_bytes(source + first * a.column, a.column, count, place)
            at = place
        flip = a.flip if a.bits == 8 else 0
        result = sum_bytes(isa, at, place, count, flip)
        store_integer(result, sums)
        store_integer(-offset * result, starts)
        sums += 4
        starts += 4
        filled = (count + unit - 1) // unit * unit
        if filled > count:
            zero_bytes(place + count, filled - count)
        place += filled


@inlined
def lay_ones(isa, k, span, unit, words, target, line):
    """A row of a that is all ones."""
    place = line if words else target
    for first in range(0, k, span):
        count = lesser(span, k - first)
        filled = (count + unit - 1) // unit * unit
        zero_bytes(place, filled)
        for i in range(count):
            store_byte(1, place + i)
        place += filled
    if words:
        for i in range(0, padded(k, span, unit), lanes_of(isa)):
            widen_bytes(isa, line + i, target + 2 * i)


@inlined
def lay_rows(isa, a, at, rows, k, span, unit, words, target, row, line, offset, sums, starts, step):
    """Rows of a, from `at` on, to rows of bytes or words `row` bytes apart; groups have their sums
    `step` bytes apart. line: room for a row of bytes."""
    size = padded(k, span, unit)
    by_32 = a.bits == 8 and a.column == 1 and a.flip == 0 and span % 32 == 0 and k % 32 == 0
    for _ in range(rows):
        place = line if words else target
        if by_32 and span < k and not words:
            if at != place:
                copy_bytes(place, at, k)
            sum_groups(isa, at, k, span, offset, line, sums, starts)
        else:
            lay_row(isa, a, at, place, k, span, unit, offset, sums, starts)
        if words:
            for i in range(0, size, lanes_of(isa)):
                widen_bytes(isa, line + i, target + 2 * i)
        at += a.row
        target += row
        sums += step
        starts += step
