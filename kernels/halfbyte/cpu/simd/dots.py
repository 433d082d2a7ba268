# SPDX-License-Identifier: Apache-2.0
"""Register tiles of integer sums: products of bytes, exact on every instruction set.

A lane is a column of b. What it multiplies in a step is what 32 bits hold, of b (unsigned) and of a
row of a (signed, broadcast):

    four bytes each, VNNI         vpdpbusd                  acc += u0 s0 + u1 s1 + u2 s2 + u3 s3
    two 16-bit integers each      pmaddwd, paddd            acc += w0 v0 + w1 v1
    four bytes each, to pairs     pmaddubsw, paddw          16-bit sums of two products each, added
                                                            to acc now and then (pmaddwd by ones)

pmaddubsw saturates at 16 bits, so the third is for u so small that it cannot: 15 for eight steps
(8 * 2 * 15 * 128 = 30720), 128 for one (2 * 128 * 128 = 32768, reached only below zero).

How b lies in memory, for 64 columns side by side:

    kind            a dword of one column                      a unit of k, in 256 bytes
    BYTE            u[0], u[1], u[2], u[3]                     4
    NIBBLE          u[i] + 16 u[i + 4] in byte i               8
    WORD            16 bits each: u[0], u[2] or u[1], u[3]     2: two dwords for each of BYTE's
    SMALL_BYTE      as BYTE, no u above 128                    4
    NIBBLE_BYTE     as BYTE, no u above 15                     4

The low bytes of 16-bit pieces are u[0], u[2], the high ones u[1], u[3]: so a BYTE splits into
WORDs by a mask and a shift, and a's 16-bit integers lie in the order 0, 2, 1, 3.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from halfbyte.cpu.simd import emit
from halfbyte.cpu.simd.tiles import tile_of
from halfbyte.cpu.simd.types import BITS, F32, I8, I16, I32, I64, KindType, ShapeType, TileType

# Units after which 16-bit sums have to be added to 32-bit ones. Those of SMALL_BYTE are at once.
_PAIR_UNITS = {"i4": 4, "n8": 8}


def _in_pairs(isa, kind) -> bool:
    return isa.pairs and kind.element in _PAIR_UNITS


def _splits(isa, kind) -> bool:
    """Whether bytes of b become 16-bit integers in the registers, as a's are then."""
    of_bytes = isa.vnni or _in_pairs(isa, kind) or kind.element == "s8"
    return kind.element != "i16" and not of_bytes


@intrinsic
def shared_shape(typingctx, shape, scales):
    """The shape, or where there are scales (not None) one half as wide or less: integer and FP32
    sums then share the registers."""
    result = shape if scales == types.none else ShapeType(shape.rows, min(shape.vectors, 2))
    return result(
        shape, scales
    ), lambda context, builder, signature, args: context.get_dummy_value()


@intrinsic
def pair_units(typingctx, isa, kind):
    """How many units of this kind 16-bit sums hold; 0 if there are none of those: a constant."""
    count = _PAIR_UNITS[kind.element] if _in_pairs(isa.isa, kind) else 0
    return types.int64(isa, kind), emit.known(count)


@intrinsic
def multiplies_words(typingctx, isa, bits):
    """Whether a has to be 16-bit integers for b of so many bits: 8, or fewer, which pairs hold."""

    def codegen(context, builder, signature, args):
        if isa.isa.vnni or not isa.isa.pairs:
            return ir.Constant(ir.IntType(1), not isa.isa.vnni)
        return builder.icmp_signed("==", args[1], I64(8))

    return types.boolean(isa, bits), codegen


@intrinsic
def expanded_kind(typingctx, isa, kind):
    """What panels of BYTE, NIBBLE or SMALL_BYTE become for many rows."""
    of_pairs = {"i4": "n8", "s8": "s8"} if isa.isa.pairs else {}
    result = KindType(of_pairs.get(kind.element, "i8" if isa.isa.vnni else "i16"))
    return result(isa, kind), lambda context, builder, signature, args: context.get_dummy_value()


@intrinsic
def kind_of_small(typingctx, isa):
    """What bytes of up to 128 are to an Isa: SMALL_BYTE, or BYTE like others."""
    kind = KindType("s8" if isa.isa.pairs else "i8")
    return kind(isa), lambda context, builder, signature, args: context.get_dummy_value()


