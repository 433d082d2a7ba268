# SPDX-License-Identifier: Apache-2.0
"""What codes, scales and zero points may be: ranges, shapes and checks that several modules share.

Floats are judged by their bits, so that a subnormal scale is positive in any floating-point mode.
Values on a GPU are not looked at: that would wait for it.
"""

from __future__ import annotations

import numbers
from typing import Any, NamedTuple

import numpy as np

from halfbyte.arrays import (
    F32,
    REFUSED,
    Array,
    describe_dtype,
    kind_of,
    on_device,
    require_dtype,
    single_bits,
)

I8 = np.dtype(np.int8)
U8 = np.dtype(np.uint8)
I32 = np.dtype(np.int32)

BITS = (2, 3, 4, 8)

_INFINITY = 0x7F800000  # bits of float32 inf; those of NaNs and negative numbers are above


class Codes(NamedTuple):
    """Integers of an operand."""

    array: Array  # int8 or uint8; of 4 bits packed bytes, two codes along the last axis
    bits: int  # 8 or 4
    signed: bool


class QuantizedRows(NamedTuple):
    """A QuantizedTensor as the input of a layer: rows by k, what belongs to a row contiguous."""

    codes: Codes
    scale: Array  # float32, (rows,)
    zero_point: Array | None  # int32, (rows,)


class Requantization(NamedTuple):
    """How a layer's result becomes codes."""

    scale: int  # a float32's bits
    zero_point: int  # 0 where there is none
    qmin: int
    qmax: int


class Scheme(NamedTuple):
    """How an array is quantized, but for the scales themselves."""

    bits: int
    axis: int | None  # not negative
    group_size: int | None
    qmin: int
    qmax: int
    symmetric: bool = True


