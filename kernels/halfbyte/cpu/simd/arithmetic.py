# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on vectors: lane by lane, and all lanes into one."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin

from halfbyte.cpu.simd import emit
from halfbyte.cpu.simd.types import I32, VectorType

if TYPE_CHECKING:
    from collections.abc import Callable

SCALARS = {"f32": types.float32, "f64": types.float64, "i32": types.int32}


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
        return emit.fold(builder, emit.add, args[0])

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
def root(typingctx, x):
    """The square root, correctly rounded."""

    def codegen(context, builder, signature, args):
        return emit.root(builder, *args)

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


# ---- Operators ---------------------------------------------------------------------------------
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
_operator(operator.mul, _by_element("fmul", "mul"))
_operator(operator.truediv, lambda builder, x, y: builder.fdiv(x, y))
# Ordered: false where x or y is NaN, like Python's.
_operator(operator.lt, lambda builder, x, y: builder.fcmp_ordered("<", x, y), "mask")
_operator(operator.le, lambda builder, x, y: builder.fcmp_ordered("<=", x, y), "mask")
_operator(operator.gt, lambda builder, x, y: builder.fcmp_ordered(">", x, y), "mask")
_operator(operator.ge, lambda builder, x, y: builder.fcmp_ordered(">=", x, y), "mask")
_operator(operator.eq, lambda builder, x, y: builder.fcmp_ordered("==", x, y), "mask")