@intrinsic
def a_bytes(typingctx, isa, kind):
    """Bytes of a row of a that belong to a unit of b: a constant."""
    steps = {"i4": 2}.get(kind.element, 1)
    if _splits(isa.isa, kind):
        steps *= 2
    return types.int64(isa, kind), emit.known(4 * steps)


def split(builder, x, kind):
    """Dwords of nibbles to bytes, the low and the high ones; or of bytes to 16-bit integers, 0 and
    2, then 1 and 3."""
    word = x.type if kind.element == "i4" else ir.VectorType(I16, 2 * x.type.count)
    count, element = word.count, word.element
    shift, mask = (4, 0x0F0F0F0F) if kind.element == "i4" else (8, 0xFF)
    x, typ = builder.bitcast(x, word), x.type
    upper = builder.lshr(x, emit.constant(shift, count, element))
    mask = emit.constant(mask, count, element)
    low, high = builder.and_(x, mask), builder.and_(upper, mask)
    return builder.bitcast(low, typ), builder.bitcast(high, typ)


def _steps(builder, isa, kind, x):
    """What a loaded unit of b means, one vector of operands for each dword of a."""
    steps = split(builder, x, kind) if kind.element == "i4" else (x,)
    if _splits(isa, kind):
        byte = KindType("i8")
        steps = [half for step in steps for half in split(builder, step, byte)]
    return steps


def multiply_words(builder, x, y):
    """pmaddwd: products of 16-bit integers, neighbours added up. Vectors of 32 bits."""
    lanes = x.type.count
    wide = ir.VectorType(I32, 2 * lanes)
    halves = ir.VectorType(I16, 2 * lanes)
    x, y = (builder.sext(builder.bitcast(v, halves), wide) for v in (x, y))
    product = builder.mul(x, y)
    even = emit.shuffle(builder, product, product, range(0, 2 * lanes, 2))
    odd = emit.shuffle(builder, product, product, range(1, 2 * lanes, 2))
    return builder.add(even, odd)


def _multiply_bytes_to_pairs(builder, u, s):
    """pmaddubsw: unsigned times signed bytes, neighbours added up, to 16 bits."""
    lanes = u.type.count
    byte, word = ir.VectorType(I8, 4 * lanes), ir.VectorType(I16, 2 * lanes)
    name = {8: "avx2.pmadd.ub.sw", 16: "avx512.pmaddubs.w.512"}[lanes]
    u, s = builder.bitcast(u, byte), builder.bitcast(s, byte)
    return emit.call(builder, f"llvm.x86.{name}", word, u, s)


def _multiply_bytes(builder, acc, u, s):
    """vpdpbusd: unsigned times signed bytes, four at a time."""
    name = f"llvm.x86.avx512.vpdpbusd.{32 * u.type.count}"
    return emit.call(builder, name, acc.type, acc, u, s)


@intrinsic
def tile_dot(typingctx, isa, tile, a, a_row, b, kind):
    """tile[r, v] + the products of a[r] and b[v], a unit of k.

    a: rows `a_row` bytes apart, bytes or, where the Isa multiplies them, 16-bit integers.
    """
    typ = tile

    def codegen(context, builder, signature, args):
        _, acc, a_at, a_row, b_at, _ = args
        target = isa.isa
        if (typ.element == "i16") != _in_pairs(target, kind):
            return acc  # of the two loops over units the one that LLVM removes
        columns = [
            _steps(
                builder, target, kind, emit.load(builder, b_at, ir.VectorType(I32, typ.lanes), v)
            )
            for v in range(0, 4 * typ.lanes * typ.vectors, 4 * typ.lanes)
        ]
        for r in range(typ.rows):
            # A product, not a sum of sums: these are the same in all of a loop.
            a_row_at = builder.add(a_at, builder.mul(a_row, I64(r))) if r else a_at
            for step in range(len(columns[0])):
                row = emit.splat(builder, emit.load(builder, a_row_at, I32, 4 * step), typ.lanes)
                for v, column in enumerate(columns):
                    i = r * typ.vectors + v
                    before = builder.extract_value(acc, i)
                    if typ.element == "i16":
                        pairs = _multiply_bytes_to_pairs(builder, column[step], row)
                        after = builder.add(before, pairs)
                    elif kind.element == "s8":
                        pairs = _multiply_bytes_to_pairs(builder, column[step], row)
                        ones = emit.constant(0x00010001, typ.lanes)
                        sums = multiply_words(builder, builder.bitcast(pairs, ones.type), ones)
                        after = builder.add(before, sums)
                    elif target.vnni:
                        after = _multiply_bytes(builder, before, column[step], row)
                    else:
                        after = builder.add(before, multiply_words(builder, column[step], row))
                    acc = builder.insert_value(acc, after, i)
        return acc

    return tile(isa, tile, a, a_row, b, kind), codegen


