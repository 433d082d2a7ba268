# SPDX-License-Identifier: Apache-2.0
"""Register tiles: rows x vectors of sums, unrolled when a call is compiled.

                  b[0]     b[1]      vectors of a row of b
               +--------+--------+
a[0] broadcast |        |        |
a[1] broadcast |  acc: a register each
 ...           |        |        |
               +--------+--------+
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from halfbyte.cpu.simd import emit
from halfbyte.cpu.simd.types import F32, I32, I64, ShapeType, TileType

CACHE_LINE = 64


# ---- Shapes ------------------------------------------------------------------------------------
# prefer_literal: the type of a literal argument holds its value, which makes the shape's type.
@intrinsic(prefer_literal=True)
def tile_shape(typingctx, isa, rows, columns):
    """Shape of a tile of `rows` with as many vectors as fit the registers, up to `columns`. Both
    are literals."""
    vectors = isa.isa.tile_vectors(rows.literal_value, columns.literal_value)
    shape = ShapeType(rows.literal_value, vectors)

    def codegen(context, builder, signature, args):
        return context.get_dummy_value()

    return shape(isa, rows, columns), codegen


@intrinsic(prefer_literal=True)
def narrowed(typingctx, shape, vectors):
    """A shape with no more than so many vectors (a literal) in a row."""
    result = ShapeType(shape.rows, min(shape.vectors, vectors.literal_value))

    def codegen(context, builder, signature, args):
        return context.get_dummy_value()

    return result(shape, vectors), codegen


@intrinsic
def shape_columns(typingctx, isa, shape):
    """Columns of a tile of this shape: a constant."""
    return types.int64(isa, shape), emit.known(shape.vectors * isa.isa.lanes)


# ---- Tiles -------------------------------------------------------------------------------------
def tile_of(isa, shape, kind) -> TileType:
    """The type of a tile of SINGLE, BITS (32-bit integers) or WORD (16-bit ones)."""
    element = {"f32": "f32", "w32": "i32", "i16": "i16"}[kind.element]
    return TileType(shape.rows, shape.vectors, isa.isa.lanes, element)


@intrinsic
def tile_zero(typingctx, isa, shape, kind):
    """A tile of zeros."""
    tile = tile_of(isa, shape, kind)

    def codegen(context, builder, signature, args):
        return ir.Constant(tile.ir, None)

    return tile(isa, shape, kind), codegen


@intrinsic
def tile_load(typingctx, isa, shape, address, row_stride, kind):
    """A tile of SINGLE or BITS from memory, its rows `row_stride` bytes apart."""
    tile = tile_of(isa, shape, kind)

    def codegen(context, builder, signature, args):
        _, _, row, row_stride, _ = args
        value = ir.Constant(tile.ir, ir.Undefined)
        for r in range(tile.rows):
            for v in range(tile.vectors):
                loaded = emit.load(builder, row, tile.vector, v * tile.lanes * 4)
                value = builder.insert_value(value, loaded, r * tile.vectors + v)
            row = builder.add(row, row_stride)
        return value

    return tile(isa, shape, address, row_stride, kind), codegen


@intrinsic
def tile_store(typingctx, tile, address, row_stride):
    """A tile of 32-bit values to memory, its rows `row_stride` bytes apart."""

    def codegen(context, builder, signature, args):
        value, row, row_stride = args
        for r in range(tile.rows):
            for v in range(tile.vectors):
                vector = builder.extract_value(value, r * tile.vectors + v)
                emit.store(builder, vector, row, v * tile.lanes * 4)
            row = builder.add(row, row_stride)
        return context.get_dummy_value()

    return types.none(tile, address, row_stride), codegen


@intrinsic
def tile_prefetch(typingctx, isa, shape, address, row_stride):
    """Fetch the cache lines that a later `tile_store` writes."""
    row_bytes = shape.vectors * isa.isa.lanes * 4

    def codegen(context, builder, signature, args):
        _, _, row, row_stride = args
        for _ in range(shape.rows):
            for offset in range(0, row_bytes, CACHE_LINE):
                emit.prefetch(builder, builder.add(row, I64(offset)), write=True)
            row = builder.add(row, row_stride)
        return context.get_dummy_value()

    return types.none(isa, shape, address, row_stride), codegen


@intrinsic
def tile_fma(typingctx, isa, tile, a, a_row, b, kind):
    """tile[r, v] + a[r] * b[v]: FP32 values `a_row` bytes apart times vectors side by side.

    b is FP16 or FP32 by `kind`; halves are converted on the way into the register.
    """

    def codegen(context, builder, signature, args):
        _, acc, a_at, a_row, b_at, _ = args
        columns = []
        for v in range(tile.vectors):
            stored = emit.load(builder, b_at, kind.ir(tile.lanes), v * tile.lanes * kind.size)
            columns.append(emit.decode(builder, isa.isa, kind, stored))
        for r in range(tile.rows):
            value = emit.splat(builder, emit.load(builder, a_at, F32), tile.lanes)
            for v, column in enumerate(columns):
                i = r * tile.vectors + v
                before = builder.extract_value(acc, i)
                after = emit.multiply_add(builder, isa.isa, value, column, before)
                acc = builder.insert_value(acc, after, i)
            a_at = builder.add(a_at, a_row)
        return acc

    return tile(isa, tile, a, a_row, b, kind), codegen


@intrinsic
def tile_chain(typingctx, isa, tile, a, a_row, b, zeros, kind):
    """tile[r, v] + a[r, p] * (b[p, v] - zeros[v]) for the steps p of a unit, in their order.

    a: FP32 values, rows `a_row` bytes apart; b: a dword a column, BYTE or NIBBLE (`dots.py`).
    """
    word = ir.VectorType(I32, tile.lanes)
    shifts = range(0, 32, 8) if kind.element == "i8" else (0, 8, 16, 24, 4, 12, 20, 28)

    def codegen(context, builder, signature, args):
        _, acc, a_at, a_row, b_at, zeros_at, _ = args
        offsets = range(0, 4 * tile.lanes * tile.vectors, 4 * tile.lanes)
        codes = [emit.load(builder, b_at, word, offset) for offset in offsets]
        zeros = [emit.load(builder, zeros_at, tile.vector, offset) for offset in offsets]
        mask = emit.constant((1 << kind.bits) - 1, tile.lanes)
        for step, shift in enumerate(shifts):
            columns = []
            for x, zero in zip(codes, zeros, strict=True):
                field = builder.lshr(x, emit.constant(shift, tile.lanes)) if shift else x
                number = builder.sitofp(builder.and_(field, mask), tile.vector)
                columns.append(builder.fsub(number, zero))
            for r in range(tile.rows):
                row_at = builder.add(a_at, builder.mul(a_row, I64(r))) if r else a_at
                value = emit.splat(builder, emit.load(builder, row_at, F32, 4 * step), tile.lanes)
                for v, column in enumerate(columns):
                    i = r * tile.vectors + v
                    before = builder.extract_value(acc, i)
                    after = emit.multiply_add(builder, isa.isa, value, column, before)
                    acc = builder.insert_value(acc, after, i)
        return acc

    return tile(isa, tile, a, a_row, b, zeros, kind), codegen
