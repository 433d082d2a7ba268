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

from halfbyte.cpu.compile import inner
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.simd import (
    HALF,
    SINGLE,
    copy_bytes,
    lanes_of,
    load,
    load_part,
    load_scalar,
    store,
    store_scalar,
    transpose_words,
    word_lanes_of,
    zero_bytes,
)

TILE_ROWS = 6


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


@inner
def a_row_bytes(k):
    """Bytes between rows of FP32 a: whole vectors, and not a multiple of 512, so that the rows
    of a tile spread over the sets of an L1 cache."""
    size = (k * 4 + 63) // 64 * 64 + 64
    return size + 64 if size % 512 == 0 else size


@inner
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
def transpose_rows(isa, source, source_stride, target, rows, columns):
    """columns x rows halves, contiguous along k, into a panel. Blocks at the far edges overlap
    their neighbours: they write the same values twice."""
    side = word_lanes_of(isa)
    if rows < side or columns < side:
        for j in range(columns):
            for p in range(rows):
                copy_bytes(target + (p * PANEL + j) * 2, source + j * source_stride + 2 * p, 2)
        return
    for j0 in range(0, columns, side):
        j = min(j0, columns - side)
        for p0 in range(0, rows, side):
            p = min(p0, rows - side)
            transpose_words(
                isa,
                source + j * source_stride + 2 * p,
                source_stride,
                target + (p * PANEL + j) * 2,
                PANEL * 2,
            )


@inner
def pack_panel(isa, b, k_stride, n_stride, rows, columns, target):
    """rows (along k) x columns of FP16 b, any strides, into an FP16 panel."""
    if columns < PANEL:
        zero_bytes(target, rows * PANEL * 2)
    if n_stride == 2 or columns == 1:
        copy_rows(b, k_stride, target, rows, columns)
    elif k_stride == 2:
        transpose_rows(isa, b, n_stride, target, rows, columns)
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
                transpose_rows(isa, a + 2 * i + p * k_stride, k_stride, block, m, steps)
                at = target + i * target_stride + 4 * p
                widen_rows(isa, block, PANEL * 2, at, target_stride, m, steps)
    else:
        for i in range(rows):
            for p in range(k):
                x = load_scalar(isa, a + i * row_stride + p * k_stride, HALF)
                store_scalar(isa, x, target + i * target_stride + 4 * p, SINGLE)
    padding = (rows + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS - rows
    zero_bytes(target + rows * target_stride, padding * target_stride)
