# SPDX-License-Identifier: Apache-2.0
"""Codes to values, and int32 accumulators to codes: rows of strided arrays, on one thread.

Limited by memory. Results too large for the cache are written past it.
"""

import numpy as np

from halfbyte.cpu.compile import Kernel, inner
from halfbyte.cpu.quantization_rows import (
    BLOCK,
    FIRST_JUMP,
    FIRST_STEP,
    FLIP,
    INPUT,
    OFFSET,
    OUTPUT,
    PER,
    QMAX,
    QMIN,
    RELU,
    ROWS,
    SCALE,
    SECOND_JUMP,
    SECOND_STEP,
    SIZE,
    SPREAD,
    STREAM_AHEAD,
    STREAMING,
    THIRD_JUMP,
    THIRD_STEP,
    TO_INTEGER,
    ZERO_POINT,
    chunk_of,
    code_of,
    delivered,
    fed,
    feed,
    fetch_ahead,
    fetched,
    gather,
    left_of,
    made_at,
    next_row,
    part_of,
    scatter,
    staged,
    write,
    zero_if_nan,
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
    singles,
    splat,
    splat_integer,
    widened,
)


@inner
def dequantize_blocks(isa, source, target, s, z, first, count, options, streaming, form):
    """Values of whole blocks, from element `first` of a row on."""
    flip, offset = splat_integer(isa, options[FLIP]), splat_integer(isa, options[OFFSET])
    per, s_step, s_jump = options[PER], options[FIRST_STEP], options[FIRST_JUMP]
    z_step, z_jump = options[SECOND_STEP], options[SECOND_JUMP]
    left = left_of(first, options)
    for i in range(0, count, BLOCK):
        at = source + bytes_of(form, i)
        prefetch_line(at + STREAM_AHEAD)
        code = singles((load(isa, at, form) ^ flip) - offset)
        y = (code - fed(isa, z, z_step)) * fed(isa, s, s_step)
        write(isa, y, target + 4 * i, SINGLE, streaming)
        s += s_step
        z += z_step
        left -= BLOCK
        if left == 0:
            left = per
            s += s_jump
            z += z_jump


def dequantize_rows(isa, addresses, strides, shape, index, count, rows, options, scratch, form):
    """Codes, y, scale, zero point."""
    before = enter_default_rounding()
    wide = widened(isa, BLOCK)
    d = shape.size
    direct = strides[0, d] == 1 and strides[1, d] == 4
    direct = direct and options[SIZE] == 4 and not options[SPREAD]
    for _ in range(rows):
        first = 0
        while first < count:
            n = chunk_of(count - first, direct)
            s = feed(wide, addresses[2], FIRST_STEP, first, n, options, part_of(scratch, SCALE))
            z = feed(
                wide, addresses[3], SECOND_STEP, first, n, options, part_of(scratch, ZERO_POINT)
            )
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
def requantize_blocks(isa, source, target, s, z, b, first, count, options, streaming):
    """Codes of whole blocks of int32."""
    magic, zero = splat(isa, TO_INTEGER), splat(isa, 0.0)
    qmin, qmax = splat(isa, np.float32(options[QMIN])), splat(isa, np.float32(options[QMAX]))
    lowest, highest = magic + qmin, magic + qmax
    per, s_step, s_jump = options[PER], options[FIRST_STEP], options[FIRST_JUMP]
    z_step, z_jump = options[SECOND_STEP], options[SECOND_JUMP]
    b_step, b_jump = options[THIRD_STEP], options[THIRD_JUMP]
    relu = options[RELU] != 0
    left = left_of(first, options)
    for i in range(0, count, BLOCK):
        at = source + 4 * i
        fetch_ahead(at, (STREAM_AHEAD, STREAM_AHEAD + 64))
        y = load(isa, at, INTEGER) * fed(isa, s, s_step) + fed(isa, b, b_step)
        y = zero_if_nan(isa, y)
        if relu:
            y = larger(y, zero)
        code = code_of(isa, y, fed(isa, z, z_step), lowest, highest)
        write(isa, bits(code), target + i, BYTE, streaming)
        s += s_step
        z += z_step
        b += b_step
        left -= BLOCK
        if left == 0:
            left = per
            s += s_jump
            z += z_jump
            b += b_jump


def requantize_rows(isa, addresses, strides, shape, index, count, rows, options, scratch):
    """int32, codes, scale, zero point, bias."""
    before = enter_default_rounding()
    wide = widened(isa, BLOCK)
    d = shape.size
    direct = strides[0, d] == 4 and strides[1, d] == 1
    nowhere = np.int64(0)  # nothing is spread
    for _ in range(rows):
        first = 0
        while first < count:
            n = chunk_of(count - first, direct)
            s = feed(wide, addresses[2], FIRST_STEP, first, n, options, nowhere)
            z = feed(wide, addresses[3], SECOND_STEP, first, n, options, nowhere)
            b = feed(wide, addresses[4], THIRD_STEP, first, n, options, nowhere)
            acc = addresses[0] + first * strides[0, d]
            acc = fetched(wide, acc, strides[0, d], part_of(scratch, INPUT), n, 4)
            place = addresses[1] + first * strides[1, d]
            codes = place
            if staged(strides[1, d], n, 1):
                codes = part_of(scratch, OUTPUT)
            streaming = options[STREAMING] != 0 and codes % 16 == 0
            requantize_blocks(wide, acc, codes, s, z, b, first, n, options, streaming)
            if codes != place:
                scatter(wide, codes, place, strides[1, d], n, BYTE)
            first += n
        next_row(index, shape, addresses, strides)
    finish_streaming()
    leave_default_rounding(before)


requantize = Kernel(requantize_rows, ROWS)
