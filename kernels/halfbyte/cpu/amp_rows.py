# SPDX-License-Identifier: Apache-2.0
"""What the kernels of loss scaling share: a table of rows, each of several operands at once.

    table[row]: COUNT    elements of the row
                DIRECT   1 if each operand's elements lie side by side
                NUMBER   of the array that the row belongs to
                then for each operand its address and its stride, in bytes

All arrays of a call are in one table, so 200 small ones cost one call of a kernel. Rows have PIECE
elements at most: threads take whole rows, and what is summed up is summed by rows first, so that
sums do not depend on the number of threads.

Operands that do not lie side by side are copied to scratch by CHUNK elements, and results from
there to their place.
"""

from halfbyte.cpu.casts_kernel import STREAM_AHEAD, convert_scalars
from halfbyte.cpu.compile import i64, i64_1d, i64_2d, inlined
from halfbyte.cpu.simd import (
    kind_bytes,
    lanes_of,
    load,
    load_part,
    prefetch_line,
    store,
    store_part,
    stream,
)

COUNT, DIRECT, NUMBER, OPERANDS = range(4)
PIECE = 1 << 16
CHUNK = 1024

# The most operands of a kernel, and the scratch memory where each has room for a chunk.
MOST_OPERANDS = 5
CHUNK_BYTES = 4 * CHUNK + 64  # a power of two would put all chunks into one cache set
SCRATCH_BYTES = MOST_OPERANDS * CHUNK_BYTES

# What every kernel is called with after the Isa: the table, its first row and the one after its
# last, whether to write past the caches, and the address of scratch.
ROWS = (i64_2d, i64, i64, i64, i64)
FOUND = i64_1d


@inlined
def chunk_of(table, row, first):
    """How many elements to take from this one on."""
    left = table[row, COUNT] - first
    return left if table[row, DIRECT] or left < CHUNK else CHUNK


@inlined
def fetched(isa, table, row, operand, first, count, scratch, kind):
    """Address of these elements side by side: their own, or their copies'."""
    stride = table[row, OPERANDS + 1 + 2 * operand]
    place = table[row, OPERANDS + 2 * operand] + first * stride
    size = kind_bytes(kind)
    if stride != size:
        copy = scratch + operand * CHUNK_BYTES
        convert_scalars(isa, place, stride, copy, size, count, kind, kind)
        place = copy
    return place


@inlined
def made_at(table, row, operand, first, scratch, kind):
    """Where to write elements side by side: their own place, or scratch."""
    stride = table[row, OPERANDS + 1 + 2 * operand]
    place = table[row, OPERANDS + 2 * operand] + first * stride
    if stride != kind_bytes(kind):
        place = scratch + operand * CHUNK_BYTES
    return place


@inlined
def deliver(isa, table, row, operand, first, count, scratch, kind):
    """Bring elements from where they were made to their own place."""
    stride = table[row, OPERANDS + 1 + 2 * operand]
    size = kind_bytes(kind)
    if stride != size:
        place = table[row, OPERANDS + 2 * operand] + first * stride
        copy = scratch + operand * CHUNK_BYTES
        convert_scalars(isa, copy, size, place, stride, count, kind, kind)


@inlined
def taken(isa, address, count, kind):
    """A vector of the next elements, zeros where there are no more."""
    if count < lanes_of(isa):
        return load_part(isa, address, count, kind)
    return load(isa, address, kind)


@inlined
def put(isa, x, address, count, kind):
    """Write a vector's elements, as many as there are."""
    if count < lanes_of(isa):
        store_part(isa, x, address, count, kind)
    else:
        store(isa, x, address, kind)


@inlined
def put_past(isa, x, address, count, streaming, kind):
    """Write a vector's elements, past the caches if they are to go there and are all."""
    if streaming and count >= lanes_of(isa):
        stream(isa, x, address, kind)
    else:
        put(isa, x, address, count, kind)


@inlined
def fetch_ahead(isa, address, kind):
    """Fetch what a vector this far ahead takes, of one or two cache lines."""
    prefetch_line(address + STREAM_AHEAD)
    if kind_bytes(kind) * lanes_of(isa) > 64:
        prefetch_line(address + STREAM_AHEAD + 64)
