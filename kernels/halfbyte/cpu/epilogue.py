# SPDX-License-Identifier: Apache-2.0
"""From FP32 sums to what the caller asked for, while the tile is still in L1.

alpha * acc, + beta * c, + bias, activation, cast, each step rounded (rule 1).
"""

from halfbyte.cpu.activations import activate
from halfbyte.cpu.compile import inner
from halfbyte.cpu.pack import PANEL, widen_row
from halfbyte.cpu.simd import (
    HALF,
    SINGLE,
    copy_bytes,
    lanes_of,
    load,
    load_part,
    load_scalar,
    splat,
    store,
    store_part,
    store_scalar,
)

LINE_BYTES = PANEL * 4  # scratch for a row of c


@inner
def gather_row(isa, source, stride, half, count, target):
    """count values `stride` bytes apart, FP16 or FP32, to contiguous FP32."""
    if half and stride == 2:
        widen_row(isa, source, target, count)
    elif half:
        for j in range(count):
            store_scalar(isa, load_scalar(isa, source + j * stride, HALF), target + 4 * j, SINGLE)
    elif stride == 4:
        copy_bytes(target, source, 4 * count)
    else:
        for j in range(count):
            copy_bytes(target + 4 * j, source + j * stride, 4)


@inner
def scatter_row(isa, source, target, stride, half, count):
    """count contiguous FP32 values to FP16 (rounded) or FP32 places `stride` bytes apart."""
    if half and stride == 2:
        lanes = lanes_of(isa)
        whole = count - count % lanes
        for j in range(0, whole, lanes):
            store(isa, load(isa, source + 4 * j, SINGLE), target + 2 * j, HALF)
        if whole < count:
            x = load(isa, source + 4 * whole, SINGLE)
            store_part(isa, x, target + 2 * whole, count - whole, HALF)
    elif half:
        for j in range(count):
            store_scalar(isa, load_scalar(isa, source + 4 * j, SINGLE), target + j * stride, HALF)
    elif stride == 4:
        copy_bytes(target, source, 4 * count)
    else:
        for j in range(count):
            copy_bytes(target + j * stride, source + 4 * j, 4)


@inner
def finish_rows(
    isa, acc, acc_stride, rows, columns, plain, alpha, c, c_row, c_column, c_half, beta, bias,
    activation, out, out_row, out_column, out_half, line,
):  # fmt: skip
    """Epilogue of `rows` x `columns` sums, whose rows have room for whole vectors.

    plain: alpha, c, bias and activation change nothing. c == 0 and bias == 0: there is none.
    """
    lanes = lanes_of(isa)
    for _ in range(rows):
        if not plain:
            if c != 0:
                gather_row(isa, c, c_column, c_half, columns, line)
                c += c_row
            for j in range(0, columns, lanes):
                x = load(isa, acc + 4 * j, SINGLE) * splat(isa, alpha)
                if c != 0:
                    x = x + splat(isa, beta) * load(isa, line + 4 * j, SINGLE)
                if bias != 0:
                    x = x + load_part(isa, bias + 4 * j, columns - j, SINGLE)
                store(isa, activate(isa, x, activation), acc + 4 * j, SINGLE)
        scatter_row(isa, acc, out, out_column, out_half, columns)
        acc += acc_stride
        out += out_row
