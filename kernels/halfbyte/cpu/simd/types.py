# SPDX-License-Identifier: Apache-2.0
"""The Numba types of vectors, tiles, shapes and kinds of memory, and what LLVM holds for each.

A Numba type with another name is another type, for which callers are compiled once more: so a
name holds everything that the emitted code depends on.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.core.imputils import lower_constant
from numba.extending import NativeValue, models, register_model, unbox

# LLVM's scalar types. Called with a number, an integer type makes a constant: I64(8).
BOOL, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F16, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()


class VectorType(types.Type):
    """`lanes` values side by side: 'f32', 'f64', 'i32', or 'mask' (what a comparison gives).

    As wide as a register, or as several: LLVM splits it.
    """

    def __init__(self, element: str, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(name=f"Vector({element} x {lanes})")

    @property
    def ir(self) -> ir.VectorType:
        elements = {"f32": F32, "f64": F64, "i32": I32, "mask": BOOL}
        return ir.VectorType(elements[self.element], self.lanes)


class TileType(types.Type):
    """rows x vectors registers of 'f32' or 'i32' sums, or of 'i16' ones, two in each lane."""

    def __init__(self, rows: int, vectors: int, lanes: int, element: str = "f32") -> None:
        self.rows, self.vectors, self.lanes, self.element = rows, vectors, lanes, element
        super().__init__(name=f"Tile({element}, {rows} x {vectors} x {lanes})")

    @property
    def vector(self) -> ir.VectorType:
        if self.element == "i16":
            return ir.VectorType(I16, 2 * self.lanes)
        return ir.VectorType(I32 if self.element == "i32" else F32, self.lanes)

    @property
    def ir(self) -> ir.ArrayType:
        """Row by row: vector v of row r has the index r * vectors + v."""
        return ir.ArrayType(self.vector, self.rows * self.vectors)


class ShapeType(types.Type):
    """The size of a tile; holds nothing at run time."""

    def __init__(self, rows: int, vectors: int) -> None:
        self.rows, self.vectors = rows, vectors
        super().__init__(name=f"Shape({rows} x {vectors})")


class KindType(types.Type):
    """What values are in memory; holds nothing at run time.

    'f16', 'f32' and 'i32' are FP32 in registers, 'f64' is itself. 'i8' and 'i4' are codes: integers
    of the two sizes, i32 in registers; of two 4-bit ones that share a byte, the first is low.
    'w32' are 32 bits of anything. What the others mean, `dots.py` says.
    """

    def __init__(self, element: str) -> None:
        self.element = element
        self.bits = int(element[1:])
        super().__init__(name=f"Kind({element})")

    @property
    def size(self) -> int:
        """Bytes of a value."""
        return self.bits // 8

    @property
    def register(self) -> str:
        """What a vector of them holds in registers."""
        return {"f64": "f64", "i8": "i32", "i4": "i32", "w32": "i32"}.get(self.element, "f32")

    def ir(self, lanes: int) -> ir.VectorType:
        """What is loaded and stored. Halves are bits here: not every CPU has registers of them."""
        if self.element == "i4":
            return ir.VectorType(I8, lanes // 2)
        elements = {"f16": I16, "f32": F32, "f64": F64, "i32": I32, "w32": I32, "i8": I8}
        return ir.VectorType(elements[self.element], lanes)


class Kind:
    """A value of a KindType, for kernels to name. Numba asks it for its type by this attribute."""

    def __init__(self, element: str) -> None:
        self._numba_type_ = KindType(element)


HALF, SINGLE, DOUBLE, INTEGER = Kind("f16"), Kind("f32"), Kind("f64"), Kind("i32")
BYTE, NIBBLE = Kind("i8"), Kind("i4")
WORD, SMALL_BYTE, NIBBLE_BYTE, BITS = Kind("i16"), Kind("s8"), Kind("n8"), Kind("w32")


# A Numba type's data model says which LLVM type its values have.
@register_model(VectorType)
@register_model(TileType)
class _InRegisters(models.PrimitiveModel):
    def __init__(self, manager, typ) -> None:
        super().__init__(manager, typ, typ.ir)


@register_model(ShapeType)
@register_model(KindType)
class _Nothing(models.OpaqueModel):
    """A null pointer that nobody reads: LLVM removes it."""


@unbox(KindType)
def _unbox_kind(typ, obj, c):
    return NativeValue(c.context.get_dummy_value())


@lower_constant(KindType)
def _lower_kind(context, builder, typ, value):
    """Kinds are global variables to a kernel, which Numba compiles in as constants."""
    return context.get_dummy_value()
