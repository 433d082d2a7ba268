# SPDX-License-Identifier: Apache-2.0
"""Fewer rows of a times a b that lies in memory row by row, plain: read once, in address order.

Panels would read 128 bytes here and 128 bytes a row further on, at a third of memory speed.
Instead whole rows of b are added up, sums[r, :] += a[r, p] * b[p, :], with the sums in a cache:

    one row of a      one row of b a pass, what follows it in memory fetched ahead
    two to eight      four rows of b a pass: each sum is loaded and stored a quarter as often
    more              some rows of b are laid out as panels in the cache and multiplied from there

Why not four rows of b for one row of a: several streams, 0.86 of the read loop's rate, not 0.95.
"""

from halfbyte.cpu.compile import inlined, inner
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.simd import (
    HALF,
    SINGLE,
    copy_bytes,
    lanes_of,
    load,
    load_scalar,
    multiply_add,
    prefetch_line,
    shape_columns,
    splat,
    store,
    tile_fma,
    tile_load,
    tile_shape,
    tile_store,
    zero_bytes,
)

FEW_ROWS = 8  # beyond these, loading and storing sums costs more than laying b out
ROW_AHEAD = 8192  # bytes of b fetched ahead


@inlined
def add_row(isa, a, b, sums, columns):
    """sums[:] += a * b[:], for whole panels of columns."""
    shape = tile_shape(isa, 1, 64)
    for j in range(0, columns, PANEL):
        prefetch_line(b + 2 * j + ROW_AHEAD)
        prefetch_line(b + 2 * j + ROW_AHEAD + 64)
        for v in range(j, j + PANEL, shape_columns(isa, shape)):
            acc = tile_load(isa, shape, sums + 4 * v, 0, SINGLE)
            tile_store(tile_fma(isa, acc, a, 0, b + 2 * v, HALF), sums + 4 * v, 0)


@inlined
def add_four_rows(isa, a, a_row, b, b_row, sums, sums_row, rows, columns):
    """sums[r, :] += a[r, 0] * b[0, :], then a[r, 1] * b[1, :], 2, 3; whole panels of columns."""
    lanes = lanes_of(isa)
    following = b + 4 * b_row
    for j in range(0, columns, lanes):
        for line in range(0, 8 * lanes, 64):
            prefetch_line(following + 8 * j + line)
        b0 = load(isa, b + 2 * j, HALF)
        b1 = load(isa, b + 2 * j + b_row, HALF)
        b2 = load(isa, b + 2 * j + 2 * b_row, HALF)
        b3 = load(isa, b + 2 * j + 3 * b_row, HALF)
        at, sum_at = a, sums + 4 * j
        for _ in range(rows):
            acc = load(isa, sum_at, SINGLE)
            acc = multiply_add(isa, splat(isa, load_scalar(isa, at, SINGLE)), b0, acc)
            acc = multiply_add(isa, splat(isa, load_scalar(isa, at + 4, SINGLE)), b1, acc)
            acc = multiply_add(isa, splat(isa, load_scalar(isa, at + 8, SINGLE)), b2, acc)
            acc = multiply_add(isa, splat(isa, load_scalar(isa, at + 12, SINGLE)), b3, acc)
            store(isa, acc, sum_at, SINGLE)
            at += a_row
            sum_at += sums_row


@inner
def sweep(isa, a, a_row, b, b_row, sums, rows, columns, k):
    """sums = a b for up to FEW_ROWS rows; a is FP32, b FP16; columns a multiple of PANEL."""
    sums_row = 4 * columns
    zero_bytes(sums, rows * sums_row)
    p = 0
    if rows > 1:
        while p + 4 <= k:
            at, bt = a + 4 * p, b + p * b_row
            add_four_rows(isa, at, a_row, bt, b_row, sums, sums_row, rows, columns)
            p += 4
    while p < k:
        for r in range(rows):
            add_row(isa, a + r * a_row + 4 * p, b + p * b_row, sums + r * sums_row, columns)
        p += 1


@inner
def lay_out(b, b_row, rows, columns, target):
    """Rows of b, contiguous along n, as panels of so many rows; columns a multiple of PANEL."""
    for p in range(rows):
        at = target + p * PANEL * 2
        for j in range(0, columns, PANEL):
            prefetch_line(b + 2 * j + ROW_AHEAD)
            prefetch_line(b + 2 * j + ROW_AHEAD + 64)
            copy_bytes(at, b + 2 * j, PANEL * 2)
            at += rows * PANEL * 2
        b += b_row
