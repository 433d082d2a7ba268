# SPDX-License-Identifier: Apache-2.0
"""What all quantization kernels share: rows, chunks, edges, and where a scale comes from.

A kernel works through `rows` rows of several operands at once:

    addresses[operand]             of the row's first element
    strides[operand, dimension]    in bytes; the last dimension goes along the row
    shape, index                   of the dimensions before it; index counts them like an odometer

Every loop takes BLOCK elements a step, whatever the instruction set, so that sums come out the
same on all of them. What is left over at the end of a row, or does not lie side by side, is copied
to scratch first by chunks, and results from scratch to their place.

The scales and zero points (float32, the latter integral) of a block are found by a pointer. After
each block it moves by a *step*, and where `per` elements are through it *jumps* as well (bytes):

    step  jump
       0     0    one for all
       0     4    one to `per` elements: a group of whole blocks, or a row
     128  -4 per  one to an element, `per` of them again and again; the array ends BLOCK later

Groups that are not whole blocks are SPREAD: copied out to scratch, one to an element.
"""

from halfbyte.cpu.compile import i64, i64_1d, i64_2d, inlined, inner
from halfbyte.cpu.simd import (
    HALF,
    SINGLE,
    copy_element,
    kind_bytes,
    larger,
    load,
    load_scalar,
    prefetch_line,
    select,
    smaller,
    splat,
    store,
    store_scalar,
    stream,
    zero_bytes,
)

BLOCK = 32
CHUNK = 4096
REACH = 16384  # elements looked at before their codes are made

# What a kernel is called with after the Isa: addresses, strides, shape, index, elements of a row,
# rows, options, address of scratch.
ROWS = (i64_1d, i64_2d, i64_1d, i64_1d, i64, i64, i64_1d, i64)

# Places in `options`. Those with a default of 0 that a kernel does not use are left out.
OPTIONS = 21
SPREAD, PER, STREAMING, QMIN, QMAX, STOCHASTIC, SEED = range(7)
FROM_DATA, SYMMETRIC, CODING, NOT_FINITE, RELU, CANDIDATE_BYTES = range(7, 13)
SIZE, OTHER_SIZE = 13, 14  # bytes of a value of x or y (or dy), and of x beside dy
FIRST_STEP, FIRST_JUMP, SECOND_STEP, SECOND_JUMP, THIRD_STEP, THIRD_JUMP = range(15, OPTIONS)
FLIP, OFFSET = QMIN, QMAX  # for codes to values: code = (stored ^ FLIP) - OFFSET

# 1.5 * 2^23: adding it rounds to an integer, ties to even, and leaves that in the low bits. Beyond
# 2^22 the sum is no such integer, but far outside of any range.
TO_INTEGER = 12582912.0

# How far ahead of a stream to read.
STREAM_AHEAD = 8192

# Scratch: room for a chunk and a block of 4-byte values, for each of these.
PARTS = 6
INPUT, OTHER_INPUT, OUTPUT, SCALE, ZERO_POINT, EXTRA = range(PARTS)
PART_BYTES = 4 * (CHUNK + 3 * BLOCK)  # a power of two would put all parts into one cache set
SCRATCH_BYTES = PARTS * PART_BYTES


@inlined
def lesser(x, y):
    """min(x, y). Numba's is a function of its own, which `limit_registers` does not reach."""
    return x if x < y else y


@inlined
def greater(x, y):
    """max(x, y), likewise."""
    return x if x > y else y


@inlined
def part_of(scratch, part):
    return scratch + part * PART_BYTES


@inlined
def next_row(index, shape, addresses, strides):
    """Step all operands to the row after this one."""
    d = shape.size - 1
    while d >= 0:
        index[d] += 1
        for operand in range(addresses.size):
            addresses[operand] += strides[operand, d]
        if index[d] < shape[d]:
            break
        for operand in range(addresses.size):
            addresses[operand] -= strides[operand, d] * shape[d]
        index[d] = 0
        d -= 1


@inlined
def chunk_of(count, direct):
    """How many of the `count` elements that remain to take next: whole blocks, or the last few.

    As many as there are if nothing is copied to scratch. Why not fewer: a call, a plain store,
    between streamed ones costs 140 ns on Zen 5 (rows of 4096: 0.98 of copyto's rate, rows of
    16384: 1.29).
    """
    n = count
    if not direct:
        n = lesser(CHUNK, count)
    if n > BLOCK:
        n -= n % BLOCK
    return n


@inner
def gather(isa, source, stride, target, count, kind):
    """Strided values to side by side, zeros after them."""
    size = kind_bytes(kind)
    for i in range(count):
        copy_element(isa, target + i * size, source + i * stride, kind)
    zero_bytes(target + count * size, BLOCK * size)


