# SPDX-License-Identifier: Apache-2.0
"""Quantize rows of strided arrays, on one thread, with given scales or those of the data.

Limited by memory, true division included. Results too large for the cache are written past it.
"""

import numpy as np

from halfbyte.cpu.compile import Kernel, inlined, inner
from halfbyte.cpu.philox import fill_uniforms
from halfbyte.cpu.quantization_rows import (
    BLOCK,
    CODING,
    EXTRA,
    FIRST_JUMP,
    FIRST_STEP,
    FROM_DATA,
    INPUT,
    NOT_FINITE,
    OUTPUT,
    PER,
    QMAX,
    QMIN,
    ROWS,
    SCALE,
    SECOND_JUMP,
    SECOND_STEP,
    SEED,
    SIZE,
    SPREAD,
    STOCHASTIC,
    STREAM_AHEAD,
    STREAMING,
    SYMMETRIC,
    TO_INTEGER,
    ZERO_POINT,
    chunk_of,
    code_of,
    fed,
    feed,
    fetch_ahead,
    fetched,
    greater,
    left_of,
    lesser,
    next_row,
    part_of,
    quotient,
    scatter,
    spans_of,
    staged,
    write,
)
from halfbyte.cpu.quantization_scales import INFINITY, finite_peak, scale_from, scale_of
from halfbyte.cpu.simd import (
    BYTE,
    NIBBLE,
    SINGLE,
    bits,
    bytes_of,
    clear_upper_nibble,
    enter_default_rounding,
    finish_streaming,
    larger,
    largest,
    leave_default_rounding,
    load,
    magnitude,
    select,
    single_from_bits,
    smaller,
    splat,
    splat_integer,
    store,
    store_scalar,
    widened,
)

# Elements of a span that is coded while the next is looked at. Longer ones are streamed.
MOST_PIPELINED = 1024


@inlined
def floor_or_above(isa, t, u):
    """floor(t) + (u < t - floor(t)); beyond 1023 something as large."""
    magic, one, most = splat(isa, TO_INTEGER), splat(isa, 1.0), splat(isa, 1023.0)
    t = smaller(larger(t, splat(isa, -1023.0)), most)
    nearest = (t + magic) - magic
    floor = select(nearest > t, nearest - one, nearest)
    return select(u < t - floor, floor + one, floor)


@inner
def quantize_blocks(isa, source, target, s, z, u, first, count, options, ahead, streaming, form):
    """Codes of whole blocks, from element `first` of a row on."""
    magic = splat(isa, TO_INTEGER)
    qmin, qmax = splat(isa, np.float32(options[QMIN])), splat(isa, np.float32(options[QMAX]))
    lowest, highest = magic + qmin, magic + qmax
    per, s_step, s_jump = options[PER], options[FIRST_STEP], options[FIRST_JUMP]
    z_step, z_jump = options[SECOND_STEP], options[SECOND_JUMP]
    stochastic = options[STOCHASTIC] != 0
    left = left_of(first, options)
    for i in range(0, count, BLOCK):
        at = source + 4 * i
        fetch_ahead(at, ahead)
        zero_point = fed(isa, z, z_step)
        t = quotient(isa, load(isa, at, SINGLE), fed(isa, s, s_step))
        if stochastic:
            t = floor_or_above(isa, t, load(isa, u + 4 * i, SINGLE))
        code = code_of(isa, t, zero_point, lowest, highest)
        write(isa, bits(code), target + bytes_of(form, i), form, streaming)
        s += s_step
        z += z_step
        left -= BLOCK
        if left == 0:
            left = per
            s += s_jump
            z += z_jump


