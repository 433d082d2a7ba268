# SPDX-License-Identifier: Apache-2.0
"""The inner loops of the FP16 product: a few rows of a, k steps, the columns of one panel of b.

acc[r, v] += a[r] * b[v]       a: FP32, one broadcast a row; b: FP16 or FP32, vectors
"""

from halfbyte.cpu.compile import inner
from halfbyte.cpu.simd import (
    SINGLE,
    kind_bytes,
    prefetch_line,
    shape_columns,
    tile_fma,
    tile_load,
    tile_prefetch,
    tile_store,
    tile_zero,
)

# How far ahead of a packed panel to fetch: its stream comes from memory when there are few rows.
# Of the read loop's rate, one row (Zen 5): 0.90 without, 0.98 at 4 KiB, 0.94 at 8 and at 16. One
# line of the two in a row is enough: the hardware fetches its neighbour.
PANEL_AHEAD = 4096


@inner
def strip(isa, shape, kind, first, k, a, a_row, b, b_row, c, c_row, columns):
    """c[rows, columns] (+)= a[rows, k] b[k, columns] in whole tiles, strides in bytes."""
    for j in range(0, columns, shape_columns(isa, shape)):
        if first:
            tile_prefetch(isa, shape, c + 4 * j, c_row)
            acc = tile_zero(isa, shape, SINGLE)
        else:
            acc = tile_load(isa, shape, c + 4 * j, c_row, SINGLE)
        at, bt = a, b + kind_bytes(kind) * j
        for _ in range(k):
            if kind_bytes(kind) == 2:  # widened panels are in the cache
                prefetch_line(bt + PANEL_AHEAD)
            acc = tile_fma(isa, acc, at, a_row, bt, kind)
            at += 4
            bt += b_row
        tile_store(acc, c + 4 * j, c_row)
