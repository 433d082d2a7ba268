# SPDX-License-Identifier: Apache-2.0
"""What several intrinsics emit: small functions from LLVM values to LLVM values.

`builder` appends instructions to the code being compiled. Addresses and counts are int64 values,
vectors are FP32 unless they are said to be bits. `isa` is an Isa, `kind` a KindType.
"""

from llvmlite import ir
from numba.core import cgutils

from halfbyte.cpu.simd.types import F16, F32, I8, I16, I32, I64


# ---- Constants and calls -----------------------------------------------------------------------
def known(value):
    """The `codegen` of an intrinsic whose int64 result is known when its call is compiled."""
    return lambda context, builder, signature, args: I64(value)


def constant(value, lanes, element=I32):
    """A vector with the same number in all lanes."""
    return ir.Constant(ir.VectorType(element, lanes), [value] * lanes)


def call(builder, name, result, *arguments):
    """Call a function that LLVM provides (`llvm....`), declaring it first if need be."""
    typ = ir.FunctionType(result, [x.type for x in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, typ, name), arguments)


def _suffix(vector):
    """How LLVM's function names spell a vector type: v8f32."""
    return f"v{vector.count}{vector.element.intrinsic_name}"


# ---- Lanes -------------------------------------------------------------------------------------
def shuffle(builder, x, y, lanes):
    """A vector of the lanes of x and y with these numbers; y's go on where x's end."""
    mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
    return builder.shuffle_vector(x, y, mask)


def splat(builder, scalar, lanes):
    """The same value in all lanes: put into lane 0 of anything, then lane 0 everywhere."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    return shuffle(builder, first, undefined, [0] * lanes)


def first_lanes(builder, count, lanes):
    """Mask of the first `count` of `lanes` lanes."""
    index = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
    return builder.icmp_signed("<", index, splat(builder, builder.trunc(count, I32), lanes))


# ---- Memory ------------------------------------------------------------------------------------
def pointer(builder, address, pointee):
    return builder.inttoptr(address, pointee.as_pointer())


def load(builder, address, typ, offset=0):
    """A value of this LLVM type, `offset` bytes (a number) after an address of any alignment."""
    if offset:
        address = builder.add(address, I64(offset))
    loaded = builder.load(pointer(builder, address, typ))
    loaded.align = 1
    return loaded


def store(builder, value, address, offset=0, *, align=1, streaming=False):
    """To memory; past the caches if `streaming`."""
    if offset:
        address = builder.add(address, I64(offset))
    stored = builder.store(value, pointer(builder, address, value.type))
    stored.align = align
    if streaming:
        stored.set_metadata("nontemporal", builder.module.add_metadata([I32(1)]))


def load_part(builder, address, vector, count):
    """The first `count` lanes of a vector of this LLVM type, zeros in the others."""
    return call(
        builder,
        f"llvm.masked.load.{_suffix(vector)}.p0",
        vector,
        pointer(builder, address, vector),
        I32(1),  # alignment
        first_lanes(builder, count, vector.count),
        ir.Constant(vector, None),
    )


def store_part(builder, value, address, count):
    """The first `count` lanes to memory."""
    call(
        builder,
        f"llvm.masked.store.{_suffix(value.type)}.p0",
        ir.VoidType(),
        value,
        pointer(builder, address, value.type),
        I32(1),  # alignment
        first_lanes(builder, count, value.type.count),
    )


def prefetch(builder, address, *, write=False):
    """Fetch the cache line at this address, which need not be valid, to read or to write it."""
    purpose, into_all_levels, data = I32(1 if write else 0), I32(3), I32(1)
    at = pointer(builder, address, I8)
    call(builder, "llvm.prefetch.p0", ir.VoidType(), at, purpose, into_all_levels, data)


# ---- FP16 --------------------------------------------------------------------------------------
def decode(builder, isa, kind, x):
    """What memory of this kind holds to FP32."""
    return widen(builder, isa, x) if kind.element == "f16" else x


def encode(builder, isa, kind, x):
    """FP32 to what memory of this kind holds."""
    return narrow(builder, isa, x) if kind.element == "f16" else x


def widen(builder, isa, bits):
    """Bits of halves (a vector of i16) to FP32, exactly."""
    lanes = bits.type.count
    single = ir.VectorType(F32, lanes)
    if isa.f16c:
        return builder.fpext(builder.bitcast(bits, ir.VectorType(F16, lanes)), single)
    # Place exponent and mantissa where FP32 has them, scale by 2^112 (exact, subnormals become
    # normal), then repair the exponent of inf and NaN.
    word = ir.VectorType(I32, lanes)
    whole = builder.zext(bits, word)
    magnitude = builder.shl(builder.and_(whole, constant(0x7FFF, lanes)), constant(13, lanes))
    sign = builder.shl(builder.and_(whole, constant(0x8000, lanes)), constant(16, lanes))
    scaled = builder.fmul(builder.bitcast(magnitude, single), constant(2.0**112, lanes, F32))
    special = builder.icmp_signed(">=", magnitude, constant(0x0F800000, lanes))
    saturated = builder.or_(magnitude, constant(0x7F800000, lanes))
    chosen = builder.select(special, saturated, builder.bitcast(scaled, word))
    return builder.bitcast(builder.or_(chosen, sign), single)


def narrow(builder, isa, x):
    """FP32 to bits of halves, rounding to nearest, ties to even."""
    lanes = x.type.count
    halfword = ir.VectorType(I16, lanes)
    if isa.f16c:
        return builder.bitcast(builder.fptrunc(x, ir.VectorType(F16, lanes)), halfword)
    # Normal halves: rebias the exponent and add just under half a unit, one more if odd.
    # Subnormal ones: adding 0.5 lets the FPU round at the right bit.
    word, single = ir.VectorType(I32, lanes), ir.VectorType(F32, lanes)

    def const(value):
        return constant(value, lanes)

    bits = builder.bitcast(x, word)
    magnitude = builder.and_(bits, const(0x7FFFFFFF))
    sign = builder.lshr(builder.and_(bits, const(-0x80000000)), const(16))
    odd = builder.and_(builder.lshr(magnitude, const(13)), const(1))
    rebias = builder.add(magnitude, const(((15 - 127) << 23) + 0xFFF))
    normal = builder.lshr(builder.add(rebias, odd), const(13))
    shifted = builder.fadd(builder.bitcast(magnitude, single), constant(0.5, lanes, F32))
    subnormal = builder.sub(builder.bitcast(shifted, word), const(0x3F000000))
    is_nan = builder.icmp_signed(">", magnitude, const(0x7F800000))
    special = builder.select(is_nan, const(0x7E00), const(0x7C00))
    is_subnormal = builder.icmp_signed("<", magnitude, const((127 - 14) << 23))  # below 2^-14
    finite = builder.select(is_subnormal, subnormal, normal)
    overflow = builder.icmp_signed(">=", magnitude, const((127 + 16) << 23))  # 2^16 and beyond
    return builder.trunc(builder.or_(builder.select(overflow, special, finite), sign), halfword)


# ---- Arithmetic --------------------------------------------------------------------------------
def multiply_add(builder, isa, x, y, z):
    """x * y + z, where the product is exact (rule 1): with or without FMA the same value."""
    if isa.fma:
        return call(builder, f"llvm.fma.{_suffix(x.type)}", x.type, x, y, z)
    return builder.fadd(builder.fmul(x, y), z)
