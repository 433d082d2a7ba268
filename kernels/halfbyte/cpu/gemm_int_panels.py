# SPDX-License-Identifier: Apache-2.0
"""Bring operand b into panels of 64 columns, whose dwords integer tiles multiply (`dots.py`).

    j .. j + 63, 4 bytes each
   +-------------+  unit 0: k = 0 .. 3 (NIBBLE: 0 .. 7)
   |             |  unit 1                                   each group of k starts a new unit
   +-------------+

What is stored is unsigned: a code's sign bit is flipped, which adds `offset`; where all codes of a
PackedMatrix lie in -64 .. 64, 64 is added instead (`SMALL`). What k or n do not fill is anything:
there a is zero, and nobody looks at such columns.
"""

from typing import NamedTuple

from halfbyte.cpu.compile import i64, i64_1d, inlined, inner, kernel, u8_2d
from halfbyte.cpu.gemm_int_rows import gather_bytes, padded, unit_of, unpack_nibbles
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.matrices import address
from halfbyte.cpu.quantization_rows import lesser
from halfbyte.cpu.simd import (
    BITS,
    NIBBLE,
    block_columns,
    copy_bytes,
    high_part,
    interleave_rows,
    join_nibbles,
    lanes_of,
    load,
    load_byte,
    low_part,
    sort_nibbles,
    store,
    store_byte,
    transpose_dwords,
)

PANEL_ROW = 4 * PANEL  # bytes of a unit
STAGE_BYTES = 4 * PANEL + 2 * PANEL_ROW  # scratch that packing takes
ALONG_N, ALONG_K = 1, 2  # which neighbours share a byte of 4-bit codes
# Bytes that a transpose fetches ahead in each row of weights (n, k).
TRANSPOSE_AHEAD = 256


class Operand(NamedTuple):
    """b: where it starts, byte strides along k and n, 8 or 4 bits, which axis shares bytes."""

    at: int
    row: int
    column: int
    bits: int
    nibbles: int
    flip: int  # what xor adds to four codes that lie in a dword, one in each byte


@inner
def stage(isa, b, p, steps, columns, place):
    """`steps` rows of b from p on, up to 64 bytes each, 64 bytes apart, sign bits as they are."""
    for r in range(steps):
        target = place + r * PANEL
        if b.nibbles == ALONG_N:
            unpack_nibbles(isa, b.at + (p + r) * b.row, b.column, 0, columns, 0, target)
        elif b.nibbles == ALONG_K:
            source, shift = b.at + (p + r) // 2 * b.row, 4 * ((p + r) % 2)
            for j in range(columns):
                store_byte((load_byte(source + j * b.column) >> shift) & 15, target + j)
        elif b.column == 1:
            copy_bytes(target, b.at + (p + r) * b.row, columns)
        else:
            gather_bytes(b.at + (p + r) * b.row, b.column, columns, target)


@inlined
def interleave(isa, source, row, target, flip):
    """Four rows of 64 bytes to a unit of a panel."""
    for j in range(0, PANEL, block_columns(isa)):
        interleave_rows(isa, source + j, row, target + 4 * j, flip)


@inlined
def pack_bytes(isa, b, p, depth, columns, target, place):
    """Units of bytes from k = p on."""
    plain = columns == PANEL and b.column == 1 and b.nibbles == 0
    for q in range(p, p + depth, 4):
        if plain and q + 4 <= p + depth:
            interleave(isa, b.at + q * b.row, b.row, target, b.flip)
        else:
            stage(isa, b, q, lesser(4, p + depth - q), columns, place)
            interleave(isa, place, PANEL, target, b.flip)
        target += PANEL_ROW


@inlined
def pack_nibbles(isa, b, p, depth, columns, target, place):
    """Units of nibbles from k = p on, by way of two units of bytes each."""
    bytes_at = place + 4 * PANEL
    for q in range(p, p + depth, 8):
        for half in range(2):
            steps = lesser(4, p + depth - q - 4 * half)
            if steps > 0:
                stage(isa, b, q + 4 * half, steps, columns, place)
            interleave(isa, place, PANEL, bytes_at + half * PANEL_ROW, b.flip)
        for j in range(0, PANEL_ROW, 4 * lanes_of(isa)):
            low = low_part(load(isa, bytes_at + j, BITS), NIBBLE)
            high = low_part(load(isa, bytes_at + PANEL_ROW + j, BITS), NIBBLE)
            store(isa, join_nibbles(low, high), target + j, BITS)
        target += PANEL_ROW


