# SPDX-License-Identifier: Apache-2.0
"""One vector, or one value, at a time: memory and arithmetic.

A vector has as many lanes as the Isa says. What values are in memory, and then in registers, their
kind says.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin

from halfbyte.cpu.simd import emit
from halfbyte.cpu.simd.types import BOOL, F32, F64, I8, I32, I64, VectorType

if TYPE_CHECKING:
    from collections.abc import Callable

SCALARS = {"f32": types.float32, "f64": types.float64, "i32": types.int32}


STREAM_ALIGN = int(__import__("os").environ.get("SA", "16"))


@intrinsic(prefer_literal=True)
def widened(typingctx, isa, lanes):
    """An Isa of the same instructions for vectors of so many lanes, a literal."""

    def codegen(context, builder, signature, args):
        return context.get_dummy_value()

    return isa.isa.with_lanes(lanes.literal_value)._numba_type_(isa, lanes), codegen


@intrinsic
def lanes_of(typingctx, isa):
    """FP32 values in a vector: a constant."""
    return types.int64(isa), emit.known(isa.isa.lanes)


@intrinsic
def kind_bytes(typingctx, kind):
    """Bytes of a value of this kind: a constant."""
    return types.int64(kind), emit.known(kind.size)


# ---- Memory: vectors ---------------------------------------------------------------------------
@intrinsic
def load(typingctx, isa, address, kind):
    """A vector from memory of this kind."""

    def codegen(context, builder, signature, args):
        _, address, _ = args
        stored = emit.load(builder, address, kind.ir(isa.isa.lanes))
        return emit.decode(builder, isa.isa, kind, stored)

    return VectorType(kind.register, isa.isa.lanes)(isa, address, kind), codegen


@intrinsic
def load_part(typingctx, isa, address, count, kind):
    """A vector whose first `count` lanes come from memory of this kind; zeros after them."""

    def codegen(context, builder, signature, args):
        _, address, count, _ = args
        stored = emit.load_part(builder, address, kind.ir(isa.isa.lanes), count)
        return emit.decode(builder, isa.isa, kind, stored)

    return VectorType("f32", isa.isa.lanes)(isa, address, count, kind), codegen


@intrinsic
def store(typingctx, isa, x, address, kind):
    """A vector to memory of this kind, rounded if it is FP16."""

    def codegen(context, builder, signature, args):
        _, x, address, _ = args
        emit.store(builder, emit.encode(builder, isa.isa, kind, x), address)
        return context.get_dummy_value()

    return types.none(isa, x, address, kind), codegen


@intrinsic
def store_part(typingctx, isa, x, address, count, kind):
    """The first `count` lanes to memory of this kind, rounded if it is FP16."""

    def codegen(context, builder, signature, args):
        _, x, address, count, _ = args
        emit.store_part(builder, emit.encode(builder, isa.isa, kind, x), address, count)
        return context.get_dummy_value()

    return types.none(isa, x, address, count, kind), codegen


@intrinsic
def stream(typingctx, isa, x, address, kind):
    """`store` past the caches, to an address aligned to 16 bytes. Needs `finish_streaming`."""

    def codegen(context, builder, signature, args):
        _, x, address, _ = args
        emit.stream(builder, emit.encode(builder, isa.isa, kind, x), address, STREAM_ALIGN)
        return context.get_dummy_value()

    return types.none(isa, x, address, kind), codegen


@intrinsic
def prefetch_line(typingctx, address):
    """Fetch one cache line for reading."""

    def codegen(context, builder, signature, args):
        emit.prefetch(builder, *args)
        return context.get_dummy_value()

    return types.none(address), codegen


# ---- Memory: single values and bytes -----------------------------------------------------------
@intrinsic
def load_scalar(typingctx, isa, address, kind):
    """One FP32 value from memory of this kind."""

    def codegen(context, builder, signature, args):
        _, address, _ = args
        stored = emit.load(builder, address, kind.ir(1))
        return builder.extract_element(emit.decode(builder, isa.isa, kind, stored), I32(0))

    return types.float32(isa, address, kind), codegen


@intrinsic
def store_scalar(typingctx, isa, x, address, kind):
    """One FP32 value to memory of this kind, rounded if it is FP16."""

    def codegen(context, builder, signature, args):
        _, x, address, _ = args
        one_lane = emit.splat(builder, x, 1)
        emit.store(builder, emit.encode(builder, isa.isa, kind, one_lane), address)
        return context.get_dummy_value()

    return types.none(isa, x, address, kind), codegen


@intrinsic
def load_double(typingctx, address):
    """One FP64 value."""

    def codegen(context, builder, signature, args):
        return emit.load(builder, args[0], F64)

    return types.float64(address), codegen


@intrinsic
def store_double(typingctx, x, address):
    """One FP64 value to memory."""

    def codegen(context, builder, signature, args):
        emit.store(builder, *args)
        return context.get_dummy_value()

    return types.none(x, address), codegen


@intrinsic
def copy_element(typingctx, target, source, kind):
    """Copy one value of this kind as it is."""

    def codegen(context, builder, signature, args):
        target, source, _ = args
        emit.store(builder, emit.load(builder, source, kind.ir(1)), target)
        return context.get_dummy_value()

    return types.none(target, source, kind), codegen


@intrinsic
def clear_upper_nibble(typingctx, address):
    """Keep the lower nibble of one byte."""

    def codegen(context, builder, signature, args):
        byte = emit.load(builder, args[0], I8)
        emit.store(builder, builder.and_(byte, I8(15)), args[0])
        return context.get_dummy_value()

    return types.none(address), codegen


@intrinsic
def bytes_of(typingctx, kind, count):
    """Bytes that `count` values of this kind take, a started one included."""

    def codegen(context, builder, signature, args):
        return builder.ashr(builder.add(builder.mul(args[1], I64(kind.bits)), I64(7)), I64(3))

    return types.int64(kind, count), codegen


@intrinsic
def single_from_bits(typingctx, bits):
    """The FP32 value with these bits: the low 32 of an int64."""

    def codegen(context, builder, signature, args):
        (bits,) = args
        return builder.bitcast(builder.trunc(bits, I32), F32)

    return types.float32(bits), codegen


@intrinsic
def zero_bytes(typingctx, address, count):
    """Set `count` bytes to zero."""

    def codegen(context, builder, signature, args):
        address, count = args
        to, volatile = emit.pointer(builder, address, I8), BOOL(0)
        emit.call(builder, "llvm.memset.p0.i64", ir.VoidType(), to, I8(0), count, volatile)
        return context.get_dummy_value()

    return types.none(address, count), codegen


@intrinsic
def copy_bytes(typingctx, target, source, count):
    """Copy `count` bytes between places that do not overlap."""

    def codegen(context, builder, signature, args):
        target, source, count = args
        to, origin = emit.pointer(builder, target, I8), emit.pointer(builder, source, I8)
        volatile = BOOL(0)
        emit.call(builder, "llvm.memcpy.p0.p0.i64", ir.VoidType(), to, origin, count, volatile)
        return context.get_dummy_value()

    return types.none(target, source, count), codegen


# ---- Arithmetic --------------------------------------------------------------------------------
@intrinsic
def splat(typingctx, isa, x):
    """All lanes the same FP32 value. A Python float, which is FP64 to Numba, is rounded."""

    def codegen(context, builder, signature, args):
        value = context.cast(builder, args[1], signature.args[1], types.float32)
        return emit.splat(builder, value, isa.isa.lanes)

    return VectorType("f32", isa.isa.lanes)(isa, x), codegen


@intrinsic
def splat_integer(typingctx, isa, x):
    """All lanes the same integer, the low 32 bits of an int64."""

    def codegen(context, builder, signature, args):
        return emit.splat(builder, builder.trunc(args[1], I32), isa.isa.lanes)

    return VectorType("i32", isa.isa.lanes)(isa, x), codegen


@intrinsic
def zeros(typingctx, isa, kind):
    """What registers hold of this kind, all lanes zero."""
    vector = VectorType(kind.register, isa.isa.lanes)

    def codegen(context, builder, signature, args):
        return ir.Constant(vector.ir, None)

    return vector(isa, kind), codegen


@intrinsic
def multiply_add(typingctx, isa, x, y, z):
    """x * y + z for vectors whose product is exact."""

    def codegen(context, builder, signature, args):
        _, x, y, z = args
        return emit.multiply_add(builder, isa.isa, x, y, z)

    return x(isa, x, y, z), codegen


@intrinsic
def select(typingctx, mask, x, y):
    """x where the mask is set, else y."""

    def codegen(context, builder, signature, args):
        return builder.select(*args)

    return x(mask, x, y), codegen


@intrinsic
def smaller(typingctx, x, y):
    """The smaller of each pair of lanes; y where either is NaN."""

    def codegen(context, builder, signature, args):
        return emit.smaller(builder, *args)

    return x(x, y), codegen


@intrinsic
def larger(typingctx, x, y):
    """The larger of each pair of lanes; y where either is NaN."""

    def codegen(context, builder, signature, args):
        return emit.larger(builder, *args)

    return x(x, y), codegen


@intrinsic
def smallest(typingctx, x):
    """The smallest lane, as a scalar."""

    def codegen(context, builder, signature, args):
        return emit.fold(builder, emit.smaller, args[0])

    return SCALARS[x.element](x), codegen


@intrinsic
def largest(typingctx, x):
    """The largest lane, as a scalar."""

    def codegen(context, builder, signature, args):
        return emit.fold(builder, emit.larger, args[0])

    return SCALARS[x.element](x), codegen


@intrinsic
def total(typingctx, x):
    """The sum of all lanes, as a scalar: halves onto each other, in that order."""

    def codegen(context, builder, signature, args):
        return emit.fold(builder, lambda builder, x, y: builder.fadd(x, y), args[0])

    return SCALARS[x.element](x), codegen


@intrinsic
def bits(typingctx, x):
    """The bits of FP32 lanes as integers."""
    vector = VectorType("i32", x.lanes)

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], vector.ir)

    return vector(x), codegen


@intrinsic
def singles(typingctx, x):
    """Integers to FP32."""
    vector = VectorType("f32", x.lanes)

    def codegen(context, builder, signature, args):
        return builder.sitofp(args[0], vector.ir)

    return vector(x), codegen


@intrinsic
def doubles(typingctx, x):
    """FP32 to FP64, exactly."""
    vector = VectorType("f64", x.lanes)

    def codegen(context, builder, signature, args):
        return builder.fpext(args[0], vector.ir)

    return vector(x), codegen


@intrinsic
def magnitude(typingctx, x):
    """|x|, by clearing the sign bit."""
    vector, lanes = x.ir, x.lanes

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], ir.VectorType(I32, lanes))
        return builder.bitcast(builder.and_(bits, emit.constant(0x7FFFFFFF, lanes)), vector)

    return x(x), codegen


@intrinsic
def power_of_two(typingctx, x):
    """2^x for integral FP32 x in [-126, 127], by its exponent bits."""
    vector, lanes = x.ir, x.lanes

    def codegen(context, builder, signature, args):
        whole = builder.fptosi(args[0], ir.VectorType(I32, lanes))
        biased = builder.add(whole, emit.constant(127, lanes))
        return builder.bitcast(builder.shl(biased, emit.constant(23, lanes)), vector)

    return x(x), codegen


def _operator(function: Callable, build: Callable, result: str | None = None) -> None:
    """Make a Python operator work on two vectors of one type: tell Numba the type of the result
    (`result` names its element if it is another), then what to emit."""

    @infer_global(function)
    class Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], VectorType) and args[0] == args[1]:
                typ = VectorType(result, args[0].lanes) if result else args[0]
                return typ(*args)
            return None

    @lower_builtin(function, VectorType, VectorType)
    def codegen(context, builder, signature, args):
        return build(builder, *args)


def _by_element(of_floats: str, of_integers: str) -> Callable:
    """The builder's method of the one name for vectors of floats, of the other for integers."""

    def build(builder, x, y):
        return getattr(builder, of_floats if emit.is_float(x) else of_integers)(x, y)

    return build


_operator(operator.add, _by_element("fadd", "add"))
_operator(operator.sub, _by_element("fsub", "sub"))
_operator(operator.xor, lambda builder, x, y: builder.xor(x, y))
_operator(operator.and_, lambda builder, x, y: builder.and_(x, y))
_operator(operator.mul, lambda builder, x, y: builder.fmul(x, y))
_operator(operator.truediv, lambda builder, x, y: builder.fdiv(x, y))
# Ordered: false where x or y is NaN, like Python's.
_operator(operator.lt, lambda builder, x, y: builder.fcmp_ordered("<", x, y), "mask")
_operator(operator.le, lambda builder, x, y: builder.fcmp_ordered("<=", x, y), "mask")
_operator(operator.gt, lambda builder, x, y: builder.fcmp_ordered(">", x, y), "mask")
_operator(operator.ge, lambda builder, x, y: builder.fcmp_ordered(">=", x, y), "mask")
_operator(operator.eq, lambda builder, x, y: builder.fcmp_ordered("==", x, y), "mask")
