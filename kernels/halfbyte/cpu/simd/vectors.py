# SPDX-License-Identifier: Apache-2.0
"""Vectors to and from memory.

A vector has as many lanes as the Isa says. What values are in memory, and then in registers, their
kind says.
"""

from numba.core import types
from numba.extending import intrinsic

from halfbyte.cpu.simd import emit
from halfbyte.cpu.simd.types import VectorType

# Arrays are aligned to 16 bytes, seldom to more: streamed stores are cut into pieces of so many.
# Why not whole vectors where they are aligned: no difference (Zen 5).
STREAM_ALIGN = 16


@intrinsic(prefer_literal=True)
def widened(typingctx, isa, lanes):
    """An Isa of the same instructions for vectors of so many lanes, a literal."""

    def codegen(context, builder, signature, args):
        emit.limit_registers(builder, isa.isa)
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

    return VectorType(kind.register, isa.isa.lanes)(isa, address, count, kind), codegen


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
