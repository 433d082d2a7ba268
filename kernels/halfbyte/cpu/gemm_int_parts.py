# SPDX-License-Identifier: Apache-2.0
"""What integer products have in common, whatever their rows: scratch, operands laid out, terms."""

from typing import NamedTuple

import numpy as np

from halfbyte.cpu.activations import NONE
from halfbyte.cpu.compile import inlined, inner, shared
from halfbyte.cpu.epilogue import scatter_row
from halfbyte.cpu.gemm_int_operands import SINGLE_OUT
from halfbyte.cpu.gemm_int_panels import ALONG_N, PANEL_ROW, STAGE_BYTES, Operand, pack_panel
from halfbyte.cpu.gemm_int_rows import SMALL, lay_ones, lay_rows, padded, row_bytes, unit_of
from halfbyte.cpu.gemm_int_strips import Fetch, Made, Terms, strip
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.linear_epilogue import finish_layer, layer_columns
from halfbyte.cpu.quantization_rows import lesser
from halfbyte.cpu.simd import (
    BITS,
    BYTE,
    NIBBLE,
    kind_of_small,
    lanes_of,
    load,
    load_integer,
    multiplies_words,
    splat_integer,
    store,
    store_integer,
    tile_shape,
    zero_bytes,
)

ROW_BYTES = 4 * PANEL  # of 64 sums


class Scratch(NamedTuple):
    """Addresses. Columns have 64 int32 a group, rows an int32 a group (`zeros`: one)."""

    column_zeros: int
    column_sums: int
    starts: int
    sums: int
    zeros: int
    line: int  # of bytes
    ones: int  # a row of a that is all ones
    a_rows: int
    kept: int  # rows of 64 sums
    layer: int  # scales and bias of 64 columns
    panels: int  # of b, as stored
    expanded: int  # a panel, as tiles multiply it
    place: int  # for packing
    end: int