@inlined
def transpose_columns(isa, source, stride, units, columns, target, flip, sort):
    """Columns of b that are contiguous along k, whole units, to a panel. Blocks at the far edges
    overlap their neighbours: they write the same values twice."""
    lanes = lanes_of(isa)
    for u0 in range(0, units, lanes):
        u = lesser(u0, units - lanes)
        at = target + u * PANEL_ROW
        for j0 in range(0, columns, lanes):
            j = lesser(j0, columns - lanes)
            transpose_dwords(
                isa, source + j * stride + 4 * u, stride, at + 4 * j, PANEL_ROW, flip,
                TRANSPOSE_AHEAD,
            )  # fmt: skip
    if sort:
        for i in range(0, units * PANEL_ROW, 4 * lanes):
            store(isa, sort_nibbles(load(isa, target + i, BITS)), target + i, BITS)


@inner
def pack_group(isa, b, p, depth, columns, nibbles, target, place):
    """Codes from k = p on to units of bytes or of nibbles."""
    lanes = lanes_of(isa)
    unit = 8 if nibbles else 4
    whole = depth // unit
    by_dwords = b.row == 1 and columns >= lanes and whole >= lanes
    if nibbles:
        by_dwords = by_dwords and b.nibbles == ALONG_K and p % 2 == 0
    else:
        by_dwords = by_dwords and b.nibbles == 0
    if by_dwords:
        flip = b.flip * 17 if nibbles else b.flip
        source = b.at + (p // 2 if nibbles else p)
        transpose_columns(isa, source, b.column, whole, columns, target, flip, nibbles)
        p += whole * unit
        depth -= whole * unit
        target += whole * PANEL_ROW
    if nibbles:
        pack_nibbles(isa, b, p, depth, columns, target, place)
    else:
        pack_bytes(isa, b, p, depth, columns, target, place)


@inlined
def pack_panel(isa, b, k, span, columns, nibbles, target, place):
    """A whole panel. place: scratch of STAGE_BYTES."""
    unit = 8 if nibbles else 4
    if span % unit == 0:
        span = k
    for first in range(0, k, max(span, 1)):
        depth = lesser(span, k - first)
        pack_group(isa, b, first, depth, columns, nibbles, target, place)
        target += (depth + unit - 1) // unit * PANEL_ROW


@inner
def expand(isa, kind, source, target, units):
    """Units of nibbles to twice as many of bytes, or of bytes to twice as many of 16-bit integers.
    A single one may stay at its place."""
    for _ in range(units):
        for j in range(0, PANEL_ROW, 4 * lanes_of(isa)):
            x = load(isa, source + j, BITS)
            store(isa, low_part(x, kind), target + j, BITS)
            store(isa, high_part(x, kind), target + PANEL_ROW + j, BITS)
        source += PANEL_ROW
        target += 2 * PANEL_ROW


@kernel(u8_2d, u8_2d, i64_1d, i64, i64)
def pack(isa, b, panels, options, panel0, panel1):
    """b (k, n), any strides, into panels, one below the other, from panel0 up to panel1.

    options: k, n, bits, nibbles, flip, span, and address of scratch.
    """
    k, n, bits, nibbles = options[0], options[1], options[2], options[3]
    span = options[5]
    row, column = b.strides
    units = padded(k, span, unit_of(bits)) // unit_of(bits)
    for panel in range(panel0, panel1):
        j = panel * PANEL
        at = address(b) + (j // 2 if nibbles == ALONG_N else j) * column
        part = Operand(at, row, column, bits, nibbles, options[4])
        target = address(panels) + panel * units * PANEL_ROW
        pack_panel(isa, part, k, span, lesser(PANEL, n - j), bits == 4, target, options[6])
