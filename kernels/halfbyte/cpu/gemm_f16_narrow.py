# SPDX-License-Identifier: Apache-2.0
"""C = epilogue(A B) for fewer rows, FP16 operands, FP32 accumulation, on one thread.

    for each panel of 64 columns
      for each KC steps of k               b stays FP16: in place where columns are contiguous
        for 6, 4, 2 or 1 rows at a time    halves are converted on the way into the registers

With a few rows, reading b from memory is all that takes time. Packed, the panels are one stream.
Contiguous along n, `gemm_f16_few.py` reads b in address order (`swept`; with more rows
`laid_out`). Contiguous along k (the weights (n, k) of a layer), KC is 64: a block is transposed as
it arrives, used and forgotten; 16 columns at a time (`slim`) if its rows in memory share their
sets of the L1 cache.
"""

import numpy as np

from halfbyte.cpu.compile import f32_2d, i64_1d, inlined, kernel, u8_1d, u16_2d
from halfbyte.cpu.epilogue import finish_rows
from halfbyte.cpu.gemm_f16_few import lay_out, sweep
from halfbyte.cpu.gemm_f16_strips import strip
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.matrices import product_of
from halfbyte.cpu.pack import a_row_bytes, pack_panel, scratch_layout, widen_a
from halfbyte.cpu.simd import (
    HALF,
    enter_default_rounding,
    leave_default_rounding,
    tile_shape,
)

SLIM = 16


@inlined
def narrow_strip(isa, kind, rows, first, k, a, a_row, b, b_row, c, c_row):
    """`strip` of 6, 4, 2 or 1 rows and all columns of a panel with b in FP16 or FP32."""
    if rows == 6:
        strip(isa, tile_shape(isa, 6, 64), kind, first, k, a, a_row, b, b_row, c, c_row, PANEL)
    elif rows == 4:
        strip(isa, tile_shape(isa, 4, 64), kind, first, k, a, a_row, b, b_row, c, c_row, PANEL)
    elif rows == 2:
        strip(isa, tile_shape(isa, 2, 64), kind, first, k, a, a_row, b, b_row, c, c_row, PANEL)
    else:
        strip(isa, tile_shape(isa, 1, 64), kind, first, k, a, a_row, b, b_row, c, c_row, PANEL)


@inlined
def slim_strip(isa, rows, first, k, a, a_row, b, b_row, c, c_row):
    """`narrow_strip` of 16 columns."""
    if rows == 6:
        strip(isa, tile_shape(isa, 6, 16), HALF, first, k, a, a_row, b, b_row, c, c_row, 16)
    elif rows == 4:
        strip(isa, tile_shape(isa, 4, 16), HALF, first, k, a, a_row, b, b_row, c, c_row, 16)
    elif rows == 2:
        strip(isa, tile_shape(isa, 2, 16), HALF, first, k, a, a_row, b, b_row, c, c_row, 16)
    else:
        strip(isa, tile_shape(isa, 1, 16), HALF, first, k, a, a_row, b, b_row, c, c_row, 16)


@inlined
def strip_height(left):
    """Rows of the next strip, of so many that are left."""
    return 6 if left >= 6 else 4 if left >= 4 else 2 if left >= 2 else 1


@inlined
def multiply(isa, x, kc, slim, swept, laid_out):
    """Part x of a product by the loops of this file's head."""
    a, b, c, out, steps, rows, columns, k = x.a, x.b, x.c, x.out, x.steps, x.rows, x.columns, x.k
    done = columns // PANEL * PANEL if swept or laid_out else 0
    panels = done // PANEL if laid_out else 1
    sums, panel_half, a_single, _ = scratch_layout(x.memory, rows, k, kc, rows * done, panels)
    a_row = a_row_bytes(k)
    widen_a(isa, a.at, a.row, a.column, rows, k, a_single, panel_half)
    if swept:
        sweep(isa, a_single, a_row, b.at, b.row, sums, rows, done, k)
        for j in range(0, done, PANEL):
            n = min(PANEL, done - j)
            finish_rows(isa, sums + 4 * j, 4 * done, rows, n, c, out, np.int64(0), j, steps)
    if laid_out:
        for p in range(0, max(k, 1), kc):
            depth = min(kc, k - p)
            lay_out(b.at + p * b.row, b.row, depth, done, panel_half)
            for j in range(panels):
                i = 0
                while i < rows:
                    height = strip_height(rows - i)
                    a_at = a_single + i * a_row + 4 * p
                    b_at = panel_half + j * depth * PANEL * 2
                    c_at = sums + (j * rows + i) * PANEL * 4
                    narrow_strip(
                        isa, HALF, height, p == 0, depth, a_at, a_row, b_at, PANEL * 2, c_at,
                        PANEL * 4,
                    )  # fmt: skip
                    i += height
        for j in range(0, done, PANEL):
            n = min(PANEL, done - j)
            at = sums + j * rows * 4
            finish_rows(isa, at, PANEL * 4, rows, n, c, out, np.int64(0), j, steps)
    width = SLIM if slim else PANEL
    for j in range(done, columns, width):
        n = min(width, columns - j)
        plain = steps.plain and out.column == 4 and not out.half and n == PANEL
        for p in range(0, max(k, 1), kc):
            depth = min(kc, k - p)
            first, last = p == 0, p + kc >= k
            b_at = b.at + p * b.row + (j // PANEL * b.panel if b.packed else j * b.column)
            b_row = b.row
            if not (b.packed or (b.column == 2 and n == PANEL)):
                pack_panel(isa, b_at, b.row, b.column, depth, n, width, panel_half)
                b_at, b_row = panel_half, PANEL * 2
            i = 0
            while i < rows:
                height = strip_height(rows - i)
                a_at = a_single + i * a_row + 4 * p
                c_at, c_row = sums + (0 if first and last else i * PANEL * 4), PANEL * 4
                if plain:
                    c_at, c_row = out.at + i * out.row + j * out.column, out.row
                if slim:
                    slim_strip(isa, height, first, depth, a_at, a_row, b_at, b_row, c_at, c_row)
                else:
                    narrow_strip(
                        isa, HALF, height, first, depth, a_at, a_row, b_at, b_row, c_at, c_row
                    )
                if last and not plain:
                    finish_rows(isa, c_at, c_row, height, n, c, out, i, j, steps)
                i += height


# a, b or its panels, FP32 out (or an empty array), Request, task, scratch. The task: products,
# rows and columns, each from .. to, and KC, slim, swept, laid_out.
@kernel(u16_2d, u16_2d, f32_2d, i64_1d, i64_1d, u8_1d)
def multiply_narrow(isa, a, b, single, request, task, scratch):
    """One task of `gemm_f16`: a rectangle of C, of each of some products of a batch."""
    before = enter_default_rounding()
    for t in range(task[0], task[1]):
        x = product_of(request, task, t, a, b, single, scratch)
        multiply(isa, x, task[6], task[7] != 0, task[8] != 0, task[9] != 0)
    leave_default_rounding(before)
