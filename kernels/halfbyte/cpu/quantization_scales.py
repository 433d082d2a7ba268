# SPDX-License-Identifier: Apache-2.0
"""Scales and zero points from data (rule 4): extremes of spans, and what follows from them."""

import numpy as np

from halfbyte.cpu.compile import (
    Kernel,
    f32_1d,
    f32_2d,
    i64,
    inlined,
    inner,
    kernel,
)
from halfbyte.cpu.quantization_rows import (
    BLOCK,
    FIRST_STEP,
    INPUT,
    NOT_FINITE,
    ROWS,
    SIZE,
    STREAM_AHEAD,
    TO_INTEGER,
    chunk_of,
    fetch_ahead,
    fetched,
    greater,
    lesser,
    next_row,
    part_of,
    staged,
)
from halfbyte.cpu.simd import (
    SINGLE,
    bits,
    copy_element,
    enter_default_rounding,
    larger,
    largest,
    leave_default_rounding,
    load,
    load_scalar,
    magnitude,
    select,
    single_from_bits,
    smaller,
    smallest,
    splat,
    splat_integer,
    store,
    store_scalar,
    widened,
)

INFINITY = 0x7F800000  # bits
MAGIC = np.float32(TO_INTEGER)
SMALLEST_NORMAL = np.float32(2.0**-126)


@inlined
def peak_blocks(isa, source, count, most, ahead):
    """Bits of the largest magnitude of each lane, no less than `most`."""
    for i in range(0, count, BLOCK):
        at = source + 4 * i
        fetch_ahead(at, ahead)
        most = larger(bits(magnitude(load(isa, at, SINGLE))), most)
    return most


@inner
def peak_strided(isa, source, stride, count, ahead, place, size):
    """`peak` of values in any number and at any distance."""
    most = splat_integer(isa, 0)
    while count > 0:
        n = chunk_of(count, stride == size == 4)
        at = fetched(isa, source, stride, place, n, size)
        most = peak_blocks(isa, at, n, most, ahead)
        source += n * stride
        count -= n
    return np.int64(largest(most))


@inlined
def peak(isa, source, stride, count, ahead, place, size):
    """Bits of the largest magnitude; INFINITY or more where a value is not finite."""
    if size == 2 or staged(stride, count, 4):
        return peak_strided(isa, source, stride, count, ahead, place, size)
    most = peak_blocks(isa, source, count, splat_integer(isa, 0), ahead)
    return np.int64(largest(most))


@inlined
def widen_range(isa, x, lo, hi):
    """The smaller of lo and x, the larger of hi and x, where x is finite."""
    finite = magnitude(x) < splat(isa, np.inf)
    return smaller(select(finite, x, lo), lo), larger(select(finite, x, hi), hi)


@inner
def extremes(isa, source, stride, count, ahead, place, size):
    """The smallest and the largest of 0 and the finite values, and what `peak` returns."""
    most = splat_integer(isa, 0)
    lo, hi = splat(isa, 0.0), splat(isa, 0.0)
    while count > 0:
        n = chunk_of(count, stride == size == 4)
        at = fetched(isa, source, stride, place, n, size)
        for i in range(0, n, BLOCK):
            fetch_ahead(at + 4 * i, ahead)
            x = load(isa, at + 4 * i, SINGLE)
            most = larger(bits(magnitude(x)), most)
            lo, hi = widen_range(isa, x, lo, hi)
        source += n * stride
        count -= n
    return smallest(lo), largest(hi), np.int64(largest(most))


@inner
def finite_peak(isa, source, count):
    """The largest finite magnitude of whole blocks."""
    lo, hi = splat(isa, 0.0), splat(isa, 0.0)
    for i in range(0, count, BLOCK):
        lo, hi = widen_range(isa, load(isa, source + 4 * i, SINGLE), lo, hi)
    return greater(-smallest(lo), largest(hi))


@inlined
def scale_from(lo, hi, symmetric, qmin, qmax):
    """Scale and zero point (both float32) for values from lo <= 0 to hi >= 0."""
    if symmetric:
        scale = greater(-lo, hi) / qmax
    else:
        steps = qmax - qmin
        scale = (hi - lo) / steps
        if scale > np.float32(3.4028234663852886e38):
            scale = hi / steps - lo / steps
    if scale < SMALLEST_NORMAL:
        scale = np.float32(1)
    zero_point = np.float32(0)
    if not symmetric:
        zero_point = lesser(greater(qmin - lo / scale, qmin), qmax)
        zero_point = (zero_point + MAGIC) - MAGIC
    return scale, zero_point


