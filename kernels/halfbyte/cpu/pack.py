# SPDX-License-Identifier: Apache-2.0
"""Bring FP16 operands into the layouts that the register tiles read.

b: panels of PANEL = 64 columns, one row of 128 bytes (FP16) or 256 bytes (FP32) a step of k

     j .. j + 63
   +-------------+  p = 0
   |             |  p = 1         a column that b does not have is zero
   +-------------+

a: FP32 rows, contiguous along k, whole tiles of TILE_ROWS rows; a row that a lacks is zero

   +------- k -------+----+
   | row 0           |    |  64 bytes or more of padding: the rows of a tile
   | row 1           |    |  must not fall into the same sets of the L1 cache
   |  ...            |    |
"""

from halfbyte.cpu.compile import i64, inlined, inner, kernel, shared, u16_2d, u16_3d
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.matrices import address
from halfbyte.cpu.simd import (
    HALF,
    SINGLE,
    block_of,
    copy_bytes,
    lanes_of,
    load,
    load_part,
    load_scalar,
    store,
    store_scalar,
    transpose_words,
    zero_bytes,
)

TILE_ROWS = 6
# Bytes that a transpose fetches ahead in each row of weights (n, k); half or twice as many lose.
TRANSPOSE_AHEAD = 256


@inner
def widen_row(isa, source, target, count):
    """count contiguous halves to FP32; the target is written in whole vectors, zeros at its end."""
    lanes = lanes_of(isa)
    whole = count - count % lanes
    for i in range(0, whole, lanes):
        store(isa, load(isa, source + 2 * i, HALF), target + 4 * i, SINGLE)
    if whole < count:
        x = load_part(isa, source + 2 * whole, count - whole, HALF)
        store(isa, x, target + 4 * whole, SINGLE)


@inner
def widen_rows(isa, source, source_stride, target, target_stride, rows, count):
    """`widen_row` for several rows, strides in bytes."""
    for _ in range(rows):
        widen_row(isa, source, target, count)
        source += source_stride
        target += target_stride


@shared
def a_row_bytes(k):
    """Bytes between rows of FP32 a: whole vectors, and not a multiple of 512, so that the rows
    of a tile spread over the sets of an L1 cache."""
    size = (k * 4 + 63) // 64 * 64 + 64
    return size + 64 if size % 512 == 0 else size


@inlined
def copy_rows(source, source_stride, target, rows, columns):
    """rows of up to PANEL contiguous halves into a zeroed or fully overwritten panel."""
    for _ in range(rows):
        if columns == PANEL:
            copy_bytes(target, source, PANEL * 2)  # a constant size becomes two moves
        else:
            copy_bytes(target, source, columns * 2)
        source += source_stride
        target += PANEL * 2


@inner
def transpose_rows(isa, source, source_stride, target, rows, columns, ahead):
    """columns x rows halves, contiguous along k, into a panel; fetches `ahead` bytes on. Blocks
    at the far edges overlap their neighbours: they write the same values twice."""
    side = block_of(isa)
    if rows < side or columns < side:
        for j in range(columns):
            for p in range(rows):
                copy_bytes(target + (p * PANEL + j) * 2, source + j * source_stride + 2 * p, 2)
        return
    pair = 2 * side <= rows
    step = 2 * side if pair else side
    for j0 in range(0, columns, side):
        j = min(j0, columns - side)
        for p0 in range(0, rows, step):
            p = min(p0, rows - step)
            at = source + j * source_stride + 2 * p
            to = target + (p * PANEL + j) * 2
            if pair:
                transpose_words(isa, 2, at, source_stride, to, PANEL * 2, ahead)
            else:
                transpose_words(isa, 1, at, source_stride, to, PANEL * 2, ahead)


@inner
def pack_panel(isa, b, k_stride, n_stride, rows, columns, width, target):
    """rows (along k) x columns of FP16 b, any strides, into an FP16 panel, zeros up to width."""
    if columns < width:
        zero_bytes(target, rows * PANEL * 2)
    if n_stride == 2 or columns == 1:
        copy_rows(b, k_stride, target, rows, columns)
    elif k_stride == 2:
        transpose_rows(isa, b, n_stride, target, rows, columns, TRANSPOSE_AHEAD)
    else:
        for p in range(rows):
            for j in range(columns):
                copy_bytes(target + (p * PANEL + j) * 2, b + p * k_stride + j * n_stride, 2)


@inner
def widen_a(isa, a, row_stride, k_stride, rows, k, target, block):
    """rows x k of a, any strides, to FP32 rows `a_row_bytes(k)` apart.

    block: room for PANEL x PANEL halves, through which columns that are contiguous turn to rows.
    """
    target_stride = a_row_bytes(k)
    if k_stride == 2 or k == 1:
        widen_rows(isa, a, row_stride, target, target_stride, rows, k)
    elif row_stride == 2:
        for i in range(0, rows, PANEL):
            m = min(PANEL, rows - i)
            for p in range(0, k, PANEL):
                steps = min(PANEL, k - p)
                transpose_rows(
                    isa, a + 2 * i + p * k_stride, k_stride, block, m, steps, TRANSPOSE_AHEAD
                )
                at = target + i * target_stride + 4 * p
                widen_rows(isa, block, PANEL * 2, at, target_stride, m, steps)
    else:
        for i in range(rows):
            for p in range(k):
                x = load_scalar(isa, a + i * row_stride + p * k_stride, HALF)
                store_scalar(isa, x, target + i * target_stride + 4 * p, SINGLE)
    padding = (rows + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS - rows
    zero_bytes(target + rows * target_stride, padding * target_stride)


@shared
def scratch_layout(memory, rows, k, kc, kept_sums, panels):
    """Addresses of the sums of a block (or of so many as are kept), b's panels in FP16, a in FP32,
    b's panel in FP32, from an aligned address on. The first row is the epilogue's."""
    height = (rows + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
    sums = memory + PANEL * 4
    panel_half = sums + max(height * PANEL, (kept_sums + 15) // 16 * 16) * 4
    a_single = panel_half + max(kc * panels, PANEL) * PANEL * 2
    return sums, panel_half, a_single, a_single + height * a_row_bytes(k)


@kernel(u16_2d, u16_3d, i64, i64)
def pack(isa, b, panels, panel0, panel1):
    """b (k, n), any strides, into panels (ceil(n / 64), k, 64), from panel0 up to panel1."""
    k, n = b.shape
    b_k, b_n = b.strides
    for panel in range(panel0, panel1):
        j = panel * PANEL
        pack_panel(
            isa, address(b) + j * b_n, b_k, b_n, k, min(PANEL, n - j), PANEL,
            address(panels) + panel * k * PANEL * 2,
        )  # fmt: skip
