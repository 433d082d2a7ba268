# SPDX-License-Identifier: Apache-2.0
"""C = epilogue(A B) for many rows, FP16 operands, FP32 accumulation, on one thread.

    for each block of MC rows              a widened to FP32: streams from L2 / L3
      for each panel of 64 columns
        for each KC steps of k             this part of b widened to FP32: stays in L2
          for each 6 rows                  tile: 6 rows x as many vectors as the registers hold

    acc[r, v] += a[r] * b[v]               in registers, k ascending: rule 1's chain

A later k-block goes on from the FP32 sums that the earlier one left.
"""

from halfbyte.cpu.compile import f32_2d, i64_1d, inlined, kernel, u8_1d, u16_2d
from halfbyte.cpu.epilogue import finish_rows
from halfbyte.cpu.gemm_f16_strips import strip
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.matrices import product_of
from halfbyte.cpu.pack import (
    TILE_ROWS,
    a_row_bytes,
    pack_panel,
    scratch_layout,
    widen_a,
    widen_rows,
)
from halfbyte.cpu.simd import (
    SINGLE,
    enter_default_rounding,
    lanes_of,
    leave_default_rounding,
    narrowed,
    shape_columns,
    tile_shape,
)

WIDE_ROWS = 96  # from here on widening b's panel costs less than converting halves in the loop


@inlined
def wide_strip(isa, first, k, a, a_row, b, c, c_row, columns):
    """`strip` of 6 rows with b in FP32; the last tile has no more vectors than columns need."""
    shape = tile_shape(isa, 6, 64)
    lanes = lanes_of(isa)
    columns = (columns + lanes - 1) // lanes * lanes
    whole = columns - columns % shape_columns(isa, shape)
    b_row = PANEL * 4
    strip(isa, shape, SINGLE, first, k, a, a_row, b, b_row, c, c_row, whole)
    b += 4 * whole
    c += 4 * whole
    rest = columns - whole
    if rest == lanes:
        strip(isa, narrowed(shape, 1), SINGLE, first, k, a, a_row, b, b_row, c, c_row, rest)
    elif rest == 2 * lanes:
        strip(isa, narrowed(shape, 2), SINGLE, first, k, a, a_row, b, b_row, c, c_row, rest)
    elif rest == 3 * lanes:
        strip(isa, narrowed(shape, 3), SINGLE, first, k, a, a_row, b, b_row, c, c_row, rest)


@inlined
def multiply(isa, x, kc, mc):
    """Part x of a product by the loops of this file's head."""
    a, b, out, rows, k = x.a, x.b, x.out, x.rows, x.k
    sums, panel_half, a_single, panel_single = scratch_layout(x.memory, min(mc, rows), k, kc, 0, 1)
    a_row = a_row_bytes(k)
    for i0 in range(0, rows, mc):
        m = min(mc, rows - i0)
        widen_a(isa, a.at + i0 * a.row, a.row, a.column, m, k, a_single, panel_half)
        for j in range(0, x.columns, PANEL):
            n = min(PANEL, x.columns - j)
            plain = x.steps.plain and out.column == 4 and not out.half and n % lanes_of(isa) == 0
            for p in range(0, max(k, 1), kc):
                depth = min(kc, k - p)
                first, last = p == 0, p + kc >= k
                b_at, b_row = b.at + j // PANEL * b.panel + p * b.row, b.row
                if b.column != 2:
                    pack_panel(isa, b_at, b.row, b.column, depth, n, PANEL, panel_half)
                    b_at, b_row = panel_half, PANEL * 2
                widen_rows(isa, b_at, b_row, panel_single, PANEL * 4, depth, n)
                for i in range(0, m, TILE_ROWS):
                    a_at = a_single + i * a_row + 4 * p
                    direct = plain and i + TILE_ROWS <= m
                    # Sums that no later k-block goes on from need no place of their own.
                    c_at, c_row = sums + (0 if first and last else i * PANEL * 4), PANEL * 4
                    if direct:
                        c_at, c_row = out.at + (i0 + i) * out.row + j * out.column, out.row
                    wide_strip(isa, first, depth, a_at, a_row, panel_single, c_at, c_row, n)
                    if last and not direct:
                        valid = min(TILE_ROWS, m - i)
                        finish_rows(isa, c_at, c_row, valid, n, x.c, out, i0 + i, j, x.steps)


# a, b or its panels, FP32 out (or an empty array), Request, task, scratch. The task: products,
# rows and columns, each from .. to, and KC, MC.
@kernel(u16_2d, u16_2d, f32_2d, i64_1d, i64_1d, u8_1d)
def multiply_wide(isa, a, b, single, request, task, scratch):
    """One task of `gemm_f16`: a rectangle of C, of each of some products of a batch."""
    before = enter_default_rounding()
    for t in range(task[0], task[1]):
        x = product_of(request, task, t, a, b, single, scratch)
        multiply(isa, x, task[6], task[7])
    leave_default_rounding(before)
