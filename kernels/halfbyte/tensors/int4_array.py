# SPDX-License-Identifier: Apache-2.0
"""INT4 integers, two a byte."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import Array, describe_dtype, on_device, require_dtype
from halfbyte.devices import on_host
from halfbyte.quantized import (
    I8,
    U8,
    check_codes,
    check_flag,
    check_shape,
    code_dtype,
    code_range,
    values_shape,
)
from halfbyte.tensors import library, nibbles
from halfbyte.tensors.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable


class Int4Array(Frozen):
    """An array of 4-bit integers, two a byte along the last axis.

    Element 2i lies in the low nibble of byte i and element 2i + 1 in the high one (the order of
    ONNX and DLPack); a row of odd length ends with a high nibble of 0. `pack` makes one of plain
    integers; the constructor takes bytes that are packed already, without a copy.

    Parameters
    ----------
    packed : uint8 array, shape (..., ceil(k / 2))
        Any strides, in the CPU's memory or on the current GPU.
    shape : tuple of int
        (..., k).
    signed : bool
        Whether a nibble stands for -8 .. 7 in two's complement, or for 0 .. 15.

    Raises
    ------
    TypeError
        Another kind of argument or another dtype.
    ValueError
        The shapes do not fit, or the last nibble of an odd row is not 0.

    Examples
    --------
    >>> x = Int4Array.pack(np.array([[1, -2, 3]], np.int8))
    >>> x
    Int4Array(signed, shape=(1, 3), 2 bytes)
    >>> x.packed
    array([[225,   3]], dtype=uint8)
    >>> x.unpack()
    array([[ 1, -2,  3]], dtype=int8)
    """

    __slots__ = ("packed", "shape", "signed")
    __hash__ = None  # type: ignore[assignment]  # the bytes may change

    packed: Any
    shape: tuple[int, ...]
    signed: bool

    def __init__(self, packed: Any, shape: tuple[int, ...], signed: bool = True) -> None:
        name = "Int4Array"
        (seen,), home = library.device_views(name, packed=packed)
        require_dtype(name, "packed", seen, (U8,))
        shape = check_shape(name, shape)
        signed = check_flag(name, "signed", signed)
        nibbles.check_packed(name, "packed", seen, shape)
        self._fill(packed=library.of(home, seen), shape=shape, signed=signed)

    @classmethod
    def pack(cls, values: Any, signed: bool = True) -> Int4Array:
        """Pack integers.

        Parameters
        ----------
        values : int8 or uint8 array, or int4 or uint4 array of ml_dtypes, shape (..., k)
            Any strides.
        signed : bool
            Whether they lie in -8 .. 7 or in 0 .. 15. An int4 array is signed, a uint4 one is not.

        Returns
        -------
        Int4Array

        Raises
        ------
        TypeError
            Another kind of argument or another dtype.
        ValueError
            A value out of range, or no dimension.
        """
        name = "Int4Array.pack"
        (seen,), home = library.device_views(name, values=values)
        signed = check_flag(name, "signed", signed)
        small = nibbles.is_int4(seen.dtype)
        if not small and seen.dtype not in (I8, U8):
            msg = f"{name}: values has dtype {describe_dtype(seen.dtype)}; need int8 or uint8"
            raise TypeError(msg)
        if small and signed != (seen.dtype.name == "int4"):
            msg = f"{name}: values has dtype {seen.dtype}; need signed={not signed}"
            raise TypeError(msg)
        if not seen.ndim:
            msg = f"{name}: values has shape (); need one dimension or more"
            raise ValueError(msg)
        if not small:
            check_codes(name, "values", seen, *code_range(4, signed, narrow=False))
        return cls._trusted(library.of(home, _packed(seen)), seen.shape, signed)

    @classmethod
    def _trusted(cls, packed: Any, shape: tuple[int, ...], signed: bool) -> Int4Array:
        """Make one of parts that are known to fit."""
        self = cls.__new__(cls)
        self._fill(packed=packed, shape=shape, signed=signed)
        return self

    def unpack(self) -> Any:
        """Return the integers as an int8 array, uint8 if unsigned."""
        return library.of(library.library_of(self.packed), self._codes())

    def _codes(self) -> Any:
        seen = library.device_view(self.packed)
        if on_device(seen):
            from halfbyte.cuda import int4

            return int4.unpack(seen, self.shape, code_dtype(self.signed))
        return nibbles.unpack(seen, self.shape, self.signed)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return math.prod(values_shape(self.shape, 4))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if on_device(library.device_view(self.packed)):
            msg = "Int4Array: packed is on a GPU; need an explicit copy of x.unpack()"
            raise TypeError(msg)
        return library.answer("Int4Array", self._codes, dtype, copy)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Int4Array):
            return NotImplemented
        if self.signed != other.signed or self.shape != other.shape:
            return False
        return np.array_equal(*(on_host(library.device_view(x.packed)) for x in (self, other)))

    def __repr__(self) -> str:
        sign = "signed" if self.signed else "unsigned"
        return f"Int4Array({sign}, shape={self.shape}, {self.nbytes} bytes)"

    def __reduce__(self) -> tuple[Callable[..., Int4Array], tuple[Any, ...]]:
        if on_device(self.packed) and library.device_view(self.packed) is self.packed:
            # CuPy pickles an array in its own order only, and copies it by a kernel.
            return _uploaded, (on_host(self.packed), self.shape, self.signed)
        return Int4Array, (self.packed, self.shape, self.signed)


def _uploaded(packed: Array, shape: tuple[int, ...], signed: bool) -> Int4Array:
    """Make one on the current GPU of an array in the CPU's memory."""
    from halfbyte.cuda import runtime

    return Int4Array._trusted(runtime.upload(packed), shape, signed)


def _packed(codes: Any) -> Any:
    """Return codes two a byte, where they are."""
    if on_device(codes):
        from halfbyte.cuda import int4

        return int4.pack(codes)
    return nibbles.pack(codes)