@inlined
def scale_of(isa, source, stride, count, symmetric, qmin, qmax, ahead, place, size):
    """Scale and zero point for `count` values, and whether all are finite."""
    top = np.int64(0)
    lo, hi = np.float32(0), np.float32(0)
    if symmetric:
        top = peak(isa, source, stride, count, ahead, place, size)
        hi = single_from_bits(top)
    if not symmetric or top >= INFINITY:
        lo, hi, top = extremes(isa, source, stride, count, ahead, place, size)
    scale, zero_point = scale_from(lo, hi, symmetric, qmin, qmax)
    return scale, zero_point, top < INFINITY


@inner
def repeat_last(isa, place, count):
    """Fill a block up with copies of its last value."""
    for i in range(count, count + -count % BLOCK):
        copy_element(isa, place + 4 * i, place + 4 * (count - 1), SINGLE)


def range_rows(isa, addresses, strides, shape, index, count, rows, options, scratch):
    """x, x again, lo, hi: widen lo and hi by what is finite."""
    before = enter_default_rounding()
    wide = widened(isa, BLOCK)
    d = shape.size
    ahead = (STREAM_AHEAD, STREAM_AHEAD + 64)
    most = splat_integer(wide, 0)
    each = options[FIRST_STEP] != 0
    direct = strides[0, d] == options[SIZE] == 4
    for _ in range(rows):
        first = 0
        row_lo = splat(wide, load_scalar(wide, addresses[2], SINGLE))
        row_hi = splat(wide, load_scalar(wide, addresses[3], SINGLE))
        while first < count:
            n = chunk_of(count - first, direct)
            at = addresses[0] + first * strides[0, d]
            at = fetched(wide, at, strides[0, d], part_of(scratch, INPUT), n, options[SIZE])
            if n % BLOCK != 0:
                repeat_last(wide, at, n)
            for i in range(0, n, BLOCK):
                fetch_ahead(at + 4 * i, ahead)
                x = load(wide, at + 4 * i, SINGLE)
                most = larger(bits(magnitude(x)), most)
                if each:
                    lo_at, hi_at = addresses[2] + 4 * (first + i), addresses[3] + 4 * (first + i)
                    row_lo, row_hi = load(wide, lo_at, SINGLE), load(wide, hi_at, SINGLE)
                row_lo, row_hi = widen_range(wide, x, row_lo, row_hi)
                if each:
                    store(wide, row_lo, lo_at, SINGLE)
                    store(wide, row_hi, hi_at, SINGLE)
            first += n
        if not each:
            store_scalar(wide, smallest(row_lo), addresses[2], SINGLE)
            store_scalar(wide, largest(row_hi), addresses[3], SINGLE)
        next_row(index, shape, addresses, strides)
    if np.int64(largest(most)) >= INFINITY:
        options[NOT_FINITE] = 1
    leave_default_rounding(before)


extremes_of_rows = Kernel(range_rows, ROWS)


@kernel(f32_2d, f32_2d, f32_1d, f32_1d)
def join_extremes(isa, los, his, lo, hi):
    """The least of each column of minima, the greatest of each of maxima."""
    before = enter_default_rounding()
    for i in range(lo.size):
        lo[i], hi[i] = los[0, i], his[0, i]
        for part in range(1, los.shape[0]):
            lo[i], hi[i] = lesser(los[part, i], lo[i]), greater(his[part, i], hi[i])
    leave_default_rounding(before)


@kernel(f32_1d, f32_1d, f32_1d, f32_1d, i64, i64, i64)
def scales_of_ranges(isa, lo, hi, scale, zero_point, symmetric, qmin, qmax):
    """Rule 4 for extremes; zero joins in."""
    before = enter_default_rounding()
    zero = np.float32(0)
    for i in range(lo.size):
        scale[i], zero_point[i] = scale_from(
            lesser(lo[i], zero),
            greater(hi[i], zero),
            symmetric != 0,
            np.float32(qmin),
            np.float32(qmax),
        )
    leave_default_rounding(before)


@kernel(f32_1d, f32_1d, f32_1d)
def move_extremes(isa, extremes, latest, momentum):
    """Rule 11, in place: extremes go a part of the way, momentum[0], to the latest ones."""
    before = enter_default_rounding()
    for i in range(extremes.size):
        moved = extremes[i] + momentum[0] * (latest[i] - extremes[i])
        if not abs(moved) < np.float32(np.inf):  # may just be a rounding too far
            left = (np.float32(1) - momentum[0]) * extremes[i]
            moved = left + momentum[0] * latest[i]
        extremes[i] = moved
    leave_default_rounding(before)
