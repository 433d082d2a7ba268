# SPDX-License-Identifier: Apache-2.0
"""One vector, or one value, at a time: memory and arithmetic.

A vector has as many lanes as the Isa says. Values are FP32 in registers and FP16 or FP32, by
their kind, in memory.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin

from halfbyte.cpu.simd import emit
from halfbyte.cpu.simd.types import BOOL, F32, I8, I32, VectorType

if TYPE_CHECKING:
    from collections.abc import Callable


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
    """A vector of FP32 values from memory of this kind."""

    def codegen(context, builder, signature, args):
        _, address, _ = args
        stored = emit.load(builder, address, kind.ir(isa.isa.lanes))
        return emit.decode(builder, isa.isa, kind, stored)

    return VectorType("f32", isa.isa.lanes)(isa, address, kind), codegen


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
    """A vector of FP32 values to memory of this kind, rounded if it is FP16."""

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
    """`store` past the caches, to an address aligned to the vector. Needs `finish_streaming`."""
    size = isa.isa.lanes * kind.size

    def codegen(context, builder, signature, args):
        _, x, address, _ = args
        value = emit.encode(builder, isa.isa, kind, x)
        # There is no streaming store of eight bytes of a vector.
        emit.store(builder, value, address, align=size, streaming=size >= 16)
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


_operator(operator.add, lambda builder, x, y: builder.fadd(x, y))
_operator(operator.sub, lambda builder, x, y: builder.fsub(x, y))
_operator(operator.mul, lambda builder, x, y: builder.fmul(x, y))
_operator(operator.truediv, lambda builder, x, y: builder.fdiv(x, y))
# Ordered: false where x or y is NaN, like Python's.
_operator(operator.lt, lambda builder, x, y: builder.fcmp_ordered("<", x, y), "mask")
_operator(operator.le, lambda builder, x, y: builder.fcmp_ordered("<=", x, y), "mask")
_operator(operator.ge, lambda builder, x, y: builder.fcmp_ordered(">=", x, y), "mask")
_operator(operator.eq, lambda builder, x, y: builder.fcmp_ordered("==", x, y), "mask")
