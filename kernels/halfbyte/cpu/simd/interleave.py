# SPDX-License-Identifier: Apache-2.0
"""From rows of bytes to the dwords of columns that `dots.py` multiplies, and between its kinds.

All are built of zips: of two vectors, one that takes units in turn from both, inside spans in
which shuffles are cheap (128 bits), then spans of 128 bits as units of a whole register.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from halfbyte.cpu.simd import emit
from halfbyte.cpu.simd.dots import multiply_words, split
from halfbyte.cpu.simd.types import I8, I16, I32, NIBBLE, VectorType

PANEL_ROW = 256  # bytes of a unit of k of 64 columns


def _zip_rows(builder, rows, unit, span):
    """One round: row i with row i + half; in each span, the lower halves' units in turn, then those
    of the upper halves. As many rounds as halve the rows to one transpose them."""
    width, half = rows[0].type.count, len(rows) // 2
    zips = [
        [
            start + first + i + u + row * width
            for start in range(0, width, span)
            for i in range(0, span // 2, unit)
            for row in (0, 1)
            for u in range(unit)
        ]
        for first in (0, span // 2)
    ]
    pairs = zip(rows[:half], rows[half:], strict=True)
    return [emit.shuffle(builder, x, y, lanes) for x, y in pairs for lanes in zips]


def _lanes_in_order(builder, vectors):
    """Four vectors whose 128-bit lanes belong together to vectors of whole columns: the first lanes
    of all, then the second lanes."""
    lanes = vectors[0].type.count // 4
    if lanes == 4:
        for _ in range(2):
            vectors = _zip_rows(builder, vectors, 4, 16)
    elif lanes == 2:
        a, b, c, d = vectors
        low, high = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
        pairs = ((a, b, low), (c, d, low), (a, b, high), (c, d, high))
        vectors = [emit.shuffle(builder, *pair) for pair in pairs]
    return vectors


@intrinsic
def block_columns(typingctx, isa):
    """Columns that `interleave_rows` takes at a time: a constant."""
    return types.int64(isa), emit.known(4 * isa.isa.lanes)


@intrinsic
def interleave_rows(typingctx, isa, source, source_stride, target, flip):
    """Four rows of bytes, `block_columns` of each, to a dword a column, flip added (xor)."""
    lanes = isa.isa.lanes
    dwords = ir.VectorType(I32, lanes)

    def codegen(context, builder, signature, args):
        _, row, source_stride, target, flip = args
        rows = []
        for _ in range(4):
            rows.append(emit.load(builder, row, ir.VectorType(I8, 4 * lanes)))
            row = builder.add(row, source_stride)
        for _ in range(2):
            rows = _zip_rows(builder, rows, 1, 16)
        vectors = _lanes_in_order(builder, [builder.bitcast(x, dwords) for x in rows])
        flip = emit.splat(builder, builder.trunc(flip, I32), lanes)
        for v, x in enumerate(vectors):
            emit.store(builder, builder.xor(x, flip), target, 4 * lanes * v)
        return context.get_dummy_value()

    return types.none(isa, source, source_stride, target, flip), codegen


@intrinsic
def transpose_dwords(typingctx, isa, source, source_stride, target, target_stride, flip, ahead):
    """A square of dwords, as wide as a vector, its columns to rows; flip added (xor).

    Fetches each row's cache line `ahead` bytes on.
    """
    lanes = isa.isa.lanes

    def codegen(context, builder, signature, args):
        _, row, source_stride, target, target_stride, flip, ahead = args
        rows = []
        for _ in range(lanes):
            emit.prefetch(builder, builder.add(row, ahead))
            rows.append(emit.load(builder, row, ir.VectorType(I32, lanes)))
            row = builder.add(row, source_stride)
        # groups[g][c]: columns c, 4 + c, ... of rows 4 g to 4 g + 3, one in each 128 bits.
        groups = []
        for first in range(0, lanes, 4):
            group = rows[first : first + 4]
            for _ in range(2):
                group = _zip_rows(builder, group, 1, 4)
            groups.append(group)
        columns = [None] * lanes
        for c in range(4):
            part = [group[c] for group in groups]
            count = len(part)
            while count > 1:
                part, count = _zip_rows(builder, part, 4, lanes), count // 2
            for i, x in enumerate(part):
                columns[4 * i + c] = x
        flip = emit.splat(builder, builder.trunc(flip, I32), lanes)
        for x in columns:
            emit.store(builder, builder.xor(x, flip), target)
            target = builder.add(target, target_stride)
        return context.get_dummy_value()

    arguments = isa, source, source_stride, target, target_stride, flip, ahead
    return types.none(*arguments), codegen


@intrinsic
def sort_nibbles(typingctx, x):
    """Dwords of eight nibbles in their order to the NIBBLE order 0, 4, 1, 5, 2, 6, 3, 7."""
    lanes = x.lanes

    def codegen(context, builder, signature, args):
        byte = ir.VectorType(I8, 4 * lanes)
        nibbles = split(builder, args[0], NIBBLE._numba_type_)
        even, odd = (builder.bitcast(n, byte) for n in nibbles)
        order = [
            [
                i + first + row * 4 * lanes
                for i in range(0, 4 * lanes, 4)
                for first in half
                for row in (0, 1)
            ]
            for half in ((0, 1), (2, 3))
        ]
        low, high = (emit.shuffle(builder, even, odd, lanes) for lanes in order)
        low, high = (builder.bitcast(n, x.ir) for n in (low, high))
        return builder.or_(low, builder.shl(high, emit.constant(4, lanes)))

    return x(x), codegen


@intrinsic
def join_nibbles(typingctx, low, high):
    """Bytes below 16 as the low and the high nibbles of bytes."""
    lanes = low.lanes

    def codegen(context, builder, signature, args):
        return builder.or_(args[0], builder.shl(args[1], emit.constant(4, lanes)))

    return low(low, high), codegen


@intrinsic
def low_part(typingctx, x, kind):
    """Of dwords of NIBBLEs the low ones, as bytes; of BYTEs 0 and 2, as 16-bit integers."""
    return x(x, kind), lambda context, builder, signature, args: split(builder, args[0], kind)[0]


@intrinsic
def high_part(typingctx, x, kind):
    """The others than `low_part`."""
    return x(x, kind), lambda context, builder, signature, args: split(builder, args[0], kind)[1]


@intrinsic(prefer_literal=True)
def field(typingctx, x, first, count):
    """Bits `first`, ..., `count` of them (literals), of dwords."""
    shift, mask = first.literal_value, (1 << count.literal_value) - 1

    def codegen(context, builder, signature, args):
        shifted = builder.lshr(args[0], emit.constant(shift, x.lanes)) if shift else args[0]
        return builder.and_(shifted, emit.constant(mask, x.lanes))

    return x(x, first, count), codegen


@intrinsic
def widen_bytes(typingctx, isa, source, target):
    """As many signed bytes as a vector has lanes to 16-bit integers, each four of them in the order
    0, 2, 1, 3."""
    lanes = isa.isa.lanes

    def codegen(context, builder, signature, args):
        _, source, target = args
        x = emit.load(builder, source, ir.VectorType(I8, lanes))
        order = [i + j for i in range(0, lanes, 4) for j in (0, 2, 1, 3)]
        x = emit.shuffle(builder, x, x, order)
        emit.store(builder, builder.sext(x, ir.VectorType(I16, lanes)), target)
        return context.get_dummy_value()

    return types.none(isa, source, target), codegen


def _add_fours(builder, isa, acc, x):
    """acc + the sums of each four signed bytes of dwords."""
    lanes = x.type.count
    if isa.vnni:
        ones = emit.constant(0x01010101, lanes)
        return emit.call(builder, f"llvm.x86.avx512.vpdpbusd.{32 * lanes}", x.type, acc, ones, x)
    word = ir.VectorType(I16, 2 * lanes)
    eight = emit.constant(8, 2 * lanes, I16)
    odd = builder.bitcast(x, word)
    even = builder.ashr(builder.shl(odd, eight), eight)
    pairs = builder.bitcast(builder.add(even, builder.ashr(odd, eight)), x.type)
    return builder.add(acc, multiply_words(builder, pairs, emit.constant(0x00010001, lanes)))


@intrinsic
def add_bytes(typingctx, isa, acc, x):
    """acc + the sums of each four signed bytes."""

    def codegen(context, builder, signature, args):
        return _add_fours(builder, isa.isa, args[1], args[2])

    return VectorType("i32", isa.isa.lanes)(isa, acc, x), codegen


@intrinsic
def sums_of_32(typingctx, isa, address):
    """A vector of sums of 32 signed bytes each, side by side in memory."""
    vector = VectorType("i32", isa.isa.lanes)
    lanes = vector.lanes

    def codegen(context, builder, signature, args):
        _, address = args
        zero = ir.Constant(vector.ir, None)
        parts = [
            _add_fours(builder, isa.isa, zero, emit.load(builder, address, vector.ir, offset))
            for offset in range(0, 32 * lanes, 4 * lanes)
        ]
        even, odd = range(0, 2 * lanes, 2), range(1, 2 * lanes, 2)
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [
                builder.add(emit.shuffle(builder, x, y, even), emit.shuffle(builder, x, y, odd))
                for x, y in pairs
            ]
        return parts[0]

    return vector(isa, address), codegen
