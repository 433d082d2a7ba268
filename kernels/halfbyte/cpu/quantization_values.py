# SPDX-License-Identifier: Apache-2.0
"""Codes to values, and int32 accumulators to codes: rows of strided arrays, on one thread.

Limited by memory. Results too large for the cache are written past it.
"""

import numpy as np

from halfbyte.cpu.compile import Kernel, inner
from halfbyte.cpu.quantization_rows import (
    BLOCK,
    EXTRA,
    FLIP,
    INPUT,
    MODE,
    OFFSET,
    OUTPUT,
    PER,
    QMAX,
    QMIN,
    RELU,
    ROWS,
    SCALE,
    SIZE,
    STREAM_AHEAD,
    STREAMING,
    TO_INTEGER,
    ZERO_POINT,
    chunk_of,
    delivered,
    fed,
    feed,
    fetch_ahead,
    fetched,
    gather,
    left_in_span,
    made_at,
    next_row,
    part_of,
    scatter,
    staged,
    write,
)
from halfbyte.cpu.simd import (
    BYTE,
    INTEGER,
    NIBBLE,
    SINGLE,
    bits,
    bytes_of,
    enter_default_rounding,
    finish_streaming,
    larger,
    leave_default_rounding,
    load,
    prefetch_line,
    select,
    singles,
    smaller,
    splat,
    splat_integer,
    widened,
)


@inner
def dequantize_blocks(isa, source, target, s, z, first, count, options, streaming, form):
    """Values of whole blocks, from element `first` of a row on."""
    flip, offset = splat_integer(isa, options[FLIP]), splat_integer(isa, options[OFFSET])
    mode, per = options[MODE], options[PER]
    left = left_in_span(mode, first, per)
    for i in range(0, count, BLOCK):
        at = source + bytes_of(form, i)
        prefetch_line(at + STREAM_AHEAD)
        code = singles((load(isa, at, form) ^ flip) - offset)
        y = (code - fed(isa, z, mode, i)) * fed(isa, s, mode, i)
        write(isa, y, target + 4 * i, SINGLE, streaming)
        left -= BLOCK
        if left == 0:
            left = per
            s += 4
            z += 4


def dequantize_rows(isa, addresses, strides, shape, index, count, rows, options, scratch, form):
    """Codes, y, scale, zero point."""
    before = enter_default_rounding()
    wide = widened(isa, 32)
    d = shape.size
    mode, per = options[MODE], options[PER]
    for _ in range(rows):
        first = 0
        while first < count:
            n = chunk_of(count - first)
            s = feed(wide, addresses[2], mode, first, per, n, part_of(scratch, SCALE))
            z = feed(wide, addresses[3], mode, first, per, n, part_of(scratch, ZERO_POINT))
            codes = addresses[0] + bytes_of(form, first) * strides[0, d]
            if staged(strides[0, d], n, 1):
                gather(wide, codes, strides[0, d], part_of(scratch, INPUT), bytes_of(form, n), BYTE)
                codes = part_of(scratch, INPUT)
            place = addresses[1] + first * strides[1, d]
            y = made_at(place, strides[1, d], n, options[SIZE], part_of(scratch, OUTPUT))
            streaming = options[STREAMING] != 0 and y == place and y % 16 == 0
            dequantize_blocks(wide, codes, y, s, z, first, n, options, streaming, form)
            delivered(wide, y, place, strides[1, d], n, options[SIZE], options[STREAMING] != 0)
            first += n
        next_row(index, shape, addresses, strides)
    finish_streaming()
    leave_default_rounding(before)


dequantize_bytes = Kernel(dequantize_rows, ROWS, BYTE)
dequantize_nibbles = Kernel(dequantize_rows, ROWS, NIBBLE)


@inner
def requantize_blocks(isa, source, target, s, z, b, count, options, streaming):
    """Codes of whole blocks of int32."""
    magic, zero = splat(isa, TO_INTEGER), splat(isa, 0.0)
    qmin, qmax = splat(isa, np.float32(options[QMIN])), splat(isa, np.float32(options[QMAX]))
    lowest, highest = magic + qmin, magic + qmax
    mode, relu = options[MODE], options[RELU] != 0
    for i in range(0, count, BLOCK):
        at = source + 4 * i
        fetch_ahead(at, (STREAM_AHEAD, STREAM_AHEAD + 64))
        y = load(isa, at, INTEGER) * fed(isa, s, mode, i) + fed(isa, b, mode, i)
        y = select(y == y, y, zero)
        if relu:
            y = larger(y, zero)
        code = smaller(larger((y + magic) + fed(isa, z, mode, i), lowest), highest)
        write(isa, bits(code), target + i, BYTE, streaming)


def requantize_rows(isa, addresses, strides, shape, index, count, rows, options, scratch):
    """int32, codes, scale, zero point, bias."""
    before = enter_default_rounding()
    wide = widened(isa, 32)
    d = shape.size
    mode, per = options[MODE], options[PER]
    for _ in range(rows):
        first = 0
        while first < count:
            n = chunk_of(count - first)
            s = feed(wide, addresses[2], mode, first, per, n, part_of(scratch, SCALE))
            z = feed(wide, addresses[3], mode, first, per, n, part_of(scratch, ZERO_POINT))
            b = feed(wide, addresses[4], mode, first, per, n, part_of(scratch, EXTRA))
            acc = addresses[0] + first * strides[0, d]
            acc = fetched(wide, acc, strides[0, d], part_of(scratch, INPUT), n, 4)
            place = addresses[1] + first * strides[1, d]
            codes = place
            if staged(strides[1, d], n, 1):
                codes = part_of(scratch, OUTPUT)
            streaming = options[STREAMING] != 0 and codes % 16 == 0
            requantize_blocks(wide, acc, codes, s, z, b, n, options, streaming)
            if codes != place:
                scatter(wide, codes, place, strides[1, d], n, BYTE)
            first += n
        next_row(index, shape, addresses, strides)
    finish_streaming()
    leave_default_rounding(before)


requantize = Kernel(requantize_rows, ROWS)
