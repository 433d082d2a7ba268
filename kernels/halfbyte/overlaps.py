# SPDX-License-Identifier: Apache-2.0
"""Addresses of many arrays at once, and whether any two of them share memory."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import Array, overlaps_itself, same_array, share_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_from_buffer: Callable[[Any], ctypes.c_char] = ctypes.c_char.from_buffer


def addresses_of(arrays: Sequence[Array]) -> list[int]:
    """Address of each array's first element.

    By the buffer protocol where it can be had: 0.15 us an array, __array_interface__ takes 0.8.
    """
    if all(x.flags.carray and x.size for x in arrays):
        return [ctypes.addressof(_from_buffer(x)) for x in arrays]
    return [x.__array_interface__["data"][0] for x in arrays]


def check_disjoint(
    function: str,
    written: Sequence[Array],
    name_of: Callable[[int], str],
    read: Sequence[Array] = (),
    name_of_read: Callable[[int], str] = str,
    *,
    itself: bool = False,
) -> None:
    """Raise ValueError where a written array overlaps itself, another one, or one that is read.

    itself: written array i may be read array i (same address, shape, strides, dtype).
    """
    for i, x in enumerate(written):
        if not x.flags.c_contiguous and overlaps_itself(x):
            msg = f"{function}: {name_of(i)} has strides {x.strides} for shape {x.shape}, which "
            raise ValueError(msg + "overlap; need distinct elements")
    arrays = [*written, *read]
    starts, ends = _bounds(arrays)
    order = np.argsort(starts, kind="stable")
    reached = np.maximum.accumulate(ends[order])  # the furthest end of all that start before
    count = len(written)
    for place in np.flatnonzero(starts[order][1:] < reached[:-1]) + 1:
        # A mistake, views of one array that interleave, or an array that is its own result.
        j = int(order[place])
        before = int(place) - 1
        while before >= 0 and reached[before] > starts[j]:
            i = int(order[before])
            before -= 1
            w, other = (i, j) if i < count else (j, i)
            if w >= count or ends[i] <= starts[j]:
                continue
            if itself and other - count == w and same_array(arrays[w], arrays[other]):
                continue
            if share_memory(arrays[i], arrays[j]):
                name = name_of(other) if other < count else name_of_read(other - count)
                msg = f"{function}: {name_of(w)} overlaps {name}; need memory of its own"
                raise ValueError(msg)


def _bounds(arrays: Sequence[Array]) -> tuple[Array, Array]:
    """Address of the first byte of each array, and of the one after its last."""
    starts = np.array(addresses_of(arrays), np.int64)
    ends = starts + np.array([x.nbytes for x in arrays], np.int64)
    for i, x in enumerate(arrays):
        if not x.flags.c_contiguous and x.size:
            reaches = [stride * (n - 1) for stride, n in zip(x.strides, x.shape, strict=True)]
            ends[i] = starts[i] + sum(r for r in reaches if r > 0) + x.itemsize
            starts[i] += sum(r for r in reaches if r < 0)
    return starts, ends
