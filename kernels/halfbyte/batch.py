# SPDX-License-Identifier: Apache-2.0
"""Many arrays at once: what is asked of all of them, and whether any two share memory."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from halfbyte.arrays import Array, address_of, overlaps_itself, same_array, share_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Batch:
    """Arrays, with what is asked of all of them found out once: each question costs them time."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays)

    @cached_property
    def contiguous(self) -> bool:
        """Whether all lie side by side, in C order."""
        return all(x.flags.c_contiguous for x in self.arrays)

    @cached_property
    def addresses(self) -> Array:
        """Address of each one's first element."""
        return np.array([address_of(x) for x in self.arrays], np.int64)

    @cached_property
    def orders(self) -> Array:
        """Orders in which each one's elements lie side by side: 1 is C's, 2 Fortran's, 3 both."""
        if self.contiguous:
            return np.ones(len(self), np.int64)
        flags = [x.flags for x in self.arrays]
        return np.array([f.c_contiguous + 2 * f.f_contiguous for f in flags], np.int64)

    @cached_property
    def sizes(self) -> Array:
        """Elements of each."""
        return np.array([x.size for x in self.arrays], np.int64)

    @cached_property
    def itemsizes(self) -> Array:
        """Bytes of an element of each."""
        return np.array([x.itemsize for x in self.arrays], np.int64)

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Address of the first byte of each, and of the one after its last."""
        starts, ends = self.addresses, self.addresses + self.sizes * self.itemsizes
        if not self.contiguous:
            starts = starts.copy()
            for i, x in enumerate(self.arrays):
                if not x.flags.c_contiguous and x.size:
                    reaches = [step * (n - 1) for step, n in zip(x.strides, x.shape, strict=True)]
                    ends[i] = starts[i] + sum(r for r in reaches if r > 0) + x.itemsize
                    starts[i] += sum(r for r in reaches if r < 0)
        return starts, ends

    def by_itemsize(self) -> Iterator[tuple[int, Array, Batch]]:
        """Those of each size of an element: the size, their numbers, and they."""
        sizes = {x.itemsize for x in self.arrays}
        if len(sizes) == 1:
            yield sizes.pop(), np.arange(len(self)), self
        for size in sorted(sizes):
            numbers = np.flatnonzero(self.itemsizes == size)
            yield size, numbers, self.chosen(numbers)

    def chosen(self, numbers: Array) -> Batch:
        """Return the arrays with these numbers, in ascending order."""
        if len(numbers) == len(self):
            return self
        return Batch([self.arrays[i] for i in numbers])


def check_disjoint(
    function: str,
    written: Batch,
    name_of: Callable[[int], str],
    read: Batch | None = None,
    name_of_read: Callable[[int], str] = str,
    *,
    itself: bool = False,
) -> None:
    """Raise ValueError where a written array overlaps itself, another one, or one that is read.

    itself: written array i may be read array i (same address, shape, strides, dtype).
    """
    if not written.contiguous:
        for i, x in enumerate(written.arrays):
            if overlaps_itself(x):
                msg = f"{function}: {name_of(i)} has strides {x.strides} for shape {x.shape}, "
                raise ValueError(msg + "which overlap; need distinct elements")
    if read is None and len(written) == 1:
        return
    arrays = list(written.arrays)
    starts, ends = written.bounds
    if read is not None:
        arrays += read.arrays
        starts, ends = (np.concatenate(x) for x in zip(written.bounds, read.bounds, strict=True))
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
