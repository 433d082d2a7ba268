# SPDX-License-Identifier: Apache-2.0
"""How the quantization kernels go through strided arrays: dimensions, tasks, addresses.

All operands of a call share the shape of x. Those with a scale or a sum a channel have strides of
0 along the dimensions that they do not depend on.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from halfbyte.cpu import blocking, threads
from halfbyte.cpu import quantization_rows as rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from halfbyte.arrays import Array
    from halfbyte.cpu.compile import Kernel

# Elements below which waking a second thread costs more than it brings.
_THREADED = 1 << 17
# Sums are formed over parts of so many elements, and then of parts, whatever the thread count.
_SUMMED = 1 << 20
_MOST_SUMS = 1 << 22  # numbers in all parts' sums together


@dataclass
class Operand:
    """One array of a call. `per_byte` is 2 where two elements along the last axis share a byte."""

    array: Array | None
    strides: tuple[int, ...]
    per_byte: int = 1
    channel: bool = False  # one value a channel, not one an element
    address: int = 0

    def __post_init__(self) -> None:
        if self.array is not None:
            self.address = self.array.__array_interface__["data"][0]

    def columns(self, first: int, per: int, stride: int) -> int:
        """Bytes from a row's first element to another."""
        if not self.channel:
            return first // self.per_byte * stride
        assert self.array is not None
        return first // per * self.array.itemsize


def elements(x: Array, shape: tuple[int, ...] | None = None) -> Operand:
    """An operand with a value for each element; shape is that of packed nibbles' elements."""
    return Operand(x, x.strides, 1 if shape is None else 2)


def numbers(shape: tuple[int, ...]) -> Operand:
    """Each element's number in C order, as an address of its own."""
    return Operand(None, tuple(math.prod(shape[d + 1 :]) for d in range(len(shape))))


def channels(values: Array, shape: tuple[int, ...], axis: int | None, grouped: bool) -> Operand:
    """An operand with one value for all, one for each entry of an axis, or one for each group."""
    size = values.itemsize
    strides = [0] * len(shape)
    if axis is not None:
        strides[axis] = size
    elif grouped:
        strides[:-1] = values.strides[:-1]
    return Operand(values, tuple(strides), channel=True)


def padded(values: Array | float, count: int, dtype: type = np.float32) -> Array:
    """A 1-D copy with room for a block that reaches beyond the last value: ones."""
    result = np.ones(count + rows.BLOCK, dtype)
    result[:count] = values
    return result


@dataclass
class Layout:
    """Dimensions in the order in which the kernels go through them, the last along the rows."""

    operands: list[Operand]
    shape: list[int]
    strides: list[list[int]] = field(default_factory=list)  # by operand

    @property
    def count(self) -> int:
        return self.shape[-1]

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:-1])

    def mode(self, per: int | None) -> tuple[int, int]:
        """How scales belong to elements of a row (of all or `per` each), and how many share one."""
        own = [s[-1] for o, s in zip(self.operands, self.strides, strict=True) if o.channel]
        if any(own):
            return rows.EACH, 1
        if per is None or per >= self.count:
            return rows.SPANS, self.count
        return (rows.SPANS if per % rows.BLOCK == 0 else rows.SPREAD), per

    def one_channel_a_row(self) -> bool:
        """Whether no two rows share a scale, and no row has several along it."""
        for operand, strides in zip(self.operands, self.strides, strict=True):
            if operand.channel:
                outer = zip(strides[:-1], self.shape[:-1], strict=True)
                return strides[-1] == 0 and all(stride for stride, size in outer if size > 1)
        return False


