# SPDX-License-Identifier: Apache-2.0
"""What a thread has set outside its vectors: the rounding mode, and stores that are on their way.

On x86 a register called MXCSR says how FP32 arithmetic rounds and whether subnormals count as
zero; a caller may have changed either. Elsewhere these intrinsics do nothing.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from halfbyte.cpu.simd import emit
from halfbyte.cpu.simd.types import I8, I32

_MXCSR_DEFAULT = 0x1F80  # all exceptions masked, round to nearest, subnormals kept


def _is_x86(builder) -> bool:
    return builder.module.triple.startswith(("x86_64", "i686"))


@intrinsic
def enter_default_rounding(typingctx):
    """Round to nearest and keep subnormals from here on. Returns what was set before.

    Kernels read and write memory between this and `leave_default_rounding`, which keeps LLVM
    from moving arithmetic across either.
    """

    def codegen(context, builder, signature, args):
        # MXCSR is stored to and loaded from memory only.
        slot = cgutils.alloca_once(builder, I32)
        builder.store(I32(0), slot)
        if _is_x86(builder):
            at = builder.bitcast(slot, I8.as_pointer())
            emit.call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), at)
            before = builder.load(slot)
            builder.store(I32(_MXCSR_DEFAULT), slot)
            emit.call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), at)
            return before
        return builder.load(slot)

    return types.uint32(), codegen


@intrinsic
def leave_default_rounding(typingctx, before):
    """Restore what `enter_default_rounding` found."""

    def codegen(context, builder, signature, args):
        if _is_x86(builder):
            slot = cgutils.alloca_once_value(builder, args[0])
            at = builder.bitcast(slot, I8.as_pointer())
            emit.call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), at)
        return context.get_dummy_value()

    return types.none(before), codegen


@intrinsic
def finish_streaming(typingctx):
    """Make streamed stores visible to other threads before anything that follows."""

    def codegen(context, builder, signature, args):
        if _is_x86(builder):
            emit.call(builder, "llvm.x86.sse.sfence", ir.VoidType())
        return context.get_dummy_value()

    return types.none(), codegen
