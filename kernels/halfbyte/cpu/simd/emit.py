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
    """An address as a pointer.

    LLVM splits sums of integers into a pointer and an offset when it generates a function's code,
    any summand as the pointer, and Numba has it optimize that once more in each caller. Where that
    summand turns out to be 0 there, memory "behind null" would make it drop code as unreachable.
    """
    set.add(builder.function.attributes, "null_pointer_is_valid")  # llvmlite's add knows few
    return builder.inttoptr(address, pointee.as_pointer())


def load(builder, address, typ, offset=0):
    """A value of this LLVM type, `offset` bytes (a number) after an address of any alignment."""
    if offset:
        address = builder.add(address, I64(offset))
    loaded = builder.load(pointer(builder, address, typ))
    loaded.align = 1
    return loaded


def store(builder, value, address, offset=0):
    """To memory, at an address of any alignment."""
    if offset:
        address = builder.add(address, I64(offset))
    builder.store(value, pointer(builder, address, value.type)).align = 1


def stream(builder, value, address, align):
    """To memory past the caches, at an aligned address, by pieces of `align` bytes: LLVM makes a
    streaming store only of what is aligned to its size and has a register's size."""
    element = int(value.type.element.intrinsic_name[1:]) // 8  # f32: 4
    lanes = min(value.type.count, align // element)
    size = lanes * element
    once = builder.module.add_metadata([I32(1)])
    for first in range(0, value.type.count, lanes):
        piece = shuffle(builder, value, value, range(first, first + lanes))
        at = builder.add(address, I64(first * element))
        stored = builder.store(piece, pointer(builder, at, piece.type))
        stored.align = size
        if size >= 16:
            stored.set_metadata("nontemporal", once)


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


def limit_registers(builder, isa):
    """Tell LLVM how wide a register may be where vectors are wider (`widened`): left alone, it
    takes the widest of its target, which HALFBYTE_ISA may have ruled out."""
    limit = f'"prefer-vector-width"="{isa.register_bits}" "min-legal-vector-width"="0"'
    set.add(builder.function.attributes, limit)  # llvmlite's own add knows few


# ---- Between memory and registers --------------------------------------------------------------
def decode(builder, isa, kind, x):
    """What memory of this kind holds to what registers hold."""
    limit_registers(builder, isa)
    if kind.element == "f16":
        return widen(builder, isa, x)
    if kind.element == "i32":
        return builder.sitofp(x, ir.VectorType(F32, x.type.count))
    if kind.element == "i8":
        return builder.zext(x, ir.VectorType(I32, x.type.count))
    if kind.element == "i4":
        # Each byte to 16 bits, its upper nibble moved up to the second byte.
        lanes = 2 * x.type.count
        pair = builder.zext(x, ir.VectorType(I16, x.type.count))
        moved = builder.or_(pair, builder.shl(pair, constant(4, x.type.count, I16)))
        nibbles = builder.and_(moved, constant(0x0F0F, x.type.count, I16))
        codes = builder.bitcast(nibbles, ir.VectorType(I8, lanes))
        return builder.zext(codes, ir.VectorType(I32, lanes))
    return x


def encode(builder, isa, kind, x):
    """What registers hold to what memory of this kind holds. Codes lose their upper bits."""
    limit_registers(builder, isa)
    if kind.element == "f16":
        return narrow(builder, isa, x)
    if kind.element == "i8":
        return builder.trunc(x, ir.VectorType(I8, x.type.count))
    if kind.element == "i4":
        count = x.type.count // 2
        codes = builder.trunc(x, ir.VectorType(I8, x.type.count))
        pair = builder.bitcast(codes, ir.VectorType(I16, count))
        low = builder.and_(pair, constant(0x0F, count, I16))
        high = builder.and_(builder.lshr(pair, constant(4, count, I16)), constant(0xF0, count, I16))
        return builder.trunc(builder.or_(low, high), ir.VectorType(I8, count))
    return x


# ---- FP16 --------------------------------------------------------------------------------------


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
def is_float(x):
    """Whether a vector holds floating point numbers."""
    return isinstance(x.type.element, (ir.FloatType, ir.DoubleType))


def smaller(builder, x, y):
    """The smaller of each pair of lanes; y where either is NaN."""
    less = builder.fcmp_ordered if is_float(x) else builder.icmp_signed
    return builder.select(less("<", x, y), x, y)


def larger(builder, x, y):
    """The larger of each pair of lanes; y where either is NaN."""
    more = builder.fcmp_ordered if is_float(x) else builder.icmp_signed
    return builder.select(more(">", x, y), x, y)


def add(builder, x, y):
    return builder.fadd(x, y) if is_float(x) else builder.add(x, y)


def fold(builder, combine, x):
    """All lanes into one, the upper half onto the lower one until one is left: the same order on
    every instruction set."""
    while x.type.count > 1:
        half = x.type.count // 2
        x = combine(
            builder,
            shuffle(builder, x, x, range(half)),
            shuffle(builder, x, x, range(half, 2 * half)),
        )
    return builder.extract_element(x, I32(0))


def root(builder, x):
    return call(builder, f"llvm.sqrt.{_suffix(x.type)}", x.type, x)


def multiply_add(builder, isa, x, y, z):
    """x * y + z, where the product is exact (rule 1): with or without FMA the same value."""
    if isa.fma:
        return call(builder, f"llvm.fma.{_suffix(x.type)}", x.type, x, y, z)
    return builder.fadd(builder.fmul(x, y), z)
