# SPDX-License-Identifier: Apache-2.0
"""Which elements a thread works on, where each is worked on by itself: see elements.cuh.

A plan is made of operands: arrays by element, of one or two elements a byte, or by channel. They
have strides along the dimensions of one shape, which are merged into as few as there can be.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.arrays import F16, F32
from halfbyte.cuda import runtime
from halfbyte.dimensions import merge_dimensions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from halfbyte.quantized import Scheme

    Defines = dict[str, int | str]

THREADS = 256
FLOATS: tuple[np.dtype[Any], ...] = (F32, F16)  # what kernels read and write beside codes
NULL = np.uint64(0)  # the address of an array that is not there
_VECTOR_UNROLL, _UNROLL = 2, 4
_ALIGNMENT = 16
_LARGEST = 2**31 - 2**16  # of what is counted in 32 bits; a last block may count on


class Operand(NamedTuple):
    """Where the elements, or entries, of an array are."""

    address: int
    strides: tuple[int, ...]  # bytes, along each dimension of the shape
    size: int  # bytes of an element; 0: two elements a byte along the last dimension


class Plan(NamedTuple):
    """What is launched."""

    defines: Defines
    layout: np.ndarray[Any, Any]  # what kernels call Layout
    grid: int
    rows: int
    row_units: int
    row_has_one_channel: bool  # of its own, and is made of vectors


def elements(x: Any) -> Operand:
    """Return an array with an item for each element."""
    return Operand(runtime.address(x), x.strides, x.itemsize)


def nibbles(x: Any) -> Operand:
    """Return an array of bytes of two elements."""
    return Operand(runtime.address(x), x.strides, 0)


def channels(x: Any, ndim: int, axis: int | None, group_size: int | None) -> Operand:
    """Return an array of shape (), (channels,) or (..., groups), aligned."""
    strides = [0] * ndim
    if x.ndim and axis is not None:
        strides[axis] = x.strides[0]
    elif x.ndim and group_size is not None:
        strides = list(x.strides)
    return Operand(runtime.address(x), tuple(strides), x.itemsize)


def scales_and_zero_points(
    scale: Any, zero_point: Any, ndim: int, scheme: Scheme
) -> tuple[Operand, Operand]:
    """Return both, of an array with so many dimensions; the latter may be None."""
    form = (ndim, scheme.axis, scheme.group_size)
    nothing = Operand(0, (0,) * ndim, 1)
    return channels(scale, *form), nothing if zero_point is None else channels(zero_point, *form)


def numbers(shape: tuple[int, ...]) -> Operand:
    """Return each element's place in C order, which is no array."""
    return Operand(0, tuple(math.prod(shape[d + 1 :]) for d in range(len(shape))), 1)


def type_name(dtype: np.dtype[Any]) -> str:
    """Return what kernels call floats: those of float16 by their bits."""
    return "uint16" if dtype == F16 else dtype.name


def step_of(dtype: np.dtype[Any], *, packed: bool = False) -> int:
    """Return how many floats a unit has: 16 bytes, or 32 of float32 with two codes a byte."""
    return 8 if packed else 16 // dtype.itemsize


