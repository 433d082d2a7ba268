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

from halfbyte.arrays import address_of
from halfbyte.cpu import blocking, threads
from halfbyte.cpu import quantization_rows as rows
from halfbyte.cpu.launching import scratch

if TYPE_CHECKING:
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


class Operand(NamedTuple):
    """One array of a call, held as long as its address is in use."""

    array: Array | None
    address: int
    form: Form


def elements(x: Array, *, nibbles: bool = False) -> Operand:
    """An operand with a value for each element."""
    form = Form(x.strides, x.itemsize, 2 if nibbles else 1)
    return Operand(x, address_of(x), form)


@functools.lru_cache(_KEPT)
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
    return Operand(values, address_of(values), form)


def padded(values: Array | float, count: int, dtype: type = np.float32) -> Array:
    """A 1-D copy with room for a block that reaches beyond the last value: ones."""
    result = np.empty(count + rows.BLOCK, dtype)
    result[:count] = values
    result[count:] = 1
    return result


class Layout:
    """Dimensions in the order in which the kernels go through them, the last along the rows."""

    def __init__(
        self, forms: tuple[Form, ...], shape: list[int], strides: list[list[int]],
        group: int | None, *, fold: bool,
    ) -> None:  # fmt: skip
        self.forms = forms
        self.nbytes = sum(
            math.prod(shape) * form.size // form.per_byte for form in forms if not form.channel
        )
        self.per = shape[-1] if group is None else min(group, shape[-1])
        self.spread = self.per < shape[-1] and self.per % rows.BLOCK != 0
        # How pointers to the values of channels move along a row: by one an element, one each
        # `per` elements, or not at all.
        each = [form.channel and s[-1] != 0 for form, s in zip(forms, strides, strict=True)]
        jumps = [form.channel and group is not None for form in forms]
        scales = strides[[form.channel for form in forms].index(True)]
        outer = zip(scales[:-1], shape[:-1], strict=True)
        self.one_channel_a_row = not scales[-1] and all(s for s, size in outer if size > 1)
        # Rows that follow each other in memory are one long row: each new row takes time.
        self.folded = False
        while fold and _follow_each_other(forms, shape, strides, self.per, group):
            if group is None:
                jumps = [f.channel and bool(s[-2]) for f, s in zip(forms, strides, strict=True)]
            shape = [*shape[:-2], shape[-2] * shape[-1]]
            strides = [[*s[:-2], s[-1]] for s in strides]
            self.folded = True
            if group is None:
                break
        self.outer = np.array(shape[:-1] or [1], np.int64)
        self.strides = np.array([s if len(s) > 1 else [0, *s] for s in strides], np.int64)
        self.rows, self.count = math.prod(shape[:-1]), shape[-1]
        # Columns are cut where all pointers stand at the start of a channel.
        whole = self.per if self.folded or group is not None else 1
        self.unit = math.lcm(whole, 2 * rows.BLOCK)
        self.each, self.jumps = each, jumps

    def columns(self, operand: int, first: int) -> int:
        """Bytes from a row's first element to another, for an operand."""
        form = self.forms[operand]
        if not form.channel:
            return first // form.per_byte * int(self.strides[operand, -1])
        if self.each[operand]:
            return first % self.per * form.size
        return first // self.per * form.size if self.jumps[operand] else 0

    def moves(self) -> list[tuple[int, int]]:
        """Step and jump of each pointer to float32 values of channels."""
        found = []
        for form, each, jumps in zip(self.forms, self.each, self.jumps, strict=True):
            if form.channel:
                step = 4 * rows.BLOCK if each or self.spread else 0
                back = -4 * self.per if each and self.folded else 0
                found.append((step, 4 if jumps and not self.spread else back))
        return found


def _follow_each_other(
    forms: tuple[Form, ...], shape: list[int], strides: list[list[int]], per: int, group: int | None
) -> bool:
    """Whether the last dimension but one steps from the end of one row to the next."""
    if len(shape) < 2 or per % rows.BLOCK or shape[-1] % per:
        return False
    kinds = set()
    for form, (*_, outer, inner) in zip(forms, strides, strict=True):
        if not form.channel:
            if outer * form.per_byte != shape[-1] * inner:
                return False
        elif group is not None:
            if outer != shape[-1] // per * form.size:
                return False
        elif outer not in (0, form.size) or (outer and inner):
            return False
        else:
            kinds.add((bool(outer), bool(inner)))
    return not {(True, False), (False, True)} <= kinds


def layout(
    operands: list[Operand], shape: tuple[int, ...], *, keep_last: bool, group: int | None = None,
    fold: bool = True, order: int = 1,
) -> Layout:  # fmt: skip
    """The same elements in the fewest dimensions, at least one.

    The operand with the number `order` has its widest strides first.
    """
    forms = tuple(operand.form for operand in operands)
    return _layout(forms, shape, keep_last, group, fold, order)


@functools.lru_cache(_KEPT)
def _layout(
    forms: tuple[Form, ...], shape: tuple[int, ...], keep_last: bool, group: int | None, fold: bool,
    order: int,
) -> Layout:  # fmt: skip
    dimensions = [
        (size, *strides)
        for size, *strides in zip(shape, *(form.strides for form in forms), strict=True)
    ]
    last = [dimensions.pop()] if keep_last else []
    dimensions = sorted((d for d in dimensions if d[0] != 1), key=lambda d: -abs(d[1 + order]))
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
    return Layout(forms, sizes, by_operand, group, fold=fold)


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
def _tasks(place: Layout, parts: int, options: tuple[tuple[int, int], ...]) -> list[Task]:
    values = np.zeros(rows.OPTIONS, np.int64)
    values[rows.SPREAD] = place.spread
    values[rows.PER] = place.per
    values[rows.STREAMING] = place.nbytes > blocking.cache_bytes(3)
    for which, move in zip(range(rows.FIRST_STEP, rows.OPTIONS, 2), place.moves(), strict=False):
        values[which : which + 2] = move
    for at, value in options:
        values[at] = value
    tasks = []
    for r0, r1, c0, c1 in _cuts(place, parts):
        index = np.array(np.unravel_index(r0, place.outer), np.int64)
        columns = [place.columns(operand, c0) for operand in range(len(place.forms))]
        offsets = place.strides[:, :-1] @ index + np.array(columns, np.int64)
        tasks.append(Task(offsets, index, c1 - c0, r1 - r0, values))
    return tasks


def _cuts(place: Layout, parts: int) -> list[tuple[int, int, int, int]]:
    """Rows and columns of each part: rows are shared out, or, where there are few, columns."""
    count, unit = place.count, place.unit
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
    parts: int,
    seed: int = 0,
) -> bool:
    """Run a kernel over all rows. Returns whether what it looked at was finite.

    operands: for all parts, or a list for each.
    """
    calls, filled = [], []
    for i, task in enumerate(_tasks(place, parts, tuple(options.items()))):
        own = operands[i] if isinstance(operands[0], list) else operands
        addresses = np.array([operand.address for operand in own], np.int64)  # type: ignore[union-attr]
        addresses += task.offsets
        values = task.options.copy()
        values[rows.SEED] = seed
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
    memory = scratch(rows.SCRATCH_BYTES + 64)
    address = address_of(memory)
    kernel(*arguments, address + -address % 64)
