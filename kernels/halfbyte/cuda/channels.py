# SPDX-License-Identifier: Apache-2.0
"""Plan which threads look at which elements of a channel: what `channels.cuh` and `reduce.cuh` say.

A channel is what shares a scale: all elements, an index along an axis, or a group.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.arrays import Array
from halfbyte.cuda import runtime
from halfbyte.dimensions import merge_dimensions

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 256
_WARP = 32
CHANNELS_A_BLOCK = BLOCK // _WARP  # of kernels that join the parts of a channel, a warp each
_VECTOR = 16  # bytes

# Enough blocks for any GPU. It does not depend on the one there is, so that sums do not either.
_BLOCKS = 2048

# Channels of no more elements, neighbours in memory, are looked at by a thread each.
_SHORT = 32

ANYWHERE, ITEMS, VECTORS = range(3)


class Plan(NamedTuple):
    """How a kernel looks at arrays of one shape by channels."""

    defines: dict[str, int | str]
    grid: int
    total: int  # channels
    parts: int  # of a channel
    channels: Array  # the kernel's Channels
    strides: list[Array]  # the kernel's Strides, of each array


class _Dimensions(NamedTuple):
    """Sizes, and strides in bytes of each array."""

    sizes: list[int]
    strides: list[list[int]]


def plan(arrays: list[Any], axis: int | None, group_size: int | None, ahead: int) -> Plan:
    """Plan a look at arrays of one shape, not empty; the first one's order in memory counts.

    ahead: how many steps a thread looks at at once, at most.
    """
    outer, inner, rest = _split(arrays, axis, group_size)
    count, elements = math.prod(outer.sizes), math.prod(inner.sizes)
    access, step = _access(arrays, outer, inner)
    columns = axis is not None and _are_columns(outer, inner)
    if columns:
        access, step = min(access, ITEMS), 1
    steps = elements // step
    short = columns and elements <= _SHORT
    columns = columns and not short
    if columns:
        teams = min(_WARP, _power_of_two(count))
    else:
        team = 1 if short else _power_of_two(-(-steps // 2))
        teams = BLOCK // (team if team <= _WARP else BLOCK)
    blocks, team = -(-count // teams), BLOCK // teams
    parts = 1
    if columns or team == BLOCK:
        parts = _power_of_two_below(min(_BLOCKS // blocks, steps // (team * ahead)))
    if access == VECTORS:
        inner = _in_steps(inner, step)
    ndim = max(len(outer.sizes), len(inner.sizes))
    outer, inner = _padded(outer, ndim), _padded(inner, ndim)
    groups = 1 if group_size is None else -(-arrays[0].shape[-1] // group_size)
    channels = np.zeros(1, _channels_type(ndim))
    channels[0] = (
        outer.sizes, inner.sizes, count, elements, groups, rest,
        -(-steps // parts), parts.bit_length() - 1, teams.bit_length() - 1,
    )  # fmt: skip
    strides = [np.zeros(1, _strides_type(ndim)) for _ in arrays]
    for target, *own in zip(strides, outer.strides, inner.strides, strict=True):
        target[0] = tuple(own)
    defines = _defines(columns=columns, ndim=ndim, access=access, step=step)
    return Plan(defines, blocks * parts, count, parts, channels, strides)


def forms(*dtypes: np.dtype[Any]) -> Iterator[dict[str, int | str]]:
    """Yield the defines of every plan of up to two dimensions, for arrays of these dtypes."""
    vector = max(_VECTOR // dtype.itemsize for dtype in dtypes)
    ways = [(False, VECTORS, vector)]
    ways += [(columns, access, 1) for columns in (False, True) for access in (ANYWHERE, ITEMS)]
    for ndim, (columns, access, step) in itertools.product((1, 2), ways):
        yield _defines(columns=columns, ndim=ndim, access=access, step=step)


def _defines(*, columns: bool, ndim: int, access: int, step: int) -> dict[str, int | str]:
    return {"COLUMNS": int(columns), "NDIM": ndim, "ACCESS": access, "STEP": step}


def _split(
    arrays: list[Any], axis: int | None, group_size: int | None
) -> tuple[_Dimensions, _Dimensions, int]:
    """Return the dimensions of channels, in C order, those within one, and the last one's size."""
    shape, strides = arrays[0].shape, [array.strides for array in arrays]
    if group_size is not None:
        k = shape[-1]
        size = min(group_size, k)
        shape = (*shape[:-1], -(-k // size), size)
        strides = [(*own[:-1], own[-1] * size, own[-1]) for own in strides]
        channel, rest = range(len(shape) - 1), k - (shape[-2] - 1) * size
    else:
        channel = range(0) if axis is None else range(axis, axis + 1)
        rest = math.prod(shape) // math.prod(shape[d] for d in channel)
    inner = [d for d in range(len(shape)) if d not in channel]
    outer = _in_order([shape[d] for d in channel], [[own[d] for d in channel] for own in strides])
    sizes, *own = merge_dimensions(
        [shape[d] for d in inner], *([own[d] for d in inner] for own in strides), by=0
    )
    return outer, _Dimensions(sizes, own), rest


def _in_order(sizes: list[int], strides: list[list[int]]) -> _Dimensions:
    """Return the same places in C order in the fewest dimensions, at least one."""
    merged: list[tuple[int, ...]] = []
    for size, *steps in zip(sizes, *strides, strict=True):
        if size == 1:
            continue
        if merged and all(w == s * size for w, s in zip(merged[-1][1:], steps, strict=True)):
            merged[-1] = (merged[-1][0] * size, *steps)
        else:
            merged.append((size, *steps))
    if not merged:
        merged = [(1, *(0 for _ in strides))]
    first, *others = map(list, zip(*merged, strict=True))
    return _Dimensions(first, others)


def _in_steps(d: _Dimensions, step: int) -> _Dimensions:
    # At least one: what is left is fewer elements than a step.
    sizes = [*d.sizes[:-1], max(1, d.sizes[-1] // step)]
    return _Dimensions(sizes, [[*own[:-1], own[-1] * step] for own in d.strides])


def _padded(d: _Dimensions, ndim: int) -> _Dimensions:
    more = ndim - len(d.sizes)
    return _Dimensions([1] * more + d.sizes, [[0] * more + own for own in d.strides])


def _are_columns(outer: _Dimensions, inner: _Dimensions) -> bool:
    """Whether neighbours in memory belong to different channels."""
    least = min(abs(stride) for stride in inner.strides[0])
    return outer.sizes[-1] > 1 and abs(outer.strides[0][-1]) < least


def _access(arrays: list[Any], outer: _Dimensions, inner: _Dimensions) -> tuple[int, int]:
    """Return how elements can be accessed, and how many make a step then."""
    items = [array.itemsize for array in arrays]
    step = max(_VECTOR // size for size in items)
    contiguous = all(own[-1] == size for own, size in zip(inner.strides, items, strict=True))
    whole = len(inner.sizes) == 1 or inner.sizes[-1] % step == 0
    starts = [
        [runtime.address(array), *channel, *own[:-1]]
        for array, channel, own in zip(arrays, outer.strides, inner.strides, strict=True)
    ]
    if contiguous and whole and all(n % _VECTOR == 0 for own in starts for n in own):
        return VECTORS, step
    aligned = all(
        n % size == 0
        for size, own, steps in zip(items, starts, inner.strides, strict=True)
        for n in (*own, steps[-1])
    )
    return (ITEMS if aligned else ANYWHERE), 1


def _power_of_two(n: int) -> int:
    """Return the least power of two that is n or more."""
    return 1 << (n - 1).bit_length()


def _power_of_two_below(n: int) -> int:
    """Return the greatest power of two that is n or less, at least 1."""
    return 1 << max(0, n.bit_length() - 1)


def _channels_type(ndim: int) -> np.dtype[Any]:
    dims = [(name, np.int64, (ndim,)) for name in ("shape", "inner")]
    sizes = [(name, np.int64) for name in ("count", "elements", "groups", "rest", "part")]
    return np.dtype([*dims, *sizes, ("parts", np.int32), ("teams", np.int32)])


def _strides_type(ndim: int) -> np.dtype[Any]:
    return np.dtype([(name, np.int64, (ndim,)) for name in ("channel", "step")])