def plan(
    shape: tuple[int, ...],
    per_element: Sequence[Operand],
    per_channel: Sequence[Operand] = (),
    number: Operand | None = None,
    *,
    step: int,
    group_size: int | None = None,
) -> Plan:
    """Plan for a shape that has elements; operands are numbered in this order in the kernel.

    step: elements of a unit where they are contiguous and aligned, a multiple of 4.
    """
    operands = [*per_element, *per_channel, *([] if number is None else [number])]
    count = len(per_element)
    packed = [not operand.size for operand in operands]
    of_channels = range(count, count + len(per_channel))
    dimensions, group = _dimensions(shape, operands, of_channels, group_size)
    outer, inner, rows = _merged(dimensions, packed, group)

    vector, along = _vector(per_element, per_channel, number, rows, inner, step, group)
    unit = step if vector else 1 + any(packed)
    units = -(-inner[0] // unit)
    of_units = [unit * s // (1 + two) for s, two in zip(inner[1:], packed, strict=True)]
    total = math.prod(outer) * units
    wide = max(total if vector else total * unit, *map(abs, of_units), 0) > _LARGEST or any(
        abs(s) > _LARGEST for strides in rows for s in strides
    )
    ndim = len(outer) + 1
    layout = np.zeros(1, _layout(ndim, len(operands), wide=wide))
    for d, size in enumerate((*outer, units)):
        layout["shape"][0, d] = _divisor(size, wide=wide)
    layout["group"][0] = _divisor(group // unit if vector and group > 1 else group, wide=wide)
    layout["strides"][0] = [[*row, own] for row, own in zip(rows, of_units, strict=True)]
    layout["steps"][0] = inner[1:]
    layout["units"][0] = total
    layout["last"][0] = inner[0] - (units - 1) * unit
    unroll = _VECTOR_UNROLL if vector else _UNROLL
    exact = vector or all(map(_is_aligned, per_element))
    defines = _defines(ndim, unit, vector=vector, along=along, exact=exact, wide=wide)
    grid = -(-total // (THREADS * unroll))
    apart = all(s for strides in rows[count : count + 1] for s in strides)  # of scales
    one_channel = vector and not along and group == 1 and apart
    return Plan(defines, layout, grid, math.prod(outer), units, one_channel)


def forms(step: int, *, packed: bool, along: bool) -> Iterator[Defines]:
    """Yield defines that plans choose for up to two dimensions, and some where all is wide.

    packed: whether an operand is of two elements a byte. along: whether there are channels.
    """
    one = 1 + packed
    for ndim in (1, 2):
        yield vectors(ndim, step)
        yield _defines(ndim, one, vector=False, along=False, exact=True, wide=False)
    if along:
        yield _defines(2, step, vector=True, along=True, exact=True, wide=False)
    yield _defines(2, one, vector=False, along=False, exact=False, wide=False)
    yield _defines(2, one, vector=False, along=False, exact=True, wide=True)


def vectors(ndim: int, step: int) -> Defines:
    """Return the defines where units are vectors whose elements share entries of channels."""
    return _defines(ndim, step, vector=True, along=False, exact=True, wide=False)


def _dimensions(
    shape: tuple[int, ...], operands: list[Operand], of_channels: range, group_size: int | None
) -> tuple[list[tuple[int, ...]], int]:
    """Return sizes with the strides of all operands, and how many of the last share an entry.

    That number is 1, and each has its own stride, where groups can be a dimension of their own.
    """
    dimensions = [
        (size, *(operand.strides[d] for operand in operands)) for d, size in enumerate(shape)
    ]
    if not group_size or not dimensions:
        return dimensions or [(1, *(0 for _ in operands))], 1
    k, *strides = dimensions.pop()
    if group_size >= k:
        group_size = k
        strides = [0 if i in of_channels else s for i, s in enumerate(strides)]
        return [*dimensions, (k, *strides)], 1
    pairs = any(not operand.size for operand in operands)
    if k % group_size or (pairs and group_size % 2):
        return [*dimensions, (k, *strides)], group_size
    groups = [
        s if i in of_channels else s * group_size // (1 if operand.size else 2)
        for i, (s, operand) in enumerate(zip(strides, operands, strict=True))
    ]
    own = [0 if i in of_channels else s for i, s in enumerate(strides)]
    return [*dimensions, (k // group_size, *groups), (group_size, *own)], 1


def _merged(
    dimensions: list[tuple[int, ...]], packed: list[bool], group: int
) -> tuple[list[int], tuple[int, ...], list[list[int]]]:
    """Return the sizes of the outer dimensions, the inner one, and each operand's outer strides.

    Where elements share bytes or entries along the last dimension, the inner one ends with it.
    """
    inner = None
    if any(packed) or group > 1:
        *dimensions, inner = dimensions
    sizes, *strides = zip(*dimensions, strict=True) if dimensions else ((), *((),) * len(packed))
    by = 1 if len(packed) > 1 and 0 in strides[0] else 0
    shape, *merged = merge_dimensions(sizes, *strides, by=by)
    if inner is None:
        inner = (shape.pop(), *(own.pop() for own in merged))
    else:
        k = inner[0]
        follows = group == 1 and not (k % 2 and any(packed))
        follows = follows and all(
            outer[-1] * (1 + two) == k * own
            for outer, own, two in zip(merged, inner[1:], packed, strict=True)
        )
        if shape[-1] == 1 or follows:
            inner = (k * shape.pop(), *inner[1:])
            for own in merged:
                own.pop()
    return shape, inner, merged


def _vector(
    per_element: Sequence[Operand], per_channel: Sequence[Operand], number: Operand | None,
    rows: list[list[int]], inner: tuple[int, ...], step: int, group: int,
) -> tuple[bool, bool]:  # fmt: skip
    """Return whether units are vectors, and whether their elements have entries of their own."""
    never = False, False
    k, *steps = inner
    if k < step:
        return never
    for operand, own, outer in zip(per_element, steps, rows, strict=False):
        unit = min(_ALIGNMENT, step * operand.size or step // 2)
        if own != (operand.size or 1) or any(s % unit for s in (operand.address, *outer)):
            return never
    if number is not None and (steps[-1] != 1 or any(s % 4 for s in rows[-1])):
        return never
    first, end = len(per_element), len(per_element) + len(per_channel)
    if group > 1:
        return group % step == 0, False
    along = False
    for operand, own, outer in zip(per_channel, steps[first:end], rows[first:end], strict=True):
        if own:
            along = True
            if own != operand.size or any(s % _ALIGNMENT for s in (operand.address, *outer)):
                return never
    return True, along


def _defines(
    ndim: int, step: int, *, vector: bool, along: bool, exact: bool, wide: bool
) -> Defines:
    return {
        "NDIM": ndim,
        "STEP": step,
        "VECTOR": int(vector),
        "ALONG": int(along),
        "ALIGNED": int(exact),
        "WIDE": int(wide),
        "UNROLL": _VECTOR_UNROLL if vector else _UNROLL,
    }


def _layout(ndim: int, operands: int, *, wide: bool) -> np.dtype[Any]:
    index = np.int64 if wide else np.int32
    divisor = np.dtype([("numbers", index, (1 if wide else 3,))])
    return np.dtype(
        [
            ("shape", divisor, (ndim,)),
            ("group", divisor),
            ("strides", index, (operands, ndim)),
            ("steps", index, (operands,)),
            ("units", index),
            ("last", index),
        ]
    )


def _divisor(divisor: int, *, wide: bool) -> tuple[Any]:
    """Return what kernels call Divisor."""
    if wide:
        return ((divisor,),)
    shift = 31 + (divisor - 1).bit_length()
    multiplier = (1 << shift) // divisor + 1
    return ((divisor, multiplier - (multiplier >> 31 << 32), shift),)


def _is_aligned(operand: Operand) -> bool:
    return all(place % (operand.size or 1) == 0 for place in (operand.address, *operand.strides))