@inner
def quantize_part(isa, addresses, strides, begin, end, options, ahead, scratch, form):
    """Codes of elements begin, ..., end - 1 of a row."""
    d = strides.shape[1] - 1
    direct = options[SIZE] == 4 and strides[0, d] == 4 and strides[1, d] == 1
    direct = direct and not (options[STOCHASTIC] or options[SPREAD])
    while begin < end:
        n = chunk_of(end - begin, direct)
        s = feed(isa, addresses[2], FIRST_STEP, begin, n, options, part_of(scratch, SCALE))
        z = feed(isa, addresses[3], SECOND_STEP, begin, n, options, part_of(scratch, ZERO_POINT))
        u = part_of(scratch, EXTRA)
        if options[STOCHASTIC]:
            number = addresses[4] + begin * strides[4, d]
            fill_uniforms(isa, options[SEED], number, strides[4, d], n, u)
        x = addresses[0] + begin * strides[0, d]
        x = fetched(isa, x, strides[0, d], part_of(scratch, INPUT), n, options[SIZE])
        place = addresses[1] + bytes_of(form, begin) * strides[1, d]
        codes = place
        if staged(strides[1, d], n, 1):
            codes = part_of(scratch, OUTPUT)
        streaming = options[STREAMING] != 0 and codes % 16 == 0
        quantize_blocks(isa, x, codes, s, z, u, begin, n, options, ahead, streaming, form)
        if codes != place:
            if n % 2 == 1 and bytes_of(form, 1) == bytes_of(form, 2):
                clear_upper_nibble(isa, codes + n // 2)
            scatter(isa, codes, place, strides[1, d], bytes_of(form, n), BYTE)
        begin += n


@inner
def scale_part(isa, addresses, strides, begin, end, span, options, ahead, scratch):
    """Scales and zero points from elements begin, ..., end - 1 of a row."""
    d = strides.shape[1] - 1
    qmin, qmax = np.float32(options[QMIN]), np.float32(options[QMAX])
    source, stride, symmetric = addresses[0], strides[0, d], options[SYMMETRIC] != 0
    scales, zero_points = addresses[2] + 4 * (begin // span), addresses[3] + 4 * (begin // span)
    not_finite = options[NOT_FINITE]
    for first in range(begin, end, span):
        scale, zero_point, finite = scale_of(
            isa, source + first * stride, stride, lesser(span, end - first), symmetric, qmin, qmax,
            ahead, part_of(scratch, INPUT), options[SIZE],
        )  # fmt: skip
        store_scalar(isa, scale, scales, SINGLE)
        if not symmetric:
            store_scalar(isa, zero_point, zero_points, SINGLE)
        if not finite:
            not_finite = 1
        scales += 4
        zero_points += 4
    options[NOT_FINITE] = not_finite


@inner
def quantize_spans(isa, source, target, scales, span, spans, options, form):
    """Scales and codes of symmetric spans, whole blocks of float32 side by side, in one loop: a
    block is coded, and the one a span later looked at. Returns whether all are finite.

    So reading and computing overlap (groups of 128: 0.62 -> 0.76 of the memory roof). Nothing is
    streamed, for the scales are plain stores in between.
    """
    magic, zero_point = splat(isa, TO_INTEGER), splat(isa, 0.0)
    qmin, qmax = np.float32(options[QMIN]), np.float32(options[QMAX])
    lowest, highest = magic + splat(isa, qmin), magic + splat(isa, qmax)
    size = 4 * span
    most = splat_integer(isa, 0)
    for i in range(0, size, 4 * BLOCK):
        most = larger(bits(magnitude(load(isa, source + i, SINGLE))), most)
    worst = np.int64(0)
    for left in range(spans, 0, -1):
        top = np.int64(largest(most))
        worst = greater(worst, top)
        peak = single_from_bits(top)
        if top >= INFINITY:
            peak = finite_peak(isa, source, span)
        scale, _ = scale_from(-peak, peak, True, qmin, qmax)
        store_scalar(isa, scale, scales, SINGLE)
        divisor = splat(isa, scale)
        ahead = size if left > 1 else 0
        most = splat_integer(isa, 0)
        for i in range(0, size, 4 * BLOCK):
            at = source + i
            fetch_ahead(at + ahead, (STREAM_AHEAD, STREAM_AHEAD + 64))
            t = quotient(isa, load(isa, at, SINGLE), divisor)
            code = bits(code_of(isa, t, zero_point, lowest, highest))
            store(isa, code, target + bytes_of(form, i // 4), form)
            most = larger(bits(magnitude(load(isa, at + ahead, SINGLE))), most)
        source += size
        target += bytes_of(form, span)
        scales += 4
    return worst < INFINITY


def quantize_rows(isa, addresses, strides, shape, index, count, rows, options, scratch, form):
    """x, codes, scale, zero point, number of the element in C order."""
    before = enter_default_rounding()
    wide = widened(isa, BLOCK)
    span, reach = spans_of(options[PER], count)
    # Both halves of each 128 bytes ahead. While a part is coded, fetch the next one, so that the
    # look at its data finds it in the cache (rows of 4096: 0.75 -> 0.85 of the memory roof).
    ahead = (STREAM_AHEAD, STREAM_AHEAD + 64)
    ahead_coding = ahead
    if options[FROM_DATA] and options[CODING]:
        size = lesser(reach, count) * options[SIZE]
        ahead, ahead_coding = (0, 0), (size, size + 64)
    d = shape.size
    pipelined = options[FROM_DATA] and options[CODING] and options[SYMMETRIC]
    pipelined = pipelined and not (options[STOCHASTIC] or options[SPREAD]) and options[SIZE] == 4
    pipelined = pipelined and strides[0, d] == 4 and strides[1, d] == 1
    pipelined = pipelined and span <= MOST_PIPELINED and span % BLOCK == 0 and count % span == 0
    for _ in range(rows):
        if pipelined:
            if not quantize_spans(
                wide, addresses[0], addresses[1], addresses[2], span, count // span, options, form
            ):
                options[NOT_FINITE] = 1
            next_row(index, shape, addresses, strides)
            continue
        for begin in range(0, count, reach):
            end = lesser(begin + reach, count)
            if options[FROM_DATA]:
                scale_part(wide, addresses, strides, begin, end, span, options, ahead, scratch)
            if options[CODING]:
                quantize_part(
                    wide, addresses, strides, begin, end, options, ahead_coding, scratch, form
                )
        next_row(index, shape, addresses, strides)
    finish_streaming()
    leave_default_rounding(before)


quantize_bytes = Kernel(quantize_rows, ROWS, BYTE)
quantize_nibbles = Kernel(quantize_rows, ROWS, NIBBLE)
