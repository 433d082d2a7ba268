# SPDX-License-Identifier: Apache-2.0
"""From FP32 sums to what the caller asked for, while the tile is still in L1.

alpha * acc, + beta * c, + bias, activation, cast, each step rounded (rule 1).
"""

from halfbyte.cpu.activations import activate
from halfbyte.cpu.compile import inlined, inner
from halfbyte.cpu.pack import widen_row
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


@inlined
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


@inlined
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
def finish_rows(isa, sums, sums_row, rows, columns, c, out, row, column, steps):
    """Epilogue of `rows` x `columns` sums, whose rows have room for whole vectors.

    They belong to c and out from (row, column) on. c.at == 0, steps.bias == 0: there is none.
    """
    lanes = lanes_of(isa)
    out_at = out.at + row * out.row + column * out.column
    c_at = c.at + row * c.row + column * c.column
    for _ in range(rows):
        if not steps.plain:
            if c.at != 0:
                gather_row(isa, c_at, c.column, c.half, columns, steps.line)
                c_at += c.row
            for j in range(0, columns, lanes):
                x = load(isa, sums + 4 * j, SINGLE) * splat(isa, steps.alpha)
                if c.at != 0:
                    x = x + splat(isa, steps.beta) * load(isa, steps.line + 4 * j, SINGLE)
                if steps.bias != 0:
                    at = steps.bias + 4 * (column + j)
                    x = x + load_part(isa, at, columns - j, SINGLE)
                store(isa, activate(isa, x, steps.activation), sums + 4 * j, SINGLE)
        scatter_row(isa, sums, out_at, out.column, out.half, columns)
        out_at += out.row
        sums += sums_row
