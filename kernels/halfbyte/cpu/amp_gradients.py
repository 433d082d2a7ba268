# SPDX-License-Identifier: Apache-2.0
"""Passes over gradients: unscaled, looked at, squared and summed, multiplied. Limited by memory."""

import numpy as np

from halfbyte.cpu.amp_rows import (
    COUNT,
    FOUND,
    ROWS,
    chunk_of,
    deliver,
    fetch_ahead,
    fetched,
    made_at,
    put_past,
    taken,
)
from halfbyte.cpu.compile import Kernel, f32, f64_1d, inner
from halfbyte.cpu.simd import (
    DOUBLE,
    HALF,
    SINGLE,
    bits,
    doubles,
    enter_default_rounding,
    finish_streaming,
    kind_bytes,
    lanes_of,
    larger,
    largest,
    leave_default_rounding,
    magnitude,
    splat,
    total,
    widened,
    zeros,
)

_INFINITE = 0x7F800000  # bits of infinity; those of a NaN's magnitude are larger
LANES = 32  # on every Isa, so that sums of squares are the same on all; a cache line of halves


@inner
def multiplied(isa, source, target, count, factor, streaming, kind, target_kind):
    """target = source * factor. Returns the bits of the largest magnitude."""
    lanes = lanes_of(isa)
    multiplier, worst = splat(isa, factor), bits(zeros(isa, SINGLE))
    size, target_size = kind_bytes(kind), kind_bytes(target_kind)
    for i in range(0, count, lanes):
        at = source + size * i
        fetch_ahead(isa, at, kind)
        y = taken(isa, at, count - i, kind) * multiplier
        worst = larger(bits(magnitude(y)), worst)
        put_past(isa, y, target + target_size * i, count - i, streaming, target_kind)
    return np.int64(largest(worst))


def multiply_rows(isa, table, first, last, streaming, scratch, factor, found, kind, target_kind):
    """Gradient, and where its multiple goes. found[0] = 1 if one of these is not finite."""
    before = enter_default_rounding()
    wide = widened(isa, LANES)
    for row in range(first, last):
        i = 0
        while i < table[row, COUNT]:
            n = chunk_of(table, row, i)
            g = fetched(isa, table, row, 0, i, n, scratch, kind)
            y = made_at(table, row, 1, i, scratch, target_kind)
            past = streaming != 0 and y % 16 == 0
            if multiplied(wide, g, y, n, factor, past, kind, target_kind) >= _INFINITE:
                found[0] = 1
            deliver(isa, table, row, 1, i, n, scratch, target_kind)
            i += n
    finish_streaming()
    leave_default_rounding(before)


multiply_singles = Kernel(multiply_rows, (*ROWS, f32, FOUND), SINGLE, SINGLE)
multiply_halves = Kernel(multiply_rows, (*ROWS, f32, FOUND), HALF, HALF)
widen_halves = Kernel(multiply_rows, (*ROWS, f32, FOUND), HALF, SINGLE)


@inner
def looked_at(isa, source, count, factor, kind):
    """The bits of the largest magnitude of source * factor."""
    lanes = lanes_of(isa)
    multiplier, worst = splat(isa, factor), bits(zeros(isa, SINGLE))
    size = kind_bytes(kind)
    for i in range(0, count, lanes):
        at = source + size * i
        fetch_ahead(isa, at, kind)
        worst = larger(bits(magnitude(taken(isa, at, count - i, kind) * multiplier)), worst)
    return np.int64(largest(worst))


def look_rows(isa, table, first, last, streaming, scratch, factor, found, kind):
    """Gradient. found[0] = 1 if one of its multiples is not finite."""
    before = enter_default_rounding()
    wide = widened(isa, LANES)
    for row in range(first, last):
        i = 0
        while i < table[row, COUNT]:
            n = chunk_of(table, row, i)
            g = fetched(isa, table, row, 0, i, n, scratch, kind)
            if looked_at(wide, g, n, factor, kind) >= _INFINITE:
                found[0] = 1
            i += n
    leave_default_rounding(before)


look_at_singles = Kernel(look_rows, (*ROWS, f32, FOUND), SINGLE)
look_at_halves = Kernel(look_rows, (*ROWS, f32, FOUND), HALF)


@inner
def squares(isa, source, count, acc, kind):
    """acc and the squares of these, in FP64."""
    lanes = lanes_of(isa)
    size = kind_bytes(kind)
    for i in range(0, count, lanes):
        at = source + size * i
        fetch_ahead(isa, at, kind)
        x = doubles(taken(isa, at, count - i, kind))
        acc = acc + x * x
    return acc


def square_rows(isa, table, first, last, streaming, scratch, sums, kind):
    """Gradient. sums[row] = the sum of its squares."""
    before = enter_default_rounding()
    wide = widened(isa, LANES)
    for row in range(first, last):
        acc = zeros(wide, DOUBLE)
        i = 0
        while i < table[row, COUNT]:
            n = chunk_of(table, row, i)
            g = fetched(isa, table, row, 0, i, n, scratch, kind)
            acc = squares(wide, g, n, acc, kind)
            i += n
        sums[row] = total(acc)
    leave_default_rounding(before)


square_singles = Kernel(square_rows, (*ROWS, f64_1d), SINGLE)
square_halves = Kernel(square_rows, (*ROWS, f64_1d), HALF)