@intrinsic
def tile_add_pairs(typingctx, tile, pairs):
    """tile + the sums of each two 16-bit sums."""
    typ = tile

    def codegen(context, builder, signature, args):
        acc, pairs = args
        ones = emit.constant(0x00010001, typ.lanes)
        for i in range(typ.rows * typ.vectors):
            part = builder.bitcast(builder.extract_value(pairs, i), typ.vector)
            total = multiply_words(builder, part, ones)
            acc = builder.insert_value(acc, builder.add(builder.extract_value(acc, i), total), i)
        return acc

    return tile(tile, pairs), codegen


@intrinsic
def tile_spread(typingctx, isa, shape, address, row_stride):
    """A tile of BITS whose rows are an integer each, `row_stride` bytes apart."""
    tile = tile_of(isa, shape, BITS._numba_type_)

    def codegen(context, builder, signature, args):
        _, _, row, row_stride = args
        value = ir.Constant(tile.ir, ir.Undefined)
        for r in range(tile.rows):
            vector = emit.splat(builder, emit.load(builder, row, I32), tile.lanes)
            for v in range(tile.vectors):
                value = builder.insert_value(value, vector, r * tile.vectors + v)
            row = builder.add(row, row_stride)
        return value

    return tile(isa, shape, address, row_stride), codegen


@intrinsic
def tile_add_outer(typingctx, tile, rows, row_stride, columns):
    """tile[r, v] + rows[r] * columns[v], integers that may wrap around."""
    typ = tile

    def codegen(context, builder, signature, args):
        acc, row, row_stride, columns = args
        factors = [
            emit.load(builder, columns, typ.vector, 4 * v * typ.lanes) for v in range(typ.vectors)
        ]
        for r in range(typ.rows):
            value = emit.splat(builder, emit.load(builder, row, I32), typ.lanes)
            for v, factor in enumerate(factors):
                i = r * typ.vectors + v
                after = builder.add(builder.extract_value(acc, i), builder.mul(value, factor))
                acc = builder.insert_value(acc, after, i)
            row = builder.add(row, row_stride)
        return acc

    return tile(tile, rows, row_stride, columns), codegen


@intrinsic
def tile_add_scaled(typingctx, sums, tile, scales):
    """sums[r, v] + float32(tile[r, v]) * scales[v], each step rounded."""
    typ = sums

    def codegen(context, builder, signature, args):
        sums, tile, scales = args
        factors = [
            emit.load(builder, scales, typ.vector, 4 * v * typ.lanes) for v in range(typ.vectors)
        ]
        for i in range(typ.rows * typ.vectors):
            x = builder.extract_value(tile, i)
            if x.type != typ.vector:
                x = builder.sitofp(x, typ.vector)
            x = builder.fmul(x, factors[i % typ.vectors])
            sums = builder.insert_value(sums, builder.fadd(builder.extract_value(sums, i), x), i)
        return sums

    return sums(sums, tile, scales), codegen


@intrinsic
def tile_scale(typingctx, isa, tile, rows, scales, bias):
    """float32(tile[r, v]) * rows[r] * scales[v] + bias[v], each step rounded: a tile of SINGLE."""
    typ = TileType(tile.rows, tile.vectors, tile.lanes)

    def codegen(context, builder, signature, args):
        _, tile, row, scales, bias = args
        columns = [
            [emit.load(builder, at, typ.vector, 4 * v * typ.lanes) for at in (scales, bias)]
            for v in range(typ.vectors)
        ]
        result = ir.Constant(typ.ir, ir.Undefined)
        for r in range(typ.rows):
            own = emit.splat(builder, emit.load(builder, row, F32, 4 * r), typ.lanes)
            for v, (scale, addend) in enumerate(columns):
                i = r * typ.vectors + v
                x = builder.extract_value(tile, i)
                if x.type != typ.vector:
                    x = builder.sitofp(x, typ.vector)
                x = builder.fadd(builder.fmul(builder.fmul(x, own), scale), addend)
                result = builder.insert_value(result, x, i)
        return result

    return typ(isa, tile, rows, scales, bias), codegen
