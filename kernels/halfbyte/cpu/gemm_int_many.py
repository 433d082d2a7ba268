# SPDX-License-Identifier: Apache-2.0
"""C = A B for integers and more than a few rows, exact, and a layer's result; on one thread.

    for each block of MC rows              a stays in L2, laid out with the sums of its rows
      for each panel of 64 columns         b as stored, packed by the first block if it is plain
        for each KC units of k             expanded to what tiles multiply, if that is another form
          for each 6 rows                  tile: 6 rows x as many vectors as the registers hold

The last rows of a block overlap the ones before them: they are computed twice. `scales` is None, or
an address: then k has groups, whose scaled sums are added up in FP32.
"""

import numpy as np

from halfbyte.cpu.compile import i32_2d, i64_1d, inlined, inner, kernel, u8_1d, u8_2d
from halfbyte.cpu.gemm_int_operands import product_of
from halfbyte.cpu.gemm_int_panels import PANEL_ROW, expand
from halfbyte.cpu.gemm_int_parts import (
    ROW_BYTES,
    finish,
    goes_straight,
    lay,
    panel_terms,
    placed,
    scratch_layout,
    start_columns,
    stored_panel,
    units_of,
)
from halfbyte.cpu.gemm_int_rows import SMALL
from halfbyte.cpu.gemm_int_strips import (
    TILE_ROWS,
    Depth,
    Fetch,
    Made,
    add_strip,
    first_fetch,
    next_fetch,
)
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.linear_epilogue import INTEGERS, SCALED
from halfbyte.cpu.simd import (
    BYTE,
    NIBBLE,
    SMALL_BYTE,
    enter_default_rounding,
    expanded_kind,
    lanes_of,
    leave_default_rounding,
    multiplies_words,
    narrowed,
    shape_columns,
    shared_shape,
    tile_shape,
)


@inlined
def wide_strip(isa, kind, depth, a, b, scales, terms, i, c, columns, fetch):
    """6 rows of all columns of a panel: whole tiles, then narrower ones."""
    lanes, zero = lanes_of(isa), np.int64(0)  # a literal 0 would make another variant of strips
    nothing = Fetch(zero, zero)
    shape = shared_shape(tile_shape(isa, 6, 64), scales)
    end = (columns + lanes - 1) // lanes * lanes
    j = end // shape_columns(isa, shape) * shape_columns(isa, shape)
    add_strip(isa, shape, kind, depth, a, b, scales, terms, i, c, zero, j, fetch)
    if end - j >= 2 * lanes:
        half = narrowed(shape, 2)
        add_strip(isa, half, kind, depth, a, b, scales, terms, i, c, j, j + 2 * lanes, nothing)
        j += 2 * lanes
    if end > j:
        one = narrowed(shape, 1)
        add_strip(isa, one, kind, depth, a, b, scales, terms, i, c, j, j + lanes, nothing)


@inner
def expanded(isa, bits, source, units, target):
    """Units of a panel as tiles multiply them: where they are, or in `target`."""
    if bits == 4:
        expand(isa, NIBBLE, source, target, units)
        if multiplies_words(isa, 4):
            # From the end on: each unit becomes two.
            for u in range(2 * units - 1, -1, -1):
                expand(isa, BYTE, target + u * PANEL_ROW, target + 2 * u * PANEL_ROW, 1)
        return target
    if multiplies_words(isa, bits):
        expand(isa, BYTE, source, target, units)
        return target
    return source


