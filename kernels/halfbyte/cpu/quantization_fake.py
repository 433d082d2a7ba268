# SPDX-License-Identifier: Apache-2.0
"""Fake-quantize and its gradients: rows of strided arrays, on one thread. Limited by memory."""

import numpy as np

from halfbyte.cpu.compile import Kernel, inner
from halfbyte.cpu.quantization_rows import (
    BLOCK,
    FIRST_JUMP,
    FIRST_STEP,
    INPUT,
    OTHER_INPUT,
    OTHER_SIZE,
    OUTPUT,
    PER,
    QMAX,
    QMIN,
    ROWS,
    SCALE,
    SECOND_JUMP,
    SECOND_STEP,
    SIZE,
    SPREAD,
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
    left_of,
    made_at,
    next_row,
    part_of,
    quotient,
    write,
)
from halfbyte.cpu.quantization_sums import collected, flushed
from halfbyte.cpu.simd import (
    DOUBLE,
    SINGLE,
    doubles,
    enter_default_rounding,
    finish_streaming,
    larger,
    leave_default_rounding,
    load,
    select,
    smaller,
    splat,
    widened,
    zeros,
)


@inner
def fake_blocks(isa, source, target, s, z, first, count, options, streaming):
    """What whole blocks are after quantizing and dequantizing."""
    magic = splat(isa, TO_INTEGER)
    qmin, qmax = splat(isa, np.float32(options[QMIN])), splat(isa, np.float32(options[QMAX]))
    per, s_step, s_jump = options[PER], options[FIRST_STEP], options[FIRST_JUMP]
    z_step, z_jump = options[SECOND_STEP], options[SECOND_JUMP]
    left = left_of(first, options)
    for i in range(0, count, BLOCK):
        at = source + 4 * i
        fetch_ahead(at, (STREAM_AHEAD, STREAM_AHEAD + 64))
        scale, zero_point = fed(isa, s, s_step), fed(isa, z, z_step)
        t = quotient(isa, load(isa, at, SINGLE), scale)
        t = smaller(larger(t, qmin - zero_point), qmax - zero_point)
        y = ((t + magic) - magic) * scale
        write(isa, y, target + 4 * i, SINGLE, streaming)
        s += s_step
        z += z_step
        left -= BLOCK
        if left == 0:
            left = per
            s += s_jump
            z += z_jump


def fake_rows(isa, addresses, strides, shape, index, count, rows, options, scratch):
    """x, y, scale, zero point."""
    before = enter_default_rounding()
    wide = widened(isa, BLOCK)
    d = shape.size
    direct = strides[0, d] == 4 and strides[1, d] == 4
    direct = direct and options[SIZE] == 4 and not options[SPREAD]
    for _ in range(rows):
        first = 0
        while first < count:
            n = chunk_of(count - first, direct)
            s = feed(wide, addresses[2], FIRST_STEP, first, n, options, part_of(scratch, SCALE))
            z = feed(
                wide, addresses[3], SECOND_STEP, first, n, options, part_of(scratch, ZERO_POINT)
            )
            x = addresses[0] + first * strides[0, d]
            x = fetched(wide, x, strides[0, d], part_of(scratch, INPUT), n, options[SIZE])
            place = addresses[1] + first * strides[1, d]
            y = made_at(place, strides[1, d], n, options[SIZE], part_of(scratch, OUTPUT))
            streaming = options[STREAMING] != 0 and y == place and y % 16 == 0
            fake_blocks(wide, x, y, s, z, first, n, options, streaming)
            delivered(wide, y, place, strides[1, d], n, options[SIZE], options[STREAMING] != 0)
            first += n
        next_row(index, shape, addresses, strides)
    finish_streaming()
    leave_default_rounding(before)


fake = Kernel(fake_rows, ROWS)


