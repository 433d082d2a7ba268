# SPDX-License-Identifier: Apache-2.0
"""The layer with quantized weights and FP16 input (weight-only, rule 7), on one thread.

    for each panel of 64 columns
      for each group of k, or all of k     chains of x16 * (q - z), FP32, exact products
        for each KC steps                  codes become FP32, less their zero points, in the L1
          for 6, 4, 2 or 1 rows            the strips of gemm_f16

Up to 4 rows take whole units of codes as they are: they become FP32 in the registers.

A group's chains, times their scales, are added up. Many rows take a panel's codes by blocks of MC
rows, so that sums stay in the cache.
"""

import numpy as np

from halfbyte.cpu.compile import i32_2d, i64_1d, inlined, inner, kernel, u8_1d, u8_2d, u16_2d
from halfbyte.cpu.gemm_f16_narrow import narrow_strip, strip_height
from halfbyte.cpu.gemm_int_operands import product_of
from halfbyte.cpu.gemm_int_panels import PANEL_ROW
from halfbyte.cpu.gemm_int_parts import (
    ROW_BYTES,
    finish,
    offset_of,
    scratch_layout,
    start_columns,
    stored_panel,
)
from halfbyte.cpu.gemm_int_rows import padded, unit_of
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.linear_epilogue import CHAINS, SCALED
from halfbyte.cpu.pack import a_row_bytes, widen_a
from halfbyte.cpu.quantization_rows import lesser
from halfbyte.cpu.simd import (
    BITS,
    BYTE,
    NIBBLE,
    SINGLE,
    enter_default_rounding,
    field,
    kind_bytes,
    lanes_of,
    leave_default_rounding,
    load,
    load_integer,
    prefetch_line,
    shape_columns,
    singles,
    store,
    store_scalar,
    tile_chain,
    tile_load,
    tile_shape,
    tile_store,
    tile_zero,
    zero_bytes,
)

KC = 128  # steps of k that are FP32 at a time: 32 KiB
FEW_ROWS = 4
AHEAD = 4096


@inlined
def expand_step(isa, codes, zeros, target, step):
    store(isa, singles(codes) - zeros, target + step * ROW_BYTES, SINGLE)


@inner
def expand_codes(isa, bits, source, units, zeros, target):
    """Units of a panel to rows of 64 FP32, one a step of k: the codes less `zeros`, 64 FP32."""
    lanes = lanes_of(isa)
    for _ in range(units):
        prefetch_line(source + AHEAD)
        prefetch_line(source + AHEAD + 128)
        for j in range(0, PANEL_ROW, 4 * lanes):
            x, z, at = load(isa, source + j, BITS), load(isa, zeros + j, SINGLE), target + j
            if bits != 4:
                expand_step(isa, field(x, 0, 8), z, at, 0)
                expand_step(isa, field(x, 8, 8), z, at, 1)
                expand_step(isa, field(x, 16, 8), z, at, 2)
                expand_step(isa, field(x, 24, 8), z, at, 3)
            else:
                expand_step(isa, field(x, 0, 4), z, at, 0)
                expand_step(isa, field(x, 8, 4), z, at, 1)
                expand_step(isa, field(x, 16, 4), z, at, 2)
                expand_step(isa, field(x, 24, 4), z, at, 3)
                expand_step(isa, field(x, 4, 4), z, at, 4)
                expand_step(isa, field(x, 12, 4), z, at, 5)
                expand_step(isa, field(x, 20, 4), z, at, 6)
                expand_step(isa, field(x, 28, 4), z, at, 7)
        source += PANEL_ROW
        target += unit_of(bits) * ROW_BYTES


