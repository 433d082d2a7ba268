# SPDX-License-Identifier: Apache-2.0
"""FP32 to FP16 and back: rows of a strided array, on one thread.

Limited by memory. Results too large for the cache are written past it (streamed): a plain store
would first read the line that it overwrites.
"""

from halfbyte.cpu.compile import i64, i64_1d, inlined, inner, kernel
from halfbyte.cpu.simd import (
    HALF,
    SINGLE,
    enter_default_rounding,
    finish_streaming,
    kind_bytes,
    lanes_of,
    leave_default_rounding,
    load,
    load_scalar,
    prefetch_line,
    store,
    store_scalar,
    stream,
)

# How far ahead of a stream to read. Bytes a second against copyto, a bare loop to FP16 (Zen 5):
# 1.10 without, 1.26 at 1 KiB, 1.34 at 4, 1.40 at 8, 1.32 at 16.
STREAM_AHEAD = 8192


@inner
def convert_scalars(isa, source, source_stride, target, target_stride, count, kind, target_kind):
    """count values, strides in bytes."""
    for i in range(count):
        x = load_scalar(isa, source + i * source_stride, kind)
        store_scalar(isa, x, target + i * target_stride, target_kind)


@inlined
def convert_row(
    isa, source, source_stride, target, target_stride, count, streaming, kind, target_kind
):
    """count values of one kind to the other, whole vectors where both sides are contiguous."""
    size, target_size = kind_bytes(kind), kind_bytes(target_kind)
    if source_stride != size or target_stride != target_size:
        convert_scalars(isa, source, source_stride, target, target_stride, count, kind, target_kind)
        return
    lanes = lanes_of(isa)
    i = 0
    if streaming and target % target_size == 0:
        i = min(count, -target % (lanes * target_size) // target_size)
        convert_scalars(isa, source, size, target, target_size, i, kind, target_kind)
        while i + lanes <= count:
            prefetch_line(source + size * i + STREAM_AHEAD)
            x = load(isa, source + size * i, kind)
            stream(isa, x, target + target_size * i, target_kind)
            i += lanes
    while i + lanes <= count:
        store(isa, load(isa, source + size * i, kind), target + target_size * i, target_kind)
        i += lanes
    convert_scalars(
        isa, source + size * i, size, target + target_size * i, target_size, count - i,
        kind, target_kind,
    )  # fmt: skip


@inlined
def next_row(index, shape, source, source_strides, target, target_strides):
    """Addresses of the row after this one; index counts the outer dimensions like an odometer."""
    d = shape.size - 2
    while d >= 0:
        index[d] += 1
        source += source_strides[d]
        target += target_strides[d]
        if index[d] < shape[d]:
            break
        source -= source_strides[d] * shape[d]
        target -= target_strides[d] * shape[d]
        index[d] = 0
        d -= 1
    return source, target


@inlined
def convert(
    isa, source, source_strides, target, target_strides, shape, index, streaming, kind, target_kind
):
    """All values; strides in bytes, index zeros, one for each dimension."""
    before = enter_default_rounding()
    rows = 1
    for d in range(shape.size - 1):
        rows *= shape[d]
    for _ in range(rows):
        convert_row(
            isa, source, source_strides[-1], target, target_strides[-1], shape[-1], streaming != 0,
            kind, target_kind,
        )  # fmt: skip
        source, target = next_row(index, shape, source, source_strides, target, target_strides)
    finish_streaming()
    leave_default_rounding(before)


@kernel(i64, i64_1d, i64, i64_1d, i64_1d, i64_1d, i64)
def to_half(isa, source, source_strides, target, target_strides, shape, index, streaming):
    """FP32 to FP16, to nearest, ties to even."""
    convert(
        isa, source, source_strides, target, target_strides, shape, index, streaming, SINGLE, HALF
    )


@kernel(i64, i64_1d, i64, i64_1d, i64_1d, i64_1d, i64)
def to_single(isa, source, source_strides, target, target_strides, shape, index, streaming):
    """FP16 to FP32, exactly."""
    convert(
        isa, source, source_strides, target, target_strides, shape, index, streaming, HALF, SINGLE
    )