@inner
def scatter(isa, source, target, stride, count, kind):
    """Values side by side to strided."""
    for i in range(count):
        copy_element(isa, target + i * stride, source + i * kind_bytes(kind), kind)


@inlined
def write(isa, x, address, kind, streaming):
    if streaming:
        stream(isa, x, address, kind)
    else:
        store(isa, x, address, kind)


@inner
def widen_row(isa, source, stride, place, count):
    """float16 values to float32 side by side, zeros after them."""
    i = 0
    if stride == 2:
        while i + BLOCK <= count:
            prefetch_line(source + 2 * i + STREAM_AHEAD)
            store(isa, load(isa, source + 2 * i, HALF), place + 4 * i, SINGLE)
            i += BLOCK
    while i < count:
        store_scalar(isa, load_scalar(isa, source + i * stride, HALF), place + 4 * i, SINGLE)
        i += 1
    zero_bytes(place + 4 * count, 4 * BLOCK)


@inner
def narrow_row(isa, source, target, stride, count, streaming):
    """float32 values side by side to float16."""
    i = 0
    if stride == 2:
        past_cache = streaming and target % 16 == 0
        while i + BLOCK <= count:
            write(isa, load(isa, source + 4 * i, SINGLE), target + 2 * i, HALF, past_cache)
            i += BLOCK
    while i < count:
        store_scalar(isa, load_scalar(isa, source + 4 * i, SINGLE), target + i * stride, HALF)
        i += 1


@inlined
def staged(stride, count, size):
    """Whether values cannot be taken by whole blocks where they are."""
    return stride != size or count % BLOCK != 0


@inlined
def fetched(isa, source, stride, place, count, size):
    """Address of whole blocks of these float32 or int32 values: their own, or their copies' in
    this place. float16 ones (size 2) become float32."""
    if size == 2:
        widen_row(isa, source, stride, place, count)
        source = place
    elif staged(stride, count, 4):
        gather(isa, source, stride, place, count, SINGLE)
        source = place
    return source


@inlined
def made_at(target, stride, count, size, place):
    """Where to write whole blocks of float32 values: their own place, or this one."""
    if size == 2 or staged(stride, count, 4):
        target = place
    return target


@inlined
def delivered(isa, made, target, stride, count, size, streaming):
    """Bring values from where they were made to their own place."""
    if size == 2:
        narrow_row(isa, made, target, stride, count, streaming)
    elif made != target:
        scatter(isa, made, target, stride, count, SINGLE)


@inner
def spread(isa, source, first, per, count, target):
    """Value j // per of source for elements j = first, first + 1, ... and zeros after them."""
    at = source + 4 * (first // per)
    left = per - first % per
    for i in range(count):
        if left == 0:
            at += 4
            left = per
        store_scalar(isa, load_scalar(isa, at, SINGLE), target + 4 * i, SINGLE)
        left -= 1
    zero_bytes(target + 4 * count, 4 * BLOCK)


@inlined
def feed(isa, source, which, first, count, options, place):
    """Where the pointer to scales stands at element `first` of a row. which: FIRST_STEP, ..."""
    per = options[PER]
    if options[SPREAD]:
        spread(isa, source, first, per, count, place)
        source = place
    else:
        step, jump = options[which], options[which + 1]
        period = jump + (per // BLOCK) * step
        source += (first // per) * period + (first % per) // BLOCK * step
    return source


@inlined
def fed(isa, pointer, step):
    """The scales of a block.

    Why not a vector of equal ones in scratch: plain stores between streamed ones are slow (groups
    of 128: 0.12 of copyto's rate instead of 0.9).
    """
    if step == 0:
        return splat(isa, load_scalar(isa, pointer, SINGLE))
    return load(isa, pointer, SINGLE)


@inlined
def left_of(first, options):
    """How many elements from the first on, itself included, until pointers jump."""
    return options[PER] - first % options[PER]


@inlined
def spans_of(per, count):
    """Elements of a row with one scale, and how many are looked at before codes are made: whole
    spans, and whole bytes of 4-bit codes."""
    span = lesser(per, count)
    step = span * (1 + span % 2)
    return span, greater(1, REACH // step) * step


@inlined
def fetch_ahead(address, ahead):
    """Fetch the two cache lines so many bytes ahead."""
    prefetch_line(address + ahead[0])
    prefetch_line(address + ahead[1])


@inlined
def zero_if_nan(isa, x):
    return select(x == x, x, splat(isa, 0.0))


@inlined
def quotient(isa, x, scale):
    """x / scale, 0 where that is NaN."""
    return zero_if_nan(isa, x / scale)


@inlined
def code_of(isa, t, zero_point, lowest, highest):
    """Codes of quotients, in the low bits; lowest and highest are codes so, too."""
    # Beyond 2^22 the sum is no longer rounded to integers, but far outside of the range.
    return smaller(larger((t + splat(isa, TO_INTEGER)) + zero_point, lowest), highest)
