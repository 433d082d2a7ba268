# SPDX-License-Identifier: Apache-2.0
"""Vectors and register tiles as Numba types: the only place that writes LLVM IR.

The idea in twenty lines. A CPU has 16 or 32 vector registers; a matrix product is fast when the
corner of C that it works on, a *tile* of `rows` x `vectors`, stays in them while k runs. C
compilers reach that with intrinsics, one source for each instruction set. Here the tile is a
value, and its size is its Numba type:

    acc = tile_zero(isa, shape)                  # rows x vectors registers, all +0
    for p in range(k):
        acc = tile_fma(isa, acc, a, a_row, b, kind)   # rows broadcasts, vectors loads, r*v FMAs
    tile_store(acc, c, c_row)

`isa` and `shape` hold nothing at run time: Numba looks at their types when it compiles the call,
and the functions below, its *intrinsics*, unroll the tile into LLVM vector instructions for
exactly that size. LLVM sees one aggregate of vectors going round the loop, splits it, and gives
each vector a register. The same six lines compile to ymm or zmm code, or to plain SSE, by the
type of the first argument.

Everything else works on one vector at a time (`VectorType`): loads and stores, FP16 (HALF)
converted to FP32 and back, arithmetic with Python's operators, comparisons and `select`. Memory
is named by integer byte addresses: pointers that kernels can do arithmetic on. Nothing is aligned
unless it says so. `..._part` loads and stores only the first `count` lanes.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import lower_constant
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import (
    intrinsic,
    lower_builtin,
    models,
    register_model,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BOOL, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()
_ELEMENTS = {"f32": F32, "i32": I32, "mask": BOOL}
_MEMORY = {"f16": I16, "f32": F32}


# ---- Types -------------------------------------------------------------------------------------
class VectorType(types.Type):
    """`lanes` values in one register: 'f32', 'i32', or 'mask' (what a comparison gives)."""

    def __init__(self, element: str, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(name=f"Vector({element} x {lanes})")

    @property
    def ir(self) -> ir.VectorType:
        return ir.VectorType(_ELEMENTS[self.element], self.lanes)


class ShapeType(types.Type):
    """The size of a tile; holds nothing at run time."""

    def __init__(self, rows: int, vectors: int) -> None:
        self.rows, self.vectors = rows, vectors
        super().__init__(name=f"Shape({rows} x {vectors})")


class TileType(types.Type):
    """rows x vectors FP32 registers."""

    def __init__(self, rows: int, vectors: int, lanes: int) -> None:
        self.rows, self.vectors, self.lanes = rows, vectors, lanes
        super().__init__(name=f"Tile({rows} x {vectors} x {lanes})")


class KindType(types.Type):
    """What FP32 values are in memory, 'f16' or 'f32'; holds nothing at run time."""

    def __init__(self, element: str) -> None:
        self.element = element
        self.size = {"f16": 2, "f32": 4}[element]
        super().__init__(name=f"Kind({element})")


class Kind:
    """A value of a KindType, for kernels to name."""

    def __init__(self, element: str) -> None:
        self._numba_type_ = KindType(element)


HALF, SINGLE = Kind("f16"), Kind("f32")


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, typ) -> None:
        super().__init__(manager, typ, typ.ir)


@register_model(TileType)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, typ) -> None:
        vector = ir.VectorType(F32, typ.lanes)
        super().__init__(manager, typ, ir.ArrayType(vector, typ.rows * typ.vectors))


@register_model(ShapeType)
@register_model(KindType)
class _NothingModel(models.OpaqueModel):
    pass


@lower_constant(KindType)
def _lower_kind(context, builder, typ, value):
    return context.get_dummy_value()


# ---- Emitting: small functions from LLVM values to LLVM values ---------------------------------
def _pointer(builder, address, pointee, offset=0):
    if offset:
        address = builder.add(address, I64(offset))
    return builder.inttoptr(address, pointee.as_pointer())


def _load(builder, address, typ, offset=0, align=1):
    loaded = builder.load(_pointer(builder, address, typ, offset))
    loaded.align = align
    return loaded


def _store(builder, value, address, offset=0, *, align=1, streaming=False):
    stored = builder.store(value, _pointer(builder, address, value.type, offset))
    stored.align = align
    if streaming:
        stored.set_metadata("nontemporal", builder.module.add_metadata([I32(1)]))


def _shuffle(builder, x, y, lanes):
    mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
    return builder.shuffle_vector(x, y, mask)


def _splat(builder, scalar, lanes):
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    return _shuffle(
        builder, builder.insert_element(undefined, scalar, I32(0)), undefined, [0] * lanes
    )


def _constant(value, lanes, element=I32):
    return ir.Constant(ir.VectorType(element, lanes), [value] * lanes)


def _call(builder, name, result, *arguments):
    typ = ir.FunctionType(result, [x.type for x in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, typ, name), arguments)


def _prefetch(builder, address, *, write=False):
    kind = I32(1 if write else 0), I32(3), I32(1)  # all cache levels, data
    _call(builder, "llvm.prefetch.p0", ir.VoidType(), _pointer(builder, address, I8), *kind)


def _first_lanes(builder, count, lanes):
    """Mask of the first `count` (an int64 value) of `lanes` lanes."""
    index = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
    return builder.icmp_signed("<", index, _splat(builder, builder.trunc(count, I32), lanes))


def _load_part(builder, address, element, lanes, count):
    """The first `count` lanes from memory, zeros in the others."""
    vector = ir.VectorType(element, lanes)
    letter = {F32: "f32", I16: "i16"}[element]
    return _call(
        builder,
        f"llvm.masked.load.v{lanes}{letter}.p0",
        vector,
        _pointer(builder, address, vector),
        I32(1),
        _first_lanes(builder, count, lanes),
        ir.Constant(vector, None),
    )


def _store_part(builder, value, address, count):
    lanes = value.type.count
    letter = {F32: "f32", I16: "i16"}[value.type.element]
    _call(
        builder,
        f"llvm.masked.store.v{lanes}{letter}.p0",
        ir.VoidType(),
        value,
        _pointer(builder, address, value.type),
        I32(1),
        _first_lanes(builder, count, lanes),
    )


def _widen(builder, isa, bits):
    """Bits of halves (a vector of i16) to FP32, exactly."""
    lanes = bits.type.count
    single = ir.VectorType(F32, lanes)
    if isa.f16c:
        return builder.fpext(builder.bitcast(bits, ir.VectorType(F16, lanes)), single)
    # Place exponent and mantissa where FP32 has them, scale by 2^112 (exact, subnormals become
    # normal), then repair the exponent of inf and NaN.
    word = ir.VectorType(I32, lanes)
    whole = builder.zext(bits, word)
    magnitude = builder.shl(builder.and_(whole, _constant(0x7FFF, lanes)), _constant(13, lanes))
    sign = builder.shl(builder.and_(whole, _constant(0x8000, lanes)), _constant(16, lanes))
    scaled = builder.fmul(builder.bitcast(magnitude, single), _constant(2.0**112, lanes, F32))
    special = builder.icmp_signed(">=", magnitude, _constant(0x0F800000, lanes))
    saturated = builder.or_(magnitude, _constant(0x7F800000, lanes))
    chosen = builder.select(special, saturated, builder.bitcast(scaled, word))
    return builder.bitcast(builder.or_(chosen, sign), single)


def _narrow(builder, isa, x):
    """FP32 to bits of halves, rounding to nearest, ties to even."""
    lanes = x.type.count
    halfword = ir.VectorType(I16, lanes)
    if isa.f16c:
        return builder.bitcast(builder.fptrunc(x, ir.VectorType(F16, lanes)), halfword)
    # Normal halves: rebias the exponent and add just under half a unit, one more if odd.
    # Subnormal ones: adding 0.5 lets the FPU round at the right bit.
    word, single = ir.VectorType(I32, lanes), ir.VectorType(F32, lanes)

    def const(value):
        return _constant(value, lanes)

    bits = builder.bitcast(x, word)
    magnitude = builder.and_(bits, const(0x7FFFFFFF))
    sign = builder.lshr(builder.and_(bits, const(-0x80000000)), const(16))
    odd = builder.and_(builder.lshr(magnitude, const(13)), const(1))
    rebias = builder.add(magnitude, const(((15 - 127) << 23) + 0xFFF))
    normal = builder.lshr(builder.add(rebias, odd), const(13))
    shifted = builder.fadd(builder.bitcast(magnitude, single), _constant(0.5, lanes, F32))
    subnormal = builder.sub(builder.bitcast(shifted, word), const(0x3F000000))
    is_nan = builder.icmp_signed(">", magnitude, const(0x7F800000))
    special = builder.select(is_nan, const(0x7E00), const(0x7C00))
    finite = builder.select(
        builder.icmp_signed("<", magnitude, const(113 << 23)), subnormal, normal
    )
    overflow = builder.icmp_signed(">=", magnitude, const(143 << 23))
    return builder.trunc(builder.or_(builder.select(overflow, special, finite), sign), halfword)


def _multiply_add(builder, isa, x, y, z):
    """x * y + z, where the product is exact (rule 1): with or without FMA the same value."""
    if isa.fma:
        return _call(builder, f"llvm.fma.v{x.type.count}f32", x.type, x, y, z)
    return builder.fadd(builder.fmul(x, y), z)


# ---- Register tiles ----------------------------------------------------------------------------
@intrinsic(prefer_literal=True)
def tile_shape(typingctx, isa, rows, columns):
    """Shape of a tile of `rows` with as many vectors as fit the registers, up to `columns`. Both
    are literals."""
    shape = ShapeType(
        rows.literal_value, isa.isa.tile_vectors(rows.literal_value, columns.literal_value)
    )
    return shape(isa, rows, columns), lambda ctx, builder, sig, args: ctx.get_dummy_value()


@intrinsic(prefer_literal=True)
def narrowed(typingctx, shape, vectors):
    """A shape with no more than so many vectors (a literal) in a row."""
    typ = ShapeType(shape.rows, min(shape.vectors, vectors.literal_value))
    return typ(shape, vectors), lambda ctx, builder, sig, args: ctx.get_dummy_value()


@intrinsic
def shape_columns(typingctx, isa, shape):
    """Columns of a tile of this shape: a constant."""
    columns = shape.vectors * isa.isa.lanes
    return types.int64(isa, shape), lambda ctx, builder, sig, args: I64(columns)


@intrinsic
def shape_rows(typingctx, shape):
    """Rows of a tile of this shape: a constant."""
    rows = shape.rows
    return types.int64(shape), lambda ctx, builder, sig, args: I64(rows)


@intrinsic
def kind_bytes(typingctx, kind):
    """Bytes of a value of this kind: a constant."""
    size = kind.size
    return types.int64(kind), lambda ctx, builder, sig, args: I64(size)


@intrinsic
def tile_zero(typingctx, isa, shape):
    """A tile of +0."""
    tile = TileType(shape.rows, shape.vectors, isa.isa.lanes)

    def emit(ctx, builder, sig, args):
        return ir.Constant(ctx.get_value_type(tile), None)

    return tile(isa, shape), emit


@intrinsic
def tile_load(typingctx, isa, shape, address, row_stride):
    """A tile from FP32 memory, its rows `row_stride` bytes apart."""
    tile = TileType(shape.rows, shape.vectors, isa.isa.lanes)

    def emit(ctx, builder, sig, args):
        vector = ir.VectorType(F32, tile.lanes)
        value = ir.Constant(ctx.get_value_type(tile), ir.Undefined)
        row = args[2]
        for r in range(tile.rows):
            for v in range(tile.vectors):
                loaded = _load(builder, row, vector, v * tile.lanes * 4)
                value = builder.insert_value(value, loaded, r * tile.vectors + v)
            row = builder.add(row, args[3])
        return value

    return tile(isa, shape, address, row_stride), emit


@intrinsic
def tile_store(typingctx, tile, address, row_stride):
    """A tile to FP32 memory, its rows `row_stride` bytes apart."""

    def emit(ctx, builder, sig, args):
        row = args[1]
        for r in range(tile.rows):
            for v in range(tile.vectors):
                value = builder.extract_value(args[0], r * tile.vectors + v)
                _store(builder, value, row, v * tile.lanes * 4)
            row = builder.add(row, args[2])
        return ctx.get_dummy_value()

    return types.none(tile, address, row_stride), emit


@intrinsic
def tile_prefetch(typingctx, isa, shape, address, row_stride):
    """Fetch the cache lines that a later `tile_store` writes."""

    def emit(ctx, builder, sig, args):
        row = args[2]
        for _ in range(shape.rows):
            for offset in range(0, shape.vectors * isa.isa.lanes * 4, 64):
                _prefetch(builder, builder.add(row, I64(offset)), write=True)
            row = builder.add(row, args[3])
        return ctx.get_dummy_value()

    return types.none(isa, shape, address, row_stride), emit


@intrinsic
def multiply_add(typingctx, isa, x, y, z):
    """x * y + z for vectors whose product is exact."""

    def emit(ctx, builder, sig, args):
        return _multiply_add(builder, isa.isa, *args[1:])

    return x(isa, x, y, z), emit


@intrinsic
def prefetch_line(typingctx, address):
    """Fetch one cache line for reading."""

    def emit(ctx, builder, sig, args):
        _prefetch(builder, args[0])
        return ctx.get_dummy_value()

    return types.none(address), emit


@intrinsic
def tile_fma(typingctx, isa, tile, a, a_row, b, kind):
    """tile[r, v] + a[r] * b[v]: FP32 values `a_row` bytes apart times vectors side by side.

    b is FP16 or FP32 by `kind`; halves are converted on the way into the register.
    """

    def emit(ctx, builder, sig, args):
        _, tile_value, row, a_row, b_address, _ = args
        vector = ir.VectorType(_MEMORY[kind.element], tile.lanes)
        columns = [
            _read(
                builder,
                isa.isa,
                kind,
                _load(builder, b_address, vector, v * kind.size * tile.lanes),
            )
            for v in range(tile.vectors)
        ]
        for r in range(tile.rows):
            value = _splat(builder, _load(builder, row, F32), tile.lanes)
            for v, column in enumerate(columns):
                i = r * tile.vectors + v
                acc = builder.extract_value(tile_value, i)
                acc = _multiply_add(builder, isa.isa, value, column, acc)
                tile_value = builder.insert_value(tile_value, acc, i)
            row = builder.add(row, a_row)
        return tile_value

    return tile(isa, tile, a, a_row, b, kind), emit


# ---- Single vectors: memory --------------------------------------------------------------------
@intrinsic
def lanes_of(typingctx, isa):
    """FP32 values in a vector: a constant."""
    lanes = isa.isa.lanes
    return types.int64(isa), lambda ctx, builder, sig, args: I64(lanes)


@intrinsic
def block_of(typingctx, isa):
    """Rows of a block that `transpose_words` turns: a constant."""
    rows = isa.isa.block
    return types.int64(isa), lambda ctx, builder, sig, args: I64(rows)


def _read(builder, isa, kind, bits):
    return _widen(builder, isa, bits) if kind.element == "f16" else bits


def _write(builder, isa, kind, x):
    return _narrow(builder, isa, x) if kind.element == "f16" else x


@intrinsic
def load(typingctx, isa, address, kind):
    """A vector of FP32 values from memory of this kind."""

    def emit(ctx, builder, sig, args):
        bits = _load(builder, args[1], ir.VectorType(_MEMORY[kind.element], isa.isa.lanes))
        return _read(builder, isa.isa, kind, bits)

    return VectorType("f32", isa.isa.lanes)(isa, address, kind), emit


@intrinsic
def load_part(typingctx, isa, address, count, kind):
    """A vector whose first `count` lanes come from memory of this kind; zeros after them."""

    def emit(ctx, builder, sig, args):
        _, address, count, _ = args
        bits = _load_part(builder, address, _MEMORY[kind.element], isa.isa.lanes, count)
        return _read(builder, isa.isa, kind, bits)

    return VectorType("f32", isa.isa.lanes)(isa, address, count, kind), emit


@intrinsic
def store(typingctx, isa, x, address, kind):
    """A vector of FP32 values to memory of this kind, rounded if it is FP16."""

    def emit(ctx, builder, sig, args):
        _store(builder, _write(builder, isa.isa, kind, args[1]), args[2])
        return ctx.get_dummy_value()

    return types.none(isa, x, address, kind), emit


@intrinsic
def store_part(typingctx, isa, x, address, count, kind):
    """The first `count` lanes to memory of this kind, rounded if it is FP16."""

    def emit(ctx, builder, sig, args):
        _store_part(builder, _write(builder, isa.isa, kind, args[1]), args[2], args[3])
        return ctx.get_dummy_value()

    return types.none(isa, x, address, count, kind), emit


@intrinsic
def stream(typingctx, isa, x, address, kind):
    """`store` past the caches, to an address aligned to the vector. Needs `finish_streaming`."""

    def emit(ctx, builder, sig, args):
        value = _write(builder, isa.isa, kind, args[1])
        size = isa.isa.lanes * kind.size
        # There is no streaming store of eight bytes of a vector.
        _store(builder, value, args[2], align=size, streaming=size >= 16)
        return ctx.get_dummy_value()

    return types.none(isa, x, address, kind), emit


@intrinsic
def finish_streaming(typingctx):
    """Make streamed stores visible to other threads before anything that follows."""

    def emit(ctx, builder, sig, args):
        if _is_x86(builder):
            _call(builder, "llvm.x86.sse.sfence", ir.VoidType())
        return ctx.get_dummy_value()

    return types.none(), emit


@intrinsic
def zero_bytes(typingctx, address, count):
    """Set `count` bytes to zero."""

    def emit(ctx, builder, sig, args):
        pointer = _pointer(builder, args[0], I8)
        _call(builder, "llvm.memset.p0.i64", ir.VoidType(), pointer, I8(0), args[1], BOOL(0))
        return ctx.get_dummy_value()

    return types.none(address, count), emit


@intrinsic
def copy_bytes(typingctx, target, source, count):
    """Copy `count` bytes between places that do not overlap."""

    def emit(ctx, builder, sig, args):
        to, origin = (_pointer(builder, address, I8) for address in args[:2])
        name = "llvm.memcpy.p0.p0.i64"
        _call(builder, name, ir.VoidType(), to, origin, args[2], BOOL(0))
        return ctx.get_dummy_value()

    return types.none(target, source, count), emit


@intrinsic
def load_scalar(typingctx, isa, address, kind):
    """One FP32 value from FP16 or FP32 memory."""

    def emit(ctx, builder, sig, args):
        bits = _load(builder, args[1], ir.VectorType(_MEMORY[kind.element], 1))
        return builder.extract_element(_read(builder, isa.isa, kind, bits), I32(0))

    return types.float32(isa, address, kind), emit


@intrinsic
def single_from_bits(typingctx, bits):
    """The FP32 value with these bits."""

    def emit(ctx, builder, sig, args):
        return builder.bitcast(builder.trunc(args[0], I32), F32)

    return types.float32(bits), emit


@intrinsic
def store_scalar(typingctx, isa, x, address, kind):
    """One FP32 value to FP16 (rounded) or FP32 memory."""

    def emit(ctx, builder, sig, args):
        _store(builder, _write(builder, isa.isa, kind, _splat(builder, args[1], 1)), args[2])
        return ctx.get_dummy_value()

    return types.none(isa, x, address, kind), emit


def _zip_rounds(builder, rows):
    """Transpose the 8 x 8 blocks that lie side by side in eight vectors: three rounds of zipping
    row i with row i + 4 inside 128-bit lanes, where a shuffle is cheapest."""
    width = rows[0].type.count
    zips = [
        [lane + i + other * width for lane in range(0, width, 8) for i in half for other in (0, 1)]
        for half in (range(4), range(4, 8))
    ]
    for _ in range(3):
        pairs = zip(rows[:4], rows[4:], strict=True)
        rows = [_shuffle(builder, x, y, lanes) for x, y in pairs for lanes in zips]
    return rows


@intrinsic(prefer_literal=True)
def transpose_words(typingctx, isa, blocks, source, source_stride, target, target_stride, ahead):
    """Transpose `blocks` (a literal) square blocks of 16-bit values that lie side by side.

    Reads as many rows as a block has, `source_stride` bytes apart, and writes the columns as rows
    `target_stride` bytes apart. Fetches each row's cache line `ahead` bytes on.
    """
    side, count = isa.isa.block, blocks.literal_value

    def emit(ctx, builder, sig, args):
        _, _, source_row, source_stride, target_row, target_stride, ahead = args
        vector = ir.VectorType(I16, side * count)
        groups = []
        for _ in range(side // 8):
            rows = []
            for _ in range(8):
                _prefetch(builder, builder.add(source_row, ahead))
                rows.append(_load(builder, source_row, vector))
                source_row = builder.add(source_row, source_stride)
            groups.append(_zip_rounds(builder, rows))
        if side == 16:  # eights of rows 0 - 7 beside those of rows 8 - 15, two columns a vector
            joined = [
                range(lane + part, lane + part + 8)
                for lane in range(0, side * count, 8)
                for part in (0, side * count)
            ]
            halves = [
                [lane for eight in half for lane in eight]
                for half in (joined[: 2 * count], joined[2 * count :])
            ]
            rows = [
                _shuffle(builder, x, y, half)
                for half in halves
                for x, y in zip(*groups, strict=True)
            ]
        else:
            (rows,) = groups
        columns = [target_row]
        for _ in range(side * count - 1):
            columns.append(builder.add(columns[-1], target_stride))
        for i, x in enumerate(rows):
            for part in range(x.type.count // side):
                lanes = range(part * side, (part + 1) * side)
                column = (i // 8 * (x.type.count // side) + part) * 8 + i % 8
                _store(builder, _shuffle(builder, x, x, lanes), columns[column])
        return ctx.get_dummy_value()

    # `blocks` stays a literal in the signature: by it Numba tells one variant from the other.
    return types.none(isa, blocks, source, source_stride, target, target_stride, ahead), emit


# ---- Single vectors: arithmetic ----------------------------------------------------------------
@intrinsic
def splat(typingctx, isa, x):
    """All lanes the same FP32 value."""

    def emit(ctx, builder, sig, args):
        value = ctx.cast(builder, args[1], sig.args[1], types.float32)
        return _splat(builder, value, isa.isa.lanes)

    return VectorType("f32", isa.isa.lanes)(isa, x), emit


@intrinsic
def select(typingctx, mask, x, y):
    """x where the mask is set, else y."""

    def emit(ctx, builder, sig, args):
        return builder.select(*args)

    return x(mask, x, y), emit


@intrinsic
def magnitude(typingctx, x):
    """|x|, by clearing the sign bit."""

    def emit(ctx, builder, sig, args):
        bits = builder.bitcast(args[0], ir.VectorType(I32, x.lanes))
        return builder.bitcast(builder.and_(bits, _constant(0x7FFFFFFF, x.lanes)), x.ir)

    return x(x), emit


@intrinsic
def power_of_two(typingctx, x):
    """2^x for integral FP32 x in [-126, 127], by its exponent bits."""

    def emit(ctx, builder, sig, args):
        whole = builder.fptosi(args[0], ir.VectorType(I32, x.lanes))
        biased = builder.add(whole, _constant(127, x.lanes))
        return builder.bitcast(builder.shl(biased, _constant(23, x.lanes)), x.ir)

    return x(x), emit


def _operator(function: Callable, build: Callable, result: str | None = None) -> None:
    """Make a Python operator work on two vectors of one type."""

    @infer_global(function)
    class Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], VectorType) and args[0] == args[1]:
                typ = VectorType(result, args[0].lanes) if result else args[0]
                return signature(typ, *args)
            return None

    @lower_builtin(function, VectorType, VectorType)
    def _emit(context, builder, sig, args):
        return build(builder, *args)


_operator(operator.add, lambda b, x, y: b.fadd(x, y))
_operator(operator.sub, lambda b, x, y: b.fsub(x, y))
_operator(operator.mul, lambda b, x, y: b.fmul(x, y))
_operator(operator.truediv, lambda b, x, y: b.fdiv(x, y))
_operator(operator.lt, lambda b, x, y: b.fcmp_ordered("<", x, y), "mask")
_operator(operator.ge, lambda b, x, y: b.fcmp_ordered(">=", x, y), "mask")
_operator(operator.le, lambda b, x, y: b.fcmp_ordered("<=", x, y), "mask")
_operator(operator.eq, lambda b, x, y: b.fcmp_ordered("==", x, y), "mask")


# ---- The floating-point environment ------------------------------------------------------------
def _is_x86(builder) -> bool:
    return builder.module.triple.startswith(("x86_64", "i686"))


_MXCSR_DEFAULT = 0x1F80  # all exceptions masked, round to nearest, subnormals kept


@intrinsic
def enter_default_rounding(typingctx):
    """Round to nearest and keep subnormals from here on. Returns what was set before.

    Kernels read and write memory between this and `leave_default_rounding`, which keeps LLVM
    from moving arithmetic across either.
    """

    def emit(ctx, builder, sig, args):
        slot = cgutils.alloca_once(builder, I32)
        builder.store(I32(0), slot)
        if _is_x86(builder):
            raw = builder.bitcast(slot, I8.as_pointer())
            _call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), raw)
            before = builder.load(slot)
            builder.store(I32(_MXCSR_DEFAULT), slot)
            _call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), raw)
            return before
        return builder.load(slot)

    return types.uint32(), emit


@intrinsic
def leave_default_rounding(typingctx, before):
    """Restore what `enter_default_rounding` found."""

    def emit(ctx, builder, sig, args):
        if _is_x86(builder):
            slot = cgutils.alloca_once_value(builder, args[0])
            raw = builder.bitcast(slot, I8.as_pointer())
            _call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), raw)
        return ctx.get_dummy_value()

    return types.none(before), emit