def layout(operands: list[Operand], shape: tuple[int, ...], *, keep_last: bool) -> Layout:
    """The same elements in the fewest dimensions, at least one, those of operand 1 widest first."""
    dimensions = [
        (size, *strides)
        for size, *strides in zip(shape, *(o.strides for o in operands), strict=True)
    ]
    last = [dimensions.pop()] if keep_last else []
    dimensions = sorted((d for d in dimensions if d[0] != 1), key=lambda d: -abs(d[2]))
    merged: list[tuple[int, ...]] = []
    for size, *strides in dimensions:
        if merged and all(a == b * size for a, b in zip(merged[-1][1:], strides, strict=True)):
            merged[-1] = (merged[-1][0] * size, *strides)
        else:
            merged.append((size, *strides))
    merged += last
    if not merged:
        merged = [(1, *(0 if o.channel else 1 for o in operands))]
    sizes, *by_operand = map(list, zip(*merged, strict=True))
    return Layout(operands, sizes, by_operand)


def _cuts(place: Layout, parts: int, unit: int) -> list[tuple[int, int, int, int]]:
    """Rows and columns of each part: rows are shared out, or, where there are few, columns."""
    rows_, count = place.rows, place.count
    if rows_ >= 2 * parts or count < 2 * unit:
        parts = min(parts, rows_)
        cuts = [rows_ * i // parts for i in range(parts + 1)]
        return [(r0, r1, 0, count) for r0, r1 in itertools.pairwise(cuts)]
    units = -(-count // unit)
    parts = min(parts, units)
    cuts = [min(count, units * i // parts * unit) for i in range(parts + 1)]
    return [(0, rows_, c0, c1) for c0, c1 in itertools.pairwise(cuts)]


def parts_for_threads(place: Layout) -> int:
    """How many parts the threads of a call can use."""
    size = place.rows * place.count
    return max(1, min(threads.get_num_threads(), size // _THREADED + 1 if size > _THREADED else 1))


def parts_for_sums(place: Layout, sums: int) -> int:
    """How many parts sums are formed over: a matter of sizes alone."""
    size = place.rows * place.count
    return max(1, min(64, size // _SUMMED, _MOST_SUMS // max(1, sums)))


def launch(
    kernel: Kernel,
    place: Layout,
    options: dict[int, int],
    *,
    per: int | None,
    parts: int,
    spans: bool = False,
    own: Callable[[int], list[Operand]] | None = None,
) -> bool:
    """Run a kernel over all rows. Returns whether what it looked at was finite.

    spans: any `per` is a span (nothing is coded). own(i): part i's operands, where they differ.
    """
    mode, per_scale = place.mode(per)
    if spans and mode == rows.SPREAD:
        mode = rows.SPANS
    unit = 2 * rows.BLOCK if per is None else math.lcm(per, 2 * rows.BLOCK)
    nbytes = sum(
        place.rows * place.count * o.array.itemsize // o.per_byte
        for o in place.operands
        if o.array is not None and not o.channel
    )
    options = {
        rows.MODE: mode,
        rows.PER: per_scale,
        rows.STREAMING: int(nbytes > blocking.cache_bytes(3)),
        **options,
    }
    outer = place.shape[:-1]
    strides = np.array(place.strides, np.int64)
    tasks, filled = [], []
    for i, (r0, r1, c0, c1) in enumerate(_cuts(place, parts, unit)):
        operands = place.operands if own is None else own(i)
        index = np.array(np.unravel_index(r0, outer) if outer else [], np.int64)
        starts = [
            o.address + o.columns(c0, per_scale, int(s[-1])) + int((index * s[:-1]).sum())
            for o, s in zip(operands, strides, strict=True)
        ]
        values = np.zeros(rows.OPTIONS, np.int64)
        for at, value in options.items():
            values[at] = value
        filled.append(values)
        tasks.append(
            functools.partial(
                _run, operands, kernel, np.array(starts, np.int64), strides,
                np.array(outer, np.int64), index, c1 - c0, r1 - r0, values,
            )
        )  # fmt: skip
    threads.run(tasks)
    return not any(values[rows.NOT_FINITE] for values in filled)


def _run(owners: list[Operand], kernel: Kernel, *arguments: object) -> None:
    """Call the kernel; the owners of the memory it gets by address live as long as the task."""
    scratch = np.empty(rows.SCRATCH_BYTES + 64, np.uint8)
    address = scratch.__array_interface__["data"][0]
    kernel(*arguments, address + -address % 64)