@inlined
def stored_zeros(isa, x, j, n, group, target):
    """What stored codes of 64 columns stand for less than they are, as FP32."""
    offset, b = np.float32(offset_of(x.b.plain)), x.b
    for i in range(PANEL):
        zero = np.float32(0)
        if b.panel_zeros != 0:
            at = b.panel_zeros + (j // PANEL * x.groups + group) * PANEL_ROW + 4 * i
            zero = -np.float32(load_integer(at))
        elif b.zeros != 0 and i < n:
            zero = np.float32(load_integer(b.zeros + (j + i) * b.zeros_step))
        store_scalar(isa, zero + offset, target + 4 * i, SINGLE)


@inner
def chain_strip(isa, shape, kind, first, units, a, a_row, b, zeros, c):
    """c[rows, 64] = or += a b, so many units of codes."""
    unit = 4 if kind_bytes(kind) == 1 else 8
    for j in range(0, PANEL, shape_columns(isa, shape)):
        acc = tile_zero(isa, shape, SINGLE)
        if not first:
            acc = tile_load(isa, shape, c + 4 * j, ROW_BYTES, SINGLE)
        at, bt = a, b + 4 * j
        for _ in range(units):
            prefetch_line(bt + AHEAD)
            prefetch_line(bt + AHEAD + 128)
            acc = tile_chain(isa, acc, at, a_row, bt, zeros + 4 * j, kind)
            at += 4 * unit
            bt += PANEL_ROW
        tile_store(acc, c + 4 * j, ROW_BYTES)


@inlined
def chain_rows(isa, kind, rows, units, a, a_row, b, zeros, c):
    """Whole units of all rows, 4, 2 or 1 at a time, from +0 on."""
    i, first = np.int64(0), units >= 0
    while i < rows:
        left = rows - i
        at, to = a + i * a_row, c + i * ROW_BYTES
        if left >= 4:
            chain_strip(isa, tile_shape(isa, 4, 64), kind, first, units, at, a_row, b, zeros, to)
            i += 4
        elif left >= 2:
            chain_strip(isa, tile_shape(isa, 2, 64), kind, first, units, at, a_row, b, zeros, to)
            i += 2
        else:
            chain_strip(isa, tile_shape(isa, 1, 64), kind, first, units, at, a_row, b, zeros, to)
            i += 1


@inner
def add_scaled(isa, sums, scales, target, rows):
    """target + sums * scales, for rows of 64."""
    for _ in range(rows):
        for j in range(0, ROW_BYTES, 4 * lanes_of(isa)):
            scaled = load(isa, sums + j, SINGLE) * load(isa, scales + j, SINGLE)
            store(isa, load(isa, target + j, SINGLE) + scaled, target + j, SINGLE)
        sums += ROW_BYTES
        target += ROW_BYTES


@inlined
def multiply(isa, x, mc):
    """Part x of a product by the loops of this file's head."""
    bits, k, scales = x.b.plain.bits, x.k, x.b.panel_scales
    unit = unit_of(bits)
    height = lesser(mc, x.rows)
    # After what integer products need: FP32 zero points, a panel's part, rows of a.
    room = 0 if x.b.packed else padded(k, x.span, unit) // unit
    s = scratch_layout(x.memory, 0, 0, x.span, bits, 0, 2 * height, room)
    zeros = (s.end + 63) // 64 * 64
    single = zeros + ROW_BYTES
    block = single + KC * ROW_BYTES
    a_rows = block + PANEL * PANEL * 2
    a_row = a_row_bytes(k)
    chains, sums = s.kept, s.kept + height * ROW_BYTES
    for i0 in range(0, x.rows, mc):
        rows = lesser(mc, x.rows - i0)
        widen_a(isa, x.a.at + i0 * x.a.row, x.a.row, x.a.column, rows, k, a_rows, block)
        for j in range(0, x.columns, PANEL):
            n = lesser(PANEL, x.columns - j)
            at = stored_panel(isa, x, s, j, n, s.panels, True)
            zero_bytes(s.kept, 2 * rows * ROW_BYTES if k == 0 else 0)
            if scales != 0:
                zero_bytes(sums, rows * ROW_BYTES)
            for group in range(x.groups if k > 0 else 0):
                start = group * x.span
                end = lesser(start + x.span, k)
                if group == 0 or x.b.panel_zeros != 0:
                    stored_zeros(isa, x, j, n, group, zeros)
                begin = start
                if rows <= FEW_ROWS:
                    whole = (end - start) // unit
                    if bits != 4:
                        chain_rows(
                            isa, BYTE, rows, whole, a_rows + 4 * start, a_row, at, zeros, chains
                        )
                    else:
                        chain_rows(
                            isa, NIBBLE, rows, whole, a_rows + 4 * start, a_row, at, zeros, chains
                        )
                    at += whole * PANEL_ROW
                    begin += whole * unit
                for p in range(begin, end, KC):
                    depth = lesser(KC, end - p)
                    units = (depth + unit - 1) // unit
                    expand_codes(isa, bits, at, units, zeros, single)
                    at += units * PANEL_ROW
                    i = 0
                    while i < rows:
                        tall = strip_height(rows - i)
                        from_a, to = a_rows + i * a_row + 4 * p, chains + i * ROW_BYTES
                        narrow_strip(
                            isa, SINGLE, tall, p == start, depth, from_a, a_row, single, ROW_BYTES,
                            to, ROW_BYTES,
                        )  # fmt: skip
                        i += tall
                if scales != 0:
                    own = scales + (j // PANEL * x.groups + group) * PANEL_ROW
                    add_scaled(isa, chains, own, sums, rows)
            what = CHAINS if scales == 0 else SCALED
            start_columns(isa, x, s, j, n, what)
            made = chains if scales == 0 else sums
            finish(isa, x, s, made, ROW_BYTES, rows, n, i0, j, what)


def scratch_bytes(rows, k, span, bits, room):
    """Bytes of scratch for blocks of so many rows and so many units of plain b's panel."""
    end = scratch_layout(64, 0, 0, span, bits, 0, 2 * rows, room).end + 64
    end += ROW_BYTES + KC * ROW_BYTES + PANEL * PANEL * 2
    return end + (rows + 5) // 6 * 6 * a_row_bytes(k)


# x, w or its panels, an empty array, Request, task, scratch; the task as in gemm_int_many.py, with
# MC after k.
@kernel(u16_2d, u8_2d, i32_2d, i64_1d, i64_1d, u8_1d)
def multiply_halves(isa, a, b, out, request, task, scratch):
    """One task of a layer."""
    before = enter_default_rounding()
    x = product_of(request, task, 0, a, b, out, scratch)
    multiply(isa, x, task[7])
    leave_default_rounding(before)