@shared
def scratch_layout(memory, rows, k, span, bits, kc, kept, panels):
    """Scratch from an aligned address on, for so many rows of a, rows of sums, units of b's panels
    and KC units of the expanded one."""
    groups = max(1, (k + span - 1) // span)
    size = padded(k, span, unit_of(bits))
    column_sums = memory + groups * ROW_BYTES
    starts = column_sums + groups * ROW_BYTES
    terms = (rows * groups * 4 + 63) // 64 * 64
    zeros = starts + 2 * terms
    line = zeros + (rows * 4 + 63) // 64 * 64
    ones = line + row_bytes(size)
    a_rows = ones + row_bytes(2 * size)
    kept_at = a_rows + rows * row_bytes(2 * size)
    layer = kept_at + kept * ROW_BYTES
    panels_at = layer + 2 * ROW_BYTES
    expanded = panels_at + panels * PANEL_ROW
    place = expanded + kc * (4 if bits == 4 else 2) * PANEL_ROW
    return Scratch(
        memory, column_sums, starts, starts + terms, zeros, line, ones, a_rows, kept_at, layer,
        panels_at, expanded, place, place + STAGE_BYTES,
    )  # fmt: skip


class Units(NamedTuple):
    """Units of b's panels: in all of k, in a group, in the last group; steps of k in one."""

    all: int
    group: int
    last: int
    unit: int


@inlined
def units_of(x):
    """Of product x."""
    unit = unit_of(x.b.plain.bits)
    group = (x.span + unit - 1) // unit
    last = (x.k - (x.groups - 1) * x.span + unit - 1) // unit
    return Units((x.groups - 1) * group + last, group, last, unit)


class Laid(NamedTuple):
    """Where rows of a are, or will be, as tiles read them: the first row's address and bytes
    between rows; whether a row's zero point adds to products."""

    at: int
    row: int
    shifted: bool


@inner
def placed(isa, x, s, i0, rows):
    """Where rows of a from i0 on will be, their zero points, and the row of ones if need be."""
    a, bits, k, span = x.a, x.b.plain.bits, x.k, x.span
    unit = unit_of(bits)
    words = multiplies_words(isa, bits)
    size = padded(k, span, unit)
    target, row = s.a_rows, row_bytes(2 * size if words else size)
    if not words and a.bits == 8 and a.flip == 0 and a.column == 1 and size == k:
        target, row = a.at + i0 * a.row, a.row
    above = 128 if a.bits == 8 and a.flip != 0 else 0
    shifted = above != 0 or a.zeros != 0
    if shifted:
        for i in range(rows):
            zero = 0
            if a.zeros != 0:
                zero = load_integer(a.zeros + (i0 + i) * a.zeros_step)
            store_integer(zero - above, s.zeros + 4 * i)
        lay_ones(isa, k, span, unit, words, s.ones, s.line)
    return Laid(target, row, shifted)


@inner
def lay(isa, x, s, laid, i0, i, rows):
    """Bring rows i0 + i, ... of a to where row i of a block will be, and sum them up."""
    bits = x.b.plain.bits
    sums = i * 4 * x.groups
    if x.k == 0:
        zero_bytes(s.sums + sums, 4 * rows)
        zero_bytes(s.starts + sums, 4 * rows)
    lay_rows(
        isa, x.a, x.a.at + (i0 + i) * x.a.row, rows, x.k, x.span, unit_of(bits),
        multiplies_words(isa, bits), laid.at + i * laid.row, laid.row, s.line,
        offset_of(x.b.plain), s.sums + sums, s.starts + sums, 4 * x.groups,
    )  # fmt: skip


@inlined
def offset_of(b):
    """How much more stored codes are than what they stand for."""
    return 0 if b.flip == 0 else 8 if b.bits == 4 else 64 if b.bits == SMALL else 128


@inner
def stored_panel(isa, x, s, j, n, target, make):
    """Address of the panel that starts at column j: in place, or `target`, packed now if it is to
    be made."""
    b = x.b.plain
    if x.b.packed:
        return b.at + j // PANEL * x.b.panel
    if make:
        at = b.at + (j // 2 if b.nibbles == ALONG_N else j) * b.column
        part = Operand(at, b.row, b.column, b.bits, b.nibbles, b.flip)
        pack_panel(isa, part, x.k, x.span, n, b.bits == 4, target, s.place)
    return target


@inlined
def sum_columns(isa, bits, units, ones, panel, terms, sums):
    """Sums of stored codes of each column: what a row of ones makes of them."""
    # Variables, not literals: another variant of `strip` would take a second to compile.
    zero, columns, first = np.int64(0), np.int64(PANEL), units >= 0
    fetch = Fetch(zero, zero)
    shape, made = tile_shape(isa, 1, 64), Made(sums, PANEL_ROW, 0, 0)
    if bits == 4:
        strip(
            isa, shape, NIBBLE, first, units, ones, zero, panel, terms, zero, made, zero,
            columns, fetch,
        )  # fmt: skip
    elif bits == SMALL:
        strip(
            isa, shape, kind_of_small(isa), first, units, ones, zero, panel, terms, zero, made,
            zero, columns, fetch,
        )  # fmt: skip
    else:
        strip(
            isa, shape, BYTE, first, units, ones, zero, panel, terms, zero, made, zero, columns,
            fetch,
        )  # fmt: skip


@inner
def panel_terms(isa, x, s, j, n, panel, shifted):
    """What is added to products with the panel's columns."""
    lanes, b = lanes_of(isa), x.b
    zeros, sums = 0, 0
    if b.panel_zeros != 0:
        zeros = b.panel_zeros + j // PANEL * x.groups * PANEL_ROW
    elif b.zeros != 0:
        zeros = s.column_zeros
        for i in range(n):
            store_integer(-load_integer(b.zeros + (j + i) * b.zeros_step), zeros + 4 * i)
    if shifted:
        sums = s.column_sums
        unit = unit_of(b.plain.bits)
        none = Terms(s.place, 0, 0, 0, 0, 0)
        zero_bytes(s.place, 4)
        at, ones = panel, s.ones
        for g in range(x.groups):
            depth = lesser(x.span, x.k - g * x.span)
            units = (depth + unit - 1) // unit
            to = sums + g * PANEL_ROW
            sum_columns(isa, b.plain.bits, units, ones, at, none, to)
            at += units * PANEL_ROW
            words = multiplies_words(isa, b.plain.bits)
            ones += units * unit * (2 if words else 1)
            meant = splat_integer(isa, depth * offset_of(b.plain))
            count = splat_integer(isa, depth)
            for i in range(0, PANEL_ROW, 4 * lanes):
                total = meant - load(isa, to + i, BITS)
                if zeros != 0:
                    total = total - count * load(isa, zeros + g * PANEL_ROW + i, BITS)
                store(isa, total, to + i, BITS)
    return Terms(s.starts, s.sums, s.zeros, 4 * x.groups, zeros, sums)


@inlined
def start_columns(isa, x, s, j, n, what):
    """Get ready for `finish` of columns from j on."""
    if x.layer.scaled:
        layer_columns(isa, what, x.layer, j, n, s.layer)


@inlined
def goes_straight(isa, x, n):
    """Whether tiles go from registers to the result: int32, or FP32 without activation."""
    out, layer = x.out, x.layer
    plain = not layer.scaled or (out.form == SINGLE_OUT and layer.activation == NONE)
    return plain and out.column == 4 and n % lanes_of(isa) == 0


@inner
def finish(isa, x, s, sums, sums_row, rows, n, i, j, what):
    """Sums of rows from i and columns from j on to where they belong."""
    out = x.out
    if x.layer.scaled:
        finish_layer(isa, what, sums, sums_row, rows, n, out, x.layer, i, j, s.layer)
        return
    at = out.at + i * out.row + j * out.column
    for _ in range(rows):
        scatter_row(isa, sums, at, out.column, False, n)
        at += out.row
        sums += sums_row
