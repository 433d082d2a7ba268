# SPDX-License-Identifier: Apache-2.0
"""C = epilogue(A B) with FP16 operands and FP32 accumulation, on one thread.

    for each block of MC rows              a widened to FP32: stays in L2 / L3
      for each panel of 64 columns
        for each KC steps of k             b of this panel: stays in L2
          for each 6 rows                  tile: 6 rows x as many vectors as the registers hold

    acc[r, v] += a[r] * b[v]               in registers, k ascending: rule 1's chain

With many rows, b's part of the panel is widened to FP32 once and read by all of them; with few, it
is read as FP16, in place where its columns are contiguous, and converted on the way into the
registers. A later k-block goes on from the FP32 sums that the earlier one left.
"""

from halfbyte.cpu.compile import f32_1d, f32_2d, i64, inner, kernel, u8_1d, u16_2d, u16_3d
from halfbyte.cpu.epilogue import LINE_BYTES, finish_rows
from halfbyte.cpu.pack import PANEL, TILE_ROWS, a_row_bytes, pack_panel, widen_a, widen_rows
from halfbyte.cpu.simd import (
    HALF,
    SINGLE,
    enter_default_rounding,
    kind_bytes,
    lanes_of,
    leave_default_rounding,
    shape_columns,
    single_from_bits,
    tile_fma,
    tile_load,
    tile_prefetch,
    tile_shape,
    tile_store,
    tile_zero,
)

WIDE_ROWS = 96  # from here on widening b's panel costs less than converting halves in the loop
ALIGN = 64


@inner
def strip(isa, shape, kind, first, k, a, a_row, b, b_row, c, c_row, columns):
    """c[rows, columns] (+)= a[rows, k] b[k, columns] in whole tiles, strides in bytes."""
    width = shape_columns(isa, shape)
    for j in range(0, columns, width):
        if first:
            tile_prefetch(isa, shape, c + 4 * j, c_row)
            acc = tile_zero(isa, shape)
        else:
            acc = tile_load(isa, shape, c + 4 * j, c_row)
        at, bt = a, b + kind_bytes(kind) * j
        for _ in range(k):
            acc = tile_fma(isa, acc, at, a_row, bt, kind)
            at += 4
            bt += b_row
        tile_store(acc, c + 4 * j, c_row)


@inner
def wide_strip(isa, first, k, a, a_row, b, c, c_row, columns):
    """`strip` of 6 rows with b in FP32; the last tile has no more vectors than columns need."""
    shape = tile_shape(isa, 6, 8)
    lanes = lanes_of(isa)
    columns = (columns + lanes - 1) // lanes * lanes
    whole = columns - columns % shape_columns(isa, shape)
    b_row = PANEL * 4
    strip(isa, shape, SINGLE, first, k, a, a_row, b, b_row, c, c_row, whole)
    b += 4 * whole
    c += 4 * whole
    rest = (columns - whole) // lanes
    if rest == 1:
        strip(isa, tile_shape(isa, 6, 1), SINGLE, first, k, a, a_row, b, b_row, c, c_row, 1)
    elif rest == 2:
        strip(isa, tile_shape(isa, 6, 2), SINGLE, first, k, a, a_row, b, b_row, c, c_row, 1)
    elif rest == 3:
        strip(isa, tile_shape(isa, 6, 3), SINGLE, first, k, a, a_row, b, b_row, c, c_row, 1)


@inner
def narrow_strip(isa, rows, first, k, a, a_row, b, b_row, c, c_row):
    """`strip` of 6, 4, 2 or 1 rows and all columns of a panel with b in FP16."""
    if rows == 6:
        strip(isa, tile_shape(isa, 6, 8), HALF, first, k, a, a_row, b, b_row, c, c_row, PANEL)
    elif rows == 4:
        strip(isa, tile_shape(isa, 4, 4), HALF, first, k, a, a_row, b, b_row, c, c_row, PANEL)
    elif rows == 2:
        strip(isa, tile_shape(isa, 2, 4), HALF, first, k, a, a_row, b, b_row, c, c_row, PANEL)
    else:
        strip(isa, tile_shape(isa, 1, 8), HALF, first, k, a, a_row, b, b_row, c, c_row, PANEL)


@inner
def aligned(address):
    """The next address that is a multiple of a cache line."""
    return (address + ALIGN - 1) // ALIGN * ALIGN


