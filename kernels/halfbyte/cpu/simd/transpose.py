# SPDX-License-Identifier: Apache-2.0
"""Square blocks of 16-bit values, transposed in registers.

One vector holds a row of `blocks` blocks that lie side by side. An *eight* is what fits 128 bits,
inside which shuffles are cheapest. Three rounds of zipping turn eight rows into

    vector c      eight 0: column c    eight 1: column 8 + c    ...       rows 0 - 7 of each

Where a block has 16 rows, the eights of rows 0 - 7 and of rows 8 - 15 are then put side by side.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from halfbyte.cpu.simd import emit
from halfbyte.cpu.simd.types import I16


@intrinsic
def block_of(typingctx, isa):
    """Rows of a block that `transpose_words` turns: a constant."""
    return types.int64(isa), emit.known(isa.isa.block)


@intrinsic(prefer_literal=True)
def transpose_words(typingctx, isa, blocks, source, source_stride, target, target_stride, ahead):
    """Transpose `blocks` (a literal) square blocks of 16-bit values that lie side by side.

    Reads as many rows as a block has, `source_stride` bytes apart, and writes the columns as rows
    `target_stride` bytes apart. Fetches each row's cache line `ahead` bytes on.
    """
    side, count = isa.isa.block, blocks.literal_value

    def codegen(context, builder, signature, args):
        _, _, source_row, source_stride, target_row, target_stride, ahead = args
        groups = []
        for _ in range(side // 8):
            rows = []
            for _ in range(8):
                emit.prefetch(builder, builder.add(source_row, ahead))
                rows.append(emit.load(builder, source_row, ir.VectorType(I16, side * count)))
                source_row = builder.add(source_row, source_stride)
            groups.append(_zip_rounds(builder, rows))
        vectors = _join_groups(builder, *groups) if side == 16 else groups[0]
        _store_columns(builder, vectors, side, target_row, target_stride)
        return context.get_dummy_value()

    # `blocks` stays a literal in the signature: by it Numba tells one variant from the other.
    return types.none(isa, blocks, source, source_stride, target, target_stride, ahead), codegen


def _zip_rounds(builder, rows):
    """Eight rows to the vectors of this file's head. Each round zips row i with row i + 4, the
    lower halves of their eights into one vector and the upper halves into the next."""
    width = rows[0].type.count
    zips = [
        [eight + i + row * width for eight in range(0, width, 8) for i in half for row in (0, 1)]
        for half in (range(4), range(4, 8))
    ]
    for _ in range(3):
        pairs = zip(rows[:4], rows[4:], strict=True)
        rows = [emit.shuffle(builder, x, y, lanes) for x, y in pairs for lanes in zips]
    return rows


def _join_groups(builder, upper, lower):
    """Rows 0 - 7 and rows 8 - 15 to whole columns of 16: those of the vectors' first halves in
    eight vectors, then those of their second halves."""
    width = upper[0].type.count
    joins = [
        [eight + i + group * width for eight in half for group in (0, 1) for i in range(8)]
        for half in (range(0, width // 2, 8), range(width // 2, width, 8))
    ]
    return [
        emit.shuffle(builder, x, y, lanes)
        for lanes in joins
        for x, y in zip(upper, lower, strict=True)
    ]


def _store_columns(builder, vectors, side, target_row, target_stride):
    """Each vector holds whole columns; the one after a column in it is 8 columns further on."""
    parts = vectors[0].type.count // side
    targets = [target_row]
    for _ in range(len(vectors) * parts - 1):
        targets.append(builder.add(targets[-1], target_stride))
    for i, x in enumerate(vectors):
        for part in range(parts):
            column = (i // 8 * parts + part) * 8 + i % 8
            lanes = range(part * side, (part + 1) * side)
            emit.store(builder, emit.shuffle(builder, x, x, lanes), targets[column])
