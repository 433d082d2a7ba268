# SPDX-License-Identifier: Apache-2.0
"""How the quantization kernels go through strided arrays: dimensions, tasks, addresses.

All operands of a call share the shape of x. Those with a value a channel have strides of 0 along
the dimensions that they do not depend on. What follows from shapes and strides alone is kept for
the next call.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from halfbyte.cpu import blocking, threads
from halfbyte.cpu import quantization_rows as rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from halfbyte.arrays import Array
    from halfbyte.cpu.compile import Kernel

# Elements below which waking a second thread costs more than it brings.
_THREADED = 1 << 17
# Sums are formed over parts of so many elements, and then of parts, whatever the thread count.
_SUMMED = 1 << 20
_MOST_SUMS = 1 << 22  # numbers in all parts' sums together
_KEPT = 256  # plans


class Form(NamedTuple):
    """What matters of an operand beside where it is."""

    strides: tuple[int, ...]  # bytes
    size: int  # bytes of a value; 0 for numbers, which are not in memory
    per_byte: int = 1  # elements along the last axis that share a byte
    channel: bool = False  # one value a channel, not one an element

    def columns(self, first: int, per: int, stride: int) -> int:
        """Bytes from a row's first element to another."""
        if self.channel:
            return first // per * self.size
        return first // self.per_byte * stride


class Operand(NamedTuple):
    """One array of a call, held as long as its address is in use."""

    array: Array | None
    address: int
    form: Form


def elements(x: Array, *, nibbles: bool = False) -> Operand:
    """An operand with a value for each element."""
    form = Form(x.strides, x.itemsize, 2 if nibbles else 1)
    return Operand(x, x.__array_interface__["data"][0], form)


def numbers(shape: tuple[int, ...], *, used: bool) -> Operand:
    """Each element's number in C order, as an address of its own."""
    strides = tuple(math.prod(shape[d + 1 :]) if used else 0 for d in range(len(shape)))
    return Operand(None, 0, Form(strides, 0))


def channels(values: Array, shape: tuple[int, ...], axis: int | None, grouped: bool) -> Operand:
    """An operand with one value for all, one for each entry of an axis, or one for each group."""
    strides = [0] * len(shape)
    if axis is not None:
        strides[axis] = values.itemsize
    elif grouped:
        strides[:-1] = values.strides[:-1]
    form = Form(tuple(strides), values.itemsize, channel=True)
    return Operand(values, values.__array_interface__["data"][0], form)


def padded(values: Array | float, count: int, dtype: type = np.float32) -> Array:
    """A 1-D copy with room for a block that reaches beyond the last value: ones."""
    result = np.empty(count + rows.BLOCK, dtype)
    result[:count] = values
    result[count:] = 1
    return result


class Layout:
    """Dimensions in the order in which the kernels go through them, the last along the rows."""

    def __init__(self, forms: Sequence[Form], shape: list[int], strides: list[list[int]]) -> None:
        self.forms = forms
        self.outer = np.array(shape[:-1], np.int64)
        self.strides = np.array(strides, np.int64)  # [operand, dimension]
        self.rows = math.prod(shape[:-1])
        self.count = shape[-1]
        scales = next(s for form, s in zip(forms, strides, strict=True) if form.channel)
        self.each = scales[-1] != 0  # one channel an element of the row
        # Whether no two rows share a channel, and no row has several along it.
        outer = zip(scales[:-1], shape[:-1], strict=True)
        self.one_channel_a_row = not self.each and all(stride for stride, size in outer if size > 1)
        self.nbytes = sum(
            self.rows * self.count * form.size // form.per_byte
            for form in forms
            if not form.channel
        )

    def mode(self, per: int | None) -> tuple[int, int]:
        """How scales belong to elements of a row (of all or `per` each), and how many share one."""
        if self.each:
            return rows.EACH, 1
        if per is None or per >= self.count:
            return rows.SPANS, self.count
        return (rows.SPANS if per % rows.BLOCK == 0 else rows.SPREAD), per


def layout(operands: list[Operand], shape: tuple[int, ...], *, keep_last: bool) -> Layout:
    """The same elements in the fewest dimensions, at least one, those of operand 1 widest first."""
    return _layout(tuple(operand.form for operand in operands), shape, keep_last)