@inner
def backward_blocks(isa, upstream, source, target, s, z, sums, first, count, options, streaming):
    """Gradients of whole blocks: dx, and what they add to dscale, in FP64."""
    magic, zero, one = splat(isa, TO_INTEGER), splat(isa, 0.0), splat(isa, 1.0)
    qmin, qmax = splat(isa, np.float32(options[QMIN])), splat(isa, np.float32(options[QMAX]))
    per, s_step, s_jump = options[PER], options[FIRST_STEP], options[FIRST_JUMP]
    z_step, z_jump = options[SECOND_STEP], options[SECOND_JUMP]
    left = left_of(first, options)
    acc = zeros(isa, DOUBLE)
    for i in range(0, count, BLOCK):
        dy_at, at = upstream + 4 * i, source + 4 * i
        fetch_ahead(dy_at, (STREAM_AHEAD, STREAM_AHEAD + 64))
        fetch_ahead(at, (STREAM_AHEAD, STREAM_AHEAD + 64))
        dy, x = load(isa, dy_at, SINGLE), load(isa, at, SINGLE)
        scale, zero_point = fed(isa, s, s_step), fed(isa, z, z_step)
        lo, hi = qmin - zero_point, qmax - zero_point
        t = x / scale
        # Just outside of the range is outside; NaN stays, and nothing is true of it.
        bounded = select(t < lo - one, lo - one, select(t > hi + one, hi + one, t))
        steps = (bounded + magic) - magic
        inside = (steps >= lo) & (steps <= hi)
        write(isa, select(inside, dy, zero), target + 4 * i, SINGLE, streaming)
        slope = select(steps < lo, lo, select(steps > hi, hi, steps - t))
        known = t == t
        term = doubles(select(known, dy, zero)) * doubles(select(known, slope, zero))
        acc = collected(isa, sums, acc, term, s_step)
        s += s_step
        z += z_step
        sums += 2 * s_step
        left -= BLOCK
        if left == 0:
            acc = flushed(isa, sums, acc, s_step)
            left = per
            s += s_jump
            z += z_jump
            sums += 2 * s_jump
    if left != per:
        flushed(isa, sums, acc, s_step)


def backward_rows(isa, addresses, strides, shape, index, count, rows, options, scratch):
    """dy, dx, scale, zero point, sums for dscale (FP64, added to), x."""
    before = enter_default_rounding()
    wide = widened(isa, BLOCK)
    d = shape.size
    direct = strides[0, d] == 4 and strides[1, d] == 4 and strides[5, d] == 4
    direct = direct and options[SIZE] == 4 and options[OTHER_SIZE] == 4
    nowhere = np.int64(0)  # nothing is spread
    for _ in range(rows):
        first = 0
        while first < count:
            n = chunk_of(count - first, direct)
            s = feed(wide, addresses[2], FIRST_STEP, first, n, options, nowhere)
            z = feed(wide, addresses[3], SECOND_STEP, first, n, options, nowhere)
            sums = addresses[4] + 2 * (s - addresses[2])
            dy = addresses[0] + first * strides[0, d]
            dy = fetched(wide, dy, strides[0, d], part_of(scratch, INPUT), n, options[SIZE])
            x = addresses[5] + first * strides[5, d]
            x = fetched(
                wide, x, strides[5, d], part_of(scratch, OTHER_INPUT), n, options[OTHER_SIZE]
            )
            place = addresses[1] + first * strides[1, d]
            dx = made_at(place, strides[1, d], n, options[SIZE], part_of(scratch, OUTPUT))
            streaming = options[STREAMING] != 0 and dx == place and dx % 16 == 0
            backward_blocks(wide, dy, x, dx, s, z, sums, first, n, options, streaming)
            delivered(wide, dx, place, strides[1, d], n, options[SIZE], options[STREAMING] != 0)
            first += n
        next_row(index, shape, addresses, strides)
    finish_streaming()
    leave_default_rounding(before)


backward = Kernel(backward_rows, ROWS)