@inner
def scratch_layout(rows, k, mc, kc):
    """Byte offsets of the sums, b's panel in FP16 and in FP32, and a; and the size of it all."""
    m = (min(mc, rows) + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
    work = LINE_BYTES
    half = work + m * PANEL * 4
    single = half + max(kc, PANEL) * PANEL * 2
    a = single + (kc * PANEL * 4 if rows >= WIDE_ROWS else 0)
    return work, half, single, a, a + m * a_row_bytes(k) + ALIGN


@inner
def multiply_block(
    isa, a, a_row, a_k, b, b_k, b_n, b_panel, packed, rows, k, columns,
    plain, alpha, c, c_row, c_column, c_half, beta, bias, activation,
    out, out_row, out_column, out_half, mc, kc, scratch,
):  # fmt: skip
    """rows x columns of C by the loops of this file's head; addresses and strides in bytes."""
    wide = rows >= WIDE_ROWS
    line = aligned(scratch)
    work, panel_half, panel_single, a_single, _ = scratch_layout(rows, k, mc, kc)
    work += line
    panel_half += line
    panel_single += line
    a_single += line
    row_bytes = a_row_bytes(k)
    lanes = lanes_of(isa)
    for i0 in range(0, rows, mc):
        m = min(mc, rows - i0)
        widen_a(isa, a + i0 * a_row, a_row, a_k, m, k, a_single, panel_half)
        for j0 in range(0, columns, PANEL):
            n = min(PANEL, columns - j0)
            for p0 in range(0, max(k, 1), kc):
                steps = min(kc, k - p0)
                last = p0 + kc >= k
                b_at, b_row = b + j0 // PANEL * b_panel + p0 * b_k, b_k
                if not (packed or (b_n == 2 and (wide or n == PANEL))):
                    pack_panel(isa, b_at, b_k, b_n, steps, n, panel_half)
                    b_at, b_row = panel_half, PANEL * 2
                if wide:
                    widen_rows(isa, b_at, b_row, panel_single, PANEL * 4, steps, n)
                i = 0
                while i < m:
                    left = m - i
                    tile_rows = 6 if left >= 6 or wide else 4 if left >= 4 else 2 if left >= 2 else 1
                    valid = min(tile_rows, left)
                    a_at = a_single + i * row_bytes + 4 * p0
                    out_at = out + (i0 + i) * out_row + j0 * out_column
                    direct = (
                        plain and out_column == 4 and not out_half and valid == tile_rows
                        and (n == PANEL or (wide and n % lanes == 0))
                    )  # fmt: skip
                    # With one k-block the sums need no room of their own beyond a tile.
                    c_at, c_stride = work + (0 if last and p0 == 0 else i * PANEL * 4), PANEL * 4
                    if direct:
                        c_at, c_stride = out_at, out_row
                    if wide:
                        wide_strip(
                            isa, p0 == 0, steps, a_at, row_bytes, panel_single, c_at, c_stride, n,
                        )  # fmt: skip
                    else:
                        narrow_strip(
                            isa, tile_rows, p0 == 0, steps, a_at, row_bytes, b_at, b_row,
                            c_at, c_stride,
                        )  # fmt: skip
                    if last and not direct:
                        finish_rows(
                            isa, c_at, c_stride, valid, n, plain, alpha,
                            c + (i0 + i) * c_row + j0 * c_column if c != 0 else 0,
                            c_row, c_column, c_half, beta,
                            bias + 4 * j0 if bias != 0 else 0, activation,
                            out_at, out_row, out_column, out_half, line,
                        )  # fmt: skip
                    i += tile_rows


# a, b, panels of a packed b, out, c (of the last two an FP32 and an FP16 array, the unused one
# empty), bias; bits of alpha and of beta (as numbers they would pass through conversions in the
# caller's rounding mode), activation; byte strides between the products of a batch; products,
# rows and columns (from a multiple of 64) of this task; MC, KC, scratch.
@kernel(
    u16_2d, u16_2d, u16_3d, f32_2d, u16_2d, f32_2d, u16_2d, f32_1d,
    i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, u8_1d,
)  # fmt: skip
def multiply(
    isa, a, b, panels, out_single, out_half, c_single, c_half, bias,
    alpha_bits, beta_bits, activation, a_next, b_next, c_next, out_next,
    product0, product1, row0, row1, column0, column1, mc, kc, scratch,
):  # fmt: skip
    """One task of `gemm_f16`: a rectangle of C, of each of some products of a batch."""
    before = enter_default_rounding()
    alpha, beta = single_from_bits(alpha_bits), single_from_bits(beta_bits)
    k = a.shape[1]
    a_row, a_k = a.strides
    a_at = a.ctypes.data + row0 * a_row
    packed = panels.size > 0
    if packed:
        b_k, b_n, b_panel = PANEL * 2, 2, k * PANEL * 2
        b_at = panels.ctypes.data
    else:
        b_k, b_n = b.strides
        b_panel = b_n * PANEL
        b_at = b.ctypes.data
    b_at += column0 // PANEL * b_panel
    half = out_half.size > 0
    out_row, out_column = out_half.strides if half else out_single.strides
    out_at = out_half.ctypes.data if half else out_single.ctypes.data
    out_at += row0 * out_row + column0 * out_column
    c_is_half = c_half.size > 0
    has_c = c_is_half or c_single.size > 0
    c_row, c_column = c_half.strides if c_is_half else c_single.strides
    c_at = c_half.ctypes.data if c_is_half else c_single.ctypes.data
    c_at += row0 * c_row + column0 * c_column
    bias_at = bias.ctypes.data + 4 * column0 if bias.size > 0 else 0
    plain = alpha == 1 and not has_c and bias_at == 0 and activation == 0
    for t in range(product0, product1):
        multiply_block(
            isa, a_at + t * a_next, a_row, a_k, b_at + t * b_next, b_k, b_n, b_panel, packed,
            row1 - row0, k, column1 - column0,
            plain, alpha, c_at + t * c_next if has_c else 0, c_row, c_column, c_is_half, beta,
            bias_at, activation, out_at + t * out_next, out_row, out_column, half,
            mc, kc, scratch.ctypes.data,
        )  # fmt: skip
    leave_default_rounding(before)


@kernel(u16_2d, u16_3d, i64, i64)
def pack(isa, b, panels, panel0, panel1):
    """b (k, n), any strides, into panels (ceil(n / 64), k, 64), from panel0 up to panel1."""
    k, n = b.shape
    b_k, b_n = b.strides
    for panel in range(panel0, panel1):
        j = panel * PANEL
        pack_panel(
            isa, b.ctypes.data + j * b_n, b_k, b_n, k, min(PANEL, n - j),
            panels.ctypes.data + panel * k * PANEL * 2,
        )  # fmt: skip