@inlined
def multiply(isa, x, kc, mc, scales):
    """Part x of a product by the loops of this file's head; KC in units, whole groups."""
    bits, out = x.b.plain.bits, x.out
    units = units_of(x)
    words = multiplies_words(isa, bits)
    # In tiles' units, of which one of a panel's may be several; so many bytes of a, too.
    factor = (2 if bits == 4 else 1) * (2 if words else 1)
    a_unit = units.unit * (2 if words else 1)
    blocks = max(1, (units.all + kc - 1) // kc)
    height = min(mc, x.rows)
    strips = (height + TILE_ROWS - 1) // TILE_ROWS
    kept = TILE_ROWS * (strips if blocks > 1 else 1)
    panels = (x.columns + PANEL - 1) // PANEL if mc < x.rows else 1
    room = 0 if x.b.packed else panels * units.all
    s = scratch_layout(x.memory, height, x.k, x.span, bits, kc, kept, room)
    what = INTEGERS if scales is None else SCALED
    for row0 in range(0, x.rows, mc):
        i0 = min(row0, x.rows - TILE_ROWS)
        m = min(mc, x.rows - i0)
        a = placed(isa, x, s, i0, m)
        for j in range(0, x.columns, PANEL):
            n = min(PANEL, x.columns - j)
            target = s.panels + (j // PANEL * units.all * PANEL_ROW if mc < x.rows else 0)
            stored = stored_panel(isa, x, s, j, n, target, row0 == 0)
            terms = panel_terms(isa, x, s, j, n, stored, a.shifted)
            start_columns(isa, x, s, j, n, what)
            direct = blocks == 1 and goes_straight(isa, x, n)
            for p in range(0, max(units.all, 1), kc):
                count = min(kc, units.all - p)
                final = p + count == units.all
                # Without groups, nothing but whether this is the first block is looked at.
                group = p if scales is None else p // units.group
                depth = Depth(
                    group, (count + units.group - 1) // max(units.group, 1), units.group * factor,
                    (units.last if final else units.group) * factor, count * factor,
                )  # fmt: skip
                b_at = expanded(isa, bits, stored + p * PANEL_ROW, count, s.expanded)
                in_block = (m + TILE_ROWS - 1) // TILE_ROWS
                following = stored + (p + count) * PANEL_ROW
                fetch = first_fetch(x.b.packed, b_at, following, in_block, factor)
                for strip_index in range(in_block):
                    # A strip that overlaps the one before it has sums of its own.
                    i = min(strip_index * TILE_ROWS, m - TILE_ROWS)
                    if j == 0 and p == 0:  # now, so that they are in the L1 cache next
                        lay(isa, x, s, a, i0, i, TILE_ROWS)
                    a_at = a.at + i * a.row + p * a_unit
                    at, c_at = (a_at, a.row), s.kept
                    if blocks > 1:
                        c_at += strip_index * TILE_ROWS * ROW_BYTES
                    c = Made(c_at, ROW_BYTES, 0, 0)
                    if direct:
                        c_at = out.at + (i0 + i) * out.row + 4 * j
                        c = Made(c_at, out.row, 0, 0)
                        if x.layer.scaled:
                            own = x.layer.x_scale + 4 * (i0 + i)
                            c = Made(c_at, out.row, own, s.layer)
                    at_scales = scales
                    if scales is not None:
                        at_scales = scales + j // PANEL * x.groups * PANEL_ROW
                    if bits == 4:
                        kind = expanded_kind(isa, NIBBLE)
                        wide_strip(isa, kind, depth, at, b_at, at_scales, terms, i, c, n, fetch)
                    elif bits == SMALL:
                        kind = expanded_kind(isa, SMALL_BYTE)
                        wide_strip(isa, kind, depth, at, b_at, at_scales, terms, i, c, n, fetch)
                    else:
                        kind = expanded_kind(isa, BYTE)
                        wide_strip(isa, kind, depth, at, b_at, at_scales, terms, i, c, n, fetch)
                    fetch = next_fetch(fetch, count * factor)
                    if final and not direct:
                        finish(isa, x, s, c_at, ROW_BYTES, TILE_ROWS, n, i0 + i, j, what)


# a, b or its panels, out (or an empty array), Request, task, scratch. The task: products, rows and
# columns, each from .. to, k, and KC, MC.
SIGNATURE = (u8_2d, u8_2d, i32_2d, i64_1d, i64_1d, u8_1d)


@kernel(*SIGNATURE, vnni=True)
def multiply_many(isa, a, b, out, request, task, scratch):
    """One task of `gemm_int`, or of a layer whose weights have no groups."""
    before = enter_default_rounding()
    for t in range(task[0], task[1]):
        x = product_of(request, task, t, a, b, out, scratch)
        multiply(isa, x, task[7], task[8], None)
    leave_default_rounding(before)


@kernel(*SIGNATURE, vnni=True)
def multiply_many_groups(isa, a, b, out, request, task, scratch):
    """One task of a layer whose weights have groups."""
    before = enter_default_rounding()
    x = product_of(request, task, 0, a, b, out, scratch)
    multiply(isa, x, task[7], task[8], x.b.panel_scales)
    leave_default_rounding(before)
