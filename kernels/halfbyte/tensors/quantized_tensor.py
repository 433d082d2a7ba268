# SPDX-License-Identifier: Apache-2.0
"""Integer codes with their scales and zero points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import F32, Array, is_numpy, on_device, require_dtype
from halfbyte.devices import beside, on_host
from halfbyte.quantized import (
    I32,
    U8,
    check_axis,
    check_bits,
    check_codes,
    check_flag,
    check_group_size,
    check_scale,
    check_shape,
    check_zero_point,
    code_dtype,
    code_range,
    is_integer,
    scale_shape,
    values_shape,
)
from halfbyte.tensors import library, nibbles
from halfbyte.tensors.frozen import Frozen
from halfbyte.tensors.int4_array import Int4Array

if TYPE_CHECKING:
    from collections.abc import Callable


_NAME = "QuantizedTensor"


class QuantizedTensor(Frozen):
    """An array of codes that stands for ``(code - zero_point) * scale``; made by `quantize`.

    The attributes cannot be set; the arrays can be written to, as ``quantize(out=q)`` does. Two are
    equal where everything they hold is, bit by bit, on a GPU or not. ``np.asarray(q)`` dequantizes,
    and so ``np.save`` writes float32 numbers: it is the parts that keep the codes, or a pickle.

    Parameters
    ----------
    values : int8 array (uint8 if unsigned) of `shape`; for 4 bits see below
        Any strides, no copy. 4 bits: two codes a byte as in `Int4Array`, uint8 of shape
        shape[:-1] + (ceil(shape[-1] / 2),); or an Int4Array; or an int4 or uint4 array of
        ml_dtypes, which is packed.
    scale : float32 array, or Python float
        Positive and finite. Shape () for one scale, (shape[axis],) for one a channel,
        shape[:-1] + (ceil(shape[-1] / group_size),) for one a group. A float is rounded to float32.
    zero_point : integer array, or int, optional
        In the range of codes, with the shape of `scale`; held as int32. None is symmetric.
    bits : {8, 4, 3, 2}
        Width of a code. Codes of 2 and 3 bits lie one in a byte.
    axis : int, optional
        The axis whose entries have scales of their own.
    group_size : int, optional
        How many neighbours along the last axis share a scale; the last group may be shorter.
    signed : bool
        Unsigned codes need a zero point.
    shape : tuple of int, optional
        Needed with packed bytes only, which do not tell whether the last length is odd.

    Attributes
    ----------
    values, scale, zero_point, bits, axis, group_size, signed, shape
        As above, `axis` counted from the first. The arrays are of the caller's library.
    nbytes : int
        Bytes held, scales and zero points included.

    Raises
    ------
    TypeError
        Another kind of argument, another dtype, or arrays of two libraries.
    ValueError
        Shapes do not fit; a scale, zero point or code out of its range.

    Examples
    --------
    >>> q = QuantizedTensor(np.array([[1, -2, 3]], np.int8), 0.5)
    >>> q
    QuantizedTensor(8 bits, signed, symmetric, shape=(1, 3), per tensor, 7 bytes)
    >>> q.dequantize()
    array([[ 0.5, -1. ,  1.5]], dtype=float32)

    Saved to a file of NumPy's and loaded again:

    >>> import io
    >>> file, arrays = io.BytesIO(), ("values", "scale", "zero_point")
    >>> parts = {name: getattr(q, name) for name in QuantizedTensor.__slots__}
    >>> np.savez(file, **{name: part for name, part in parts.items() if part is not None})
    >>> loaded = np.load(io.BytesIO(file.getvalue()))
    >>> q == QuantizedTensor(**{k: x if k in arrays else x.tolist() for k, x in loaded.items()})
    True
    """

    __slots__ = (
        "axis", "bits", "group_size", "scale", "shape", "signed", "values", "zero_point",
    )  # fmt: skip
    __hash__ = None  # type: ignore[assignment]  # the arrays may change
    _INSTEAD = ": q.dequantize() or q.values; only linear multiplies by q itself"

    values: Any
    scale: Any
    zero_point: Any
    bits: int
    axis: int | None
    group_size: int | None
    signed: bool
    shape: tuple[int, ...]

    def __init__(
        self,
        values: Any,
        scale: Any,
        zero_point: Any = None,
        *,
        bits: int = 8,
        axis: int | None = None,
        group_size: int | None = None,
        signed: bool = True,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        bits = check_bits(_NAME, bits)
        signed = check_flag(_NAME, "signed", signed)
        known = None
        if isinstance(values, Int4Array):
            _check_int4(values.signed, bits, signed)
            values, known = values.packed, values.shape
        arrays = {"values": values}
        # Numbers belong to no library.
        if not isinstance(scale, (float, int, np.generic)):
            arrays["scale"] = scale
        if zero_point is not None and not is_integer(zero_point):
            arrays["zero_point"] = zero_point
        views, home = library.device_views(_NAME, **arrays)
        seen = {"scale": scale, "zero_point": zero_point, **dict(zip(arrays, views, strict=True))}
        codes, shape = _checked_values(seen["values"], known, bits, signed, shape)
        axis = check_axis(_NAME, axis, len(shape))
        group_size = check_group_size(_NAME, group_size, axis, len(shape))
        need = scale_shape(shape, axis, group_size)
        scale = check_scale(_NAME, "scale", seen["scale"], need)
        qmin, qmax = code_range(bits, signed, narrow=False)
        if zero_point is not None:
            zero_point = check_zero_point(_NAME, "zero_point", seen["zero_point"], need, qmin, qmax)
            zero_point = library.of(home, _held(codes, zero_point, I32))
        elif not signed:
            msg = f"{_NAME}: signed is False and zero_point is None; need a zero_point"
            raise ValueError(msg)
        if bits < 4:
            check_codes(_NAME, "values", codes, qmin, qmax)
        values, scale = library.of(home, codes), library.of(home, _held(codes, scale, F32))
        self._set_all(values, scale, zero_point, bits, axis, group_size, signed, shape)

    @classmethod
    def _trusted(
        cls, values: Any, scale: Any, zero_point: Any, bits: int, axis: int | None,
        group_size: int | None, signed: bool, shape: tuple[int, ...],
    ) -> QuantizedTensor:  # fmt: skip
        """Make one of parts that are known to fit: arrays of one library, axis not negative."""
        self = cls.__new__(cls)
        self._set_all(values, scale, zero_point, bits, axis, group_size, signed, shape)
        return self

    def _set_all(
        self, values: Any, scale: Any, zero_point: Any, bits: int, axis: int | None,
        group_size: int | None, signed: bool, shape: tuple[int, ...],
    ) -> None:  # fmt: skip
        self._fill(
            values=values,
            scale=scale,
            zero_point=zero_point,
            bits=bits,
            axis=axis,
            group_size=group_size,
            signed=signed,
            shape=shape,
        )

    def dequantize(self, *, dtype: Any = np.float32, out: Any = None) -> Any:
        """Return ``(code - zero_point) * scale``, as `halfbyte.dequantize` does."""
        from halfbyte import dequantize

        return dequantize(self, dtype=dtype, out=out)

    @property
    def nbytes(self) -> int:
        """Bytes held, scales and zero points included."""
        scales = math.prod(scale_shape(self.shape, self.axis, self.group_size))
        per_scale = F32.itemsize + (0 if self.zero_point is None else I32.itemsize)
        return math.prod(values_shape(self.shape, self.bits)) + scales * per_scale

    def _parts(self) -> tuple[Any, Any, Any]:
        """Return values, scale and zero_point, as CuPy arrays on a GPU, else as NumPy arrays."""
        zero_point = None if self.zero_point is None else library.device_view(self.zero_point)
        return library.device_view(self.values), library.device_view(self.scale), zero_point

    def _numpy(self) -> tuple[Array, Array, Array | None]:
        """Return values, scale and zero_point as NumPy arrays of the same memory."""
        zero_point = None if self.zero_point is None else library.view(self.zero_point)
        return library.view(self.values), library.view(self.scale), zero_point

    def _in_numpy(self) -> QuantizedTensor:
        """Return the same tensor holding NumPy arrays."""
        if is_numpy(self.values):
            return self
        return QuantizedTensor._trusted(*self._numpy(), *self._arguments())

    def _codes(self) -> Array:
        """Return the codes one in a byte, as a NumPy array of `shape`."""
        values = library.view(self.values)
        return nibbles.unpack(values, self.shape, self.signed) if self.bits == 4 else values

    def _arguments(self) -> tuple[Any, ...]:
        return (self.bits, self.axis, self.group_size, self.signed, self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if on_device(library.device_view(self.values)):
            msg = f"{_NAME}: values are on a GPU; need an explicit copy of q.dequantize()"
            raise TypeError(msg)
        return library.answer(_NAME, self.dequantize, dtype, copy)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QuantizedTensor):
            return NotImplemented
        if self._arguments() != other._arguments():
            return False
        values, scale, zero_point = map(on_host, self._parts())
        values2, scale2, zero_point2 = map(on_host, other._parts())
        if zero_point is None or zero_point2 is None:
            same = zero_point is zero_point2
        else:
            same = np.array_equal(zero_point, zero_point2)
        bits, bits2 = scale.view(np.uint32), scale2.view(np.uint32)
        return same and np.array_equal(bits, bits2) and np.array_equal(values, values2)

    def __repr__(self) -> str:
        sign = "signed" if self.signed else "unsigned"
        kind = "symmetric" if self.zero_point is None else "affine"
        scales = "per tensor"
        if self.axis is not None:
            scales = f"axis={self.axis}"
        elif self.group_size is not None:
            scales = f"group_size={self.group_size}"
        text = f"{self.bits} bits, {sign}, {kind}, shape={self.shape}, {scales}"
        return f"{_NAME}({text}, {self.nbytes} bytes)"

    def __reduce__(self) -> tuple[Callable[..., QuantizedTensor], tuple[Any, ...]]:
        parts = (self.values, self.scale, self.zero_point)
        if on_device(self.values) and library.device_view(self.values) is self.values:
            # Not by CuPy, which compiles a kernel to make an array without dimensions.
            return _uploaded, (*map(on_host, parts), *self._arguments())
        return _rebuilt, (*parts, *self._arguments())


def _rebuilt(
    values: Any, scale: Any, zero_point: Any, bits: int, axis: int | None,
    group_size: int | None, signed: bool, shape: tuple[int, ...],
) -> QuantizedTensor:  # fmt: skip
    """Make a tensor from a pickle, which is checked as any argument is."""
    return QuantizedTensor(
        values, scale, zero_point,
        bits=bits, axis=axis, group_size=group_size, signed=signed, shape=shape,
    )  # fmt: skip


def _uploaded(values: Any, scale: Any, zero_point: Any, *arguments: Any) -> QuantizedTensor:
    """Make a tensor on the current GPU from a pickle of one on a GPU."""
    from halfbyte.cuda import runtime

    if zero_point is not None:
        zero_point = runtime.upload(zero_point)
    return _rebuilt(runtime.upload(values), runtime.upload(scale), zero_point, *arguments)


def _held(codes: Any, value: Any, dtype: np.dtype[Any]) -> Any:
    """Return a scale or zero point as it is kept beside codes: on a GPU where they are."""
    return beside(codes, value, dtype) if on_device(codes) else value


def _check_int4(values_signed: bool, bits: int, signed: bool) -> None:
    if bits != 4:
        msg = f"{_NAME}: values are of 4 bits and bits is {bits}; need bits=4"
        raise ValueError(msg)
    if values_signed != signed:
        kinds = "signed" if values_signed else "unsigned"
        msg = f"{_NAME}: values are {kinds} and signed is {signed}; need signed={values_signed}"
        raise TypeError(msg)


def _checked_values(
    values: Array, known: tuple[int, ...] | None, bits: int, signed: bool, shape: Any
) -> tuple[Array, tuple[int, ...]]:
    """Return the array of codes, packed if of 4 bits, and the shape it stands for.

    known is that shape where `values` told it.
    """
    if nibbles.is_int4(values.dtype):
        _check_int4(values.dtype.name == "int4", bits, signed)
        known = values.shape
    else:
        require_dtype(_NAME, "values", values, (U8 if bits == 4 else code_dtype(signed),))
        if bits != 4:
            known = values.shape
    if bits == 4 and not values.ndim:
        msg = f"{_NAME}: values has shape (); need one dimension or more for 4 bits"
        raise ValueError(msg)
    if shape is not None:
        shape = check_shape(_NAME, shape)
        if known is not None and shape != known:
            msg = f"{_NAME}: shape is {shape}; need {known}, the shape of values"
            raise ValueError(msg)
    elif known is None:
        k = 2 * values.shape[-1]
        msg = f"{_NAME}: values are packed bytes and shape is None; need it, for its last size may"
        raise ValueError(f"{msg} be {k - 1} or {k}" if k else f"{msg} not be known")
    else:
        shape = known
    if nibbles.is_int4(values.dtype):
        values = nibbles.pack(values)
    elif bits == 4:
        nibbles.check_packed(_NAME, "values", values, shape)
    return values, shape
