# SPDX-License-Identifier: Apache-2.0
"""Single values and runs of bytes, to and from memory."""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from halfbyte.cpu.simd import emit
from halfbyte.cpu.simd.types import BOOL, F32, F64, I8, I32, I64


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
def load_byte(typingctx, address):
    """One unsigned byte."""

    def codegen(context, builder, signature, args):
        return builder.zext(emit.load(builder, args[0], I8), I64)

    return types.int64(address), codegen


@intrinsic
def store_byte(typingctx, x, address):
    """The low 8 bits of an int64 to memory."""

    def codegen(context, builder, signature, args):
        emit.store(builder, builder.trunc(args[0], I8), args[1])
        return context.get_dummy_value()

    return types.none(types.int64, address), codegen


@intrinsic
def load_integer(typingctx, address):
    """One signed integer of 32 bits."""

    def codegen(context, builder, signature, args):
        return builder.sext(emit.load(builder, args[0], I32), I64)

    return types.int64(address), codegen


@intrinsic
def store_integer(typingctx, x, address):
    """The low 32 bits of an int64 to memory."""

    def codegen(context, builder, signature, args):
        emit.store(builder, builder.trunc(args[0], I32), args[1])
        return context.get_dummy_value()

    return types.none(types.int64, address), codegen


@intrinsic
def copy_element(typingctx, isa, target, source, kind):
    """Copy one value of this kind as it is."""

    def codegen(context, builder, signature, args):
        _, target, source, _ = args
        emit.limit_registers(builder, isa.isa)
        emit.store(builder, emit.load(builder, source, kind.ir(1)), target)
        return context.get_dummy_value()

    return types.none(isa, target, source, kind), codegen


@intrinsic
def clear_upper_nibble(typingctx, isa, address):
    """Keep the lower nibble of one byte."""

    def codegen(context, builder, signature, args):
        _, address = args
        emit.limit_registers(builder, isa.isa)
        byte = emit.load(builder, address, I8)
        emit.store(builder, builder.and_(byte, I8(15)), address)
        return context.get_dummy_value()

    return types.none(isa, address), codegen


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