def code_range(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """Return the least and the greatest code; narrow leaves out the least of a signed range."""
    if not signed:
        return 0, 2**bits - 1
    half = 2 ** (bits - 1)
    return narrow - half, half - 1


def code_dtype(signed: bool) -> np.dtype[Any]:
    """Dtype that holds one code an element."""
    return I8 if signed else U8


def values_shape(shape: tuple[int, ...], bits: int) -> tuple[int, ...]:
    """Shape of the array of codes: two 4-bit codes share a byte along the last axis."""
    return (*shape[:-1], -(-shape[-1] // 2)) if bits == 4 else shape


def scale_shape(
    shape: tuple[int, ...], axis: int | None, group_size: int | None
) -> tuple[int, ...]:
    """Shape of the scales (and zero points): one for all, one a channel, or one a group."""
    if axis is not None:
        return (shape[axis],)
    if group_size is not None:
        return (*shape[:-1], -(-shape[-1] // group_size))
    return ()


def is_integer(x: object) -> bool:
    """Whether x is an integer, Python's or NumPy's; a bool is none."""
    return type(x) is int or (isinstance(x, numbers.Integral) and not isinstance(x, bool))


def check_bits(function: str, bits: Any) -> int:
    """Return the width of a code as an int."""
    if not is_integer(bits):
        msg = f"{function}: bits is a {kind_of(bits)}; need 2, 3, 4 or 8"
        raise TypeError(msg)
    if bits not in BITS:
        msg = f"{function}: bits is {bits}; need 2, 3, 4 or 8"
        raise ValueError(msg)
    return int(bits)


def check_axis(function: str, axis: Any, ndim: int) -> int | None:
    """Return the axis counted from the first, or None."""
    if axis is None:
        return None
    if not is_integer(axis):
        msg = f"{function}: axis is a {kind_of(axis)}; need an integer or None"
        raise TypeError(msg)
    if not -ndim <= axis < ndim:
        need = f"-{ndim} <= axis < {ndim}" if ndim else "None for an array without dimensions"
        msg = f"{function}: axis is {axis}; need {need}"
        raise ValueError(msg)
    return int(axis) % ndim


def check_group_size(function: str, group_size: Any, axis: int | None, ndim: int) -> int | None:
    """Return the number of elements that share a scale along the last axis, or None."""
    if group_size is None:
        return None
    if not is_integer(group_size):
        msg = f"{function}: group_size is a {kind_of(group_size)}; need an integer or None"
        raise TypeError(msg)
    if group_size < 1:
        msg = f"{function}: group_size is {group_size}; need 1 or more"
        raise ValueError(msg)
    if axis is not None:
        msg = f"{function}: axis is {axis} and group_size is {group_size}; need one of them"
        raise ValueError(msg)
    if not ndim:
        msg = f"{function}: group_size is {group_size} and there is no last axis; need None"
        raise ValueError(msg)
    return int(group_size)


def check_shape(function: str, shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple of ints."""
    if not isinstance(shape, (tuple, list)) or not all(map(is_integer, shape)):
        msg = f"{function}: shape is {shape!r}; need a tuple of integers"
        raise TypeError(msg)
    if any(size < 0 for size in shape):
        msg = f"{function}: shape is {shape}; need sizes of 0 or more"
        raise ValueError(msg)
    return tuple(map(int, shape))


def check_flag(function: str, name: str, value: Any) -> bool:
    """Return what is true or not as a bool."""
    if not isinstance(value, (bool, np.bool)):
        msg = f"{function}: {name} is a {kind_of(value)}; need True or False"
        raise TypeError(msg)
    return bool(value)


def check_choice(function: str, name: str, choice: Any, choices: tuple[str | None, ...]) -> None:
    """Raise unless the argument is one of these words (or None)."""
    if not isinstance(choice, str) and not (choice is None and None in choices):
        msg = f"{function}: {name} is a {kind_of(choice)}; need one of {choices}"
        raise TypeError(msg)
    if choice not in choices:
        msg = f"{function}: {name} is {choice!r}; need one of {choices}"
        raise ValueError(msg)


def checked_range(
    function: str, bits: int, signed: bool, narrow_range: Any, *, narrow: bool
) -> tuple[int, int]:
    """Return the range of codes; `narrow` is what a narrow_range of None means."""
    if narrow_range is not None:
        narrow = check_flag(function, "narrow_range", narrow_range)
        if narrow and not signed:
            msg = f"{function}: narrow_range is True and signed is False; need a signed range"
            raise ValueError(msg)
    return code_range(bits, signed, narrow)


def check_codes(function: str, name: str, codes: Array, qmin: int, qmax: int) -> None:
    """Raise ValueError that names the first code out of range."""
    if on_device(codes):
        return
    if not codes.ndim and qmin <= int(codes) <= qmax:
        return
    wrong = (codes < qmin) | (codes > qmax)
    if wrong.any():
        place, index = _first(wrong)
        msg = f"{function}: {name} is {codes[index]}{place}; need integers in [{qmin}, {qmax}]"
        raise ValueError(msg)


def check_scale(function: str, name: str, scale: Any, shape: tuple[int, ...]) -> Array:
    """Return the scales as a float32 array of exactly this shape, positive and finite.

    An array is returned as it is. A Python number, which stands for the shape (), is rounded once.
    """
    if type(scale) in (float, int):
        rounded = _rounded(function, name, scale)
        _check_shape(function, name, rounded, shape)
        return rounded
    if isinstance(scale, np.float32):
        scale = np.asarray(scale)
    elif isinstance(scale, np.generic) or not _is_array(scale):
        msg = f"{function}: {name} is a {kind_of(scale)}; need a float32 array or a Python float"
        raise TypeError(msg)
    require_dtype(function, name, scale, (F32,))
    _check_shape(function, name, scale, shape)
    if on_device(scale):
        return scale  # type: ignore[no-any-return]
    bits = scale.view(np.uint32)
    if not shape and 0 < int(bits) < _INFINITY:
        return scale  # type: ignore[no-any-return]
    wrong = (bits == 0) | (bits >= _INFINITY)
    if wrong.any():
        place, index = _first(wrong)
        msg = f"{function}: {name} is {scale[index]}{place}; need positive finite numbers"
        raise ValueError(msg)
    return scale  # type: ignore[no-any-return]


def check_zero_point(
    function: str, name: str, zero_point: Any, shape: tuple[int, ...], qmin: int, qmax: int
) -> Array:
    """Return the zero points as an int32 array of exactly this shape, codes in [qmin, qmax].

    An int32 array is returned as it is, and any on a GPU. A Python integer stands for the shape ().
    """
    if is_integer(zero_point):
        number = int(zero_point)  # of any size
        if not qmin <= number <= qmax:
            msg = f"{function}: {name} is {number}; need integers in [{qmin}, {qmax}]"
            raise ValueError(msg)
        one: Array = np.asarray(number, I32)
        _check_shape(function, name, one, shape)
        return one
    if not _is_array(zero_point):
        msg = f"{function}: {name} is a {kind_of(zero_point)}; need an integer array"
        raise TypeError(msg)
    if zero_point.dtype.kind not in "iu" or not zero_point.dtype.isnative:
        msg = f"{function}: {name} has dtype {describe_dtype(zero_point.dtype)}; need integers"
        raise TypeError(msg)
    _check_shape(function, name, zero_point, shape)
    if on_device(zero_point):
        return zero_point  # type: ignore[no-any-return]
    check_codes(function, name, zero_point, qmin, qmax)
    return zero_point.astype(I32, copy=False)  # type: ignore[no-any-return]


def _is_array(x: object) -> bool:
    numpy = isinstance(x, (np.ndarray, np.generic)) and not isinstance(x, REFUSED)
    return numpy or on_device(x)


def _rounded(function: str, name: str, number: float) -> Array:
    try:
        bits = single_bits(float(number))
    except OverflowError:
        bits = _INFINITY
    if not 0 < bits < _INFINITY:
        msg = f"{function}: {name} is {number}"
        msg += "; need a number that is positive and finite in float32"
        raise ValueError(msg)
    return np.asarray(bits, np.uint32).view(F32)


def _check_shape(function: str, name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        msg = f"{function}: {name} has shape {array.shape}; need {shape}"
        raise ValueError(msg)


def _first(wrong: Array) -> tuple[str, tuple[int, ...]]:
    """Where the first True is, for an error's text and as an index."""
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f" at {index}" if index else "", index