@functools.lru_cache(_KEPT)
def _layout(forms: tuple[Form, ...], shape: tuple[int, ...], keep_last: bool) -> Layout:
    dimensions = [
        (size, *strides)
        for size, *strides in zip(shape, *(form.strides for form in forms), strict=True)
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
        merged = [(1, *(0 for _ in forms))]
    sizes, *by_operand = map(list, zip(*merged, strict=True))
    return Layout(forms, sizes, by_operand)


def parts_for_threads(place: Layout) -> int:
    """How many parts the threads of a call can use."""
    return max(1, min(threads.get_num_threads(), place.rows * place.count // _THREADED))


def parts_for_sums(place: Layout, sums: int) -> int:
    """How many parts sums are formed over: a matter of sizes alone."""
    size = place.rows * place.count
    return max(1, min(64, size // _SUMMED, _MOST_SUMS // max(1, sums)))


def cut_by_rows(place: Layout, parts: int) -> bool:
    """Whether parts are whole rows: only few long rows are cut."""
    return parts == 1 or place.rows >= 2 * parts


class Task(NamedTuple):
    """A range of rows, and of columns, of a call."""

    offsets: Array  # from the operands' addresses
    index: Array
    count: int
    rows: int
    options: Array


@functools.lru_cache(_KEPT)
def _tasks(
    place: Layout, per: int | None, parts: int, spans: bool, options: tuple[tuple[int, int], ...]
) -> list[Task]:
    mode, per_scale = place.mode(per)
    if spans and mode == rows.SPREAD:
        mode = rows.SPANS
    values = np.zeros(rows.OPTIONS, np.int64)
    values[rows.MODE] = mode
    values[rows.PER] = per_scale
    values[rows.STREAMING] = place.nbytes > blocking.cache_bytes(3)
    for at, value in options:
        values[at] = value
    unit = 2 * rows.BLOCK if per is None else math.lcm(per, 2 * rows.BLOCK)
    tasks = []
    for r0, r1, c0, c1 in _cuts(place, parts, unit):
        index = np.array(np.unravel_index(r0, place.outer) if place.outer.size else [], np.int64)
        columns = [
            form.columns(c0, per_scale, stride)
            for form, stride in zip(place.forms, place.strides[:, -1].tolist(), strict=True)
        ]
        offsets = place.strides[:, :-1] @ index + np.array(columns, np.int64)
        tasks.append(Task(offsets, index, c1 - c0, r1 - r0, values))
    return tasks


def _cuts(place: Layout, parts: int, unit: int) -> list[tuple[int, int, int, int]]:
    """Rows and columns of each part: rows are shared out, or, where there are few, columns."""
    count = place.count
    if cut_by_rows(place, parts) or count < 2 * unit:
        parts = min(parts, place.rows)
        cuts = [place.rows * i // parts for i in range(parts + 1)]
        return [(r0, r1, 0, count) for r0, r1 in itertools.pairwise(cuts)]
    units = -(-count // unit)
    parts = min(parts, units)
    cuts = [min(count, units * i // parts * unit) for i in range(parts + 1)]
    return [(0, place.rows, c0, c1) for c0, c1 in itertools.pairwise(cuts)]


def launch(
    kernel: Kernel,
    place: Layout,
    operands: list[Operand] | list[list[Operand]],
    options: dict[int, int],
    *,
    per: int | None,
    parts: int,
    spans: bool = False,
) -> bool:
    """Run a kernel over all rows. Returns whether what it looked at was finite.

    operands: for all parts, or a list for each. spans: any `per` is a span (nothing is coded).
    """
    calls, filled = [], []
    for i, task in enumerate(_tasks(place, per, parts, spans, tuple(options.items()))):
        own = operands[i] if isinstance(operands[0], list) else operands
        addresses = np.array([operand.address for operand in own], np.int64)  # type: ignore[union-attr]
        addresses += task.offsets
        values = task.options.copy()
        filled.append(values)
        calls.append(
            functools.partial(
                _run, own, kernel, addresses, place.strides, place.outer, task.index.copy(),
                task.count, task.rows, values,
            )
        )  # fmt: skip
    threads.run(calls)
    return not any(values[rows.NOT_FINITE] for values in filled)


def _run(owners: object, kernel: Kernel, *arguments: object) -> None:
    """Call the kernel; the owners of the memory it gets by address live as long as the task."""
    scratch = np.empty(rows.SCRATCH_BYTES + 64, np.uint8)
    address = scratch.__array_interface__["data"][0]
    kernel(*arguments, address + -address % 64)
