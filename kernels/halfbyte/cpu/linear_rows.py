# SPDX-License-Identifier: Apache-2.0
"""Quantize the rows of a layer's input: symmetric, narrow, 8 bits, a scale each (rule 6)."""

import numpy as np

from halfbyte.cpu.compile import Kernel, f32_1d, f32_2d, i64, inner, u8_1d, u8_2d, u16_2d
from halfbyte.cpu.matrices import address
from halfbyte.cpu.quantization_rows import (
    BLOCK,
    STREAM_AHEAD,
    TO_INTEGER,
    chunk_of,
    code_of,
    fetched,
    quotient,
)
from halfbyte.cpu.quantization_scales import INFINITY, peak, scale_from
from halfbyte.cpu.simd import (
    BYTE,
    HALF,
    SINGLE,
    bits,
    enter_default_rounding,
    kind_bytes,
    leave_default_rounding,
    load,
    single_from_bits,
    splat,
    store,
    store_scalar,
    widened,
    zero_bytes,
)

QMAX = np.float32(127)


@inner
def quantize_row(isa, source, stride, size, count, scale, target, place):
    """Codes of a row, whole blocks of them."""
    magic = splat(isa, TO_INTEGER)
    lowest, highest = magic - splat(isa, QMAX), magic + splat(isa, QMAX)
    zero_point, divisor = splat(isa, 0.0), splat(isa, scale)
    while count > 0:
        n = chunk_of(count, stride == size == 4)
        at = fetched(isa, source, stride, place, n, size)
        for i in range(0, n, BLOCK):
            t = quotient(isa, load(isa, at + 4 * i, SINGLE), divisor)
            store(isa, bits(code_of(isa, t, zero_point, lowest, highest)), target + i, BYTE)
        source += n * stride
        target += n
        count -= n


def quantize_rows(isa, x, codes, scales, row0, row1, scratch, kind):
    """Codes and scale of rows of x, from row0 up to row1. A row that is not finite has the scale
    NaN. Rows of codes have room for whole blocks; scratch: PART_BYTES."""
    before = enter_default_rounding()
    wide = widened(isa, BLOCK)
    count, size = x.shape[1], kind_bytes(kind)
    stride, code_row = x.strides[1], codes.strides[0]
    ahead, place = (STREAM_AHEAD, STREAM_AHEAD + 64), address(scratch)
    for i in range(row0, row1):
        source, target = address(x) + i * x.strides[0], address(codes) + i * code_row
        top = peak(wide, source, stride, count, ahead, place, size)
        if top < INFINITY:
            most = single_from_bits(top)
            scale, _ = scale_from(-most, most, True, -QMAX, QMAX)
            quantize_row(wide, source, stride, size, count, scale, target, place)
        else:
            scale = np.float32(np.nan)
            zero_bytes(target, count)
        store_scalar(isa, scale, address(scales) + 4 * i, SINGLE)
    leave_default_rounding(before)


quantize_singles = Kernel(quantize_rows, (f32_2d, u8_2d, f32_1d, i64, i64, u8_1d), SINGLE)
quantize_halves = Kernel(quantize_rows, (u16_2d, u8_2d, f32_1d, i64, i64, u8_1d), HALF)
