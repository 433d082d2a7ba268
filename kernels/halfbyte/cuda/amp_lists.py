# SPDX-License-Identifier: Apache-2.0
"""Tables of many arrays for one launch: what `amp_lists.cuh` says.

Arrays come as the headers that `runtime.header` makes of them.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.arrays import address_of
from halfbyte.batch import Batch
from halfbyte.cuda import runtime
from halfbyte.dimensions import merge_dimensions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from halfbyte.arrays import Array

    Defines = dict[str, int | str]

THREADS = 256
_DIMS = 3
_STEP = 4  # elements of a unit: neighbours then take neighbouring 16 bytes of FP32, 8 of FP16
_INLINE = 16  # entries that are passed by value: of five operands, 3 of the 4 KiB that there are
_IN_UNITS, _IS_ALIGNED, _IS_FIRST, _IS_HALF = (1 << i for i in range(4))


class Operand(NamedTuple):
    """An operand of several arrays' elements: those of them that have it, and their numbers."""

    numbers: Array
    batch: Batch


class Form(NamedTuple):
    """What a kernel's table is like."""

    operands: int
    units: int  # of a thread
    by: int  # number of an operand that each array has, whose order in memory counts

    def defines(self, inline: int) -> Defines:
        """Return what the kernel is compiled for."""
        return {
            "OPERANDS": self.operands, "STEP": _STEP, "UNITS": self.units, "INLINE": inline,
        }  # fmt: skip

    @property
    def chunk(self) -> int:
        """Elements of a block."""
        return THREADS * _STEP * self.units

    def variants(self) -> Iterator[Defines]:
        """Yield the defines of all tables."""
        yield self.defines(_INLINE)
        yield self.defines(0)


class Table(NamedTuple):
    """What is launched: a block a chunk."""

    defines: Defines
    chunks: int
    arguments: tuple[Any, ...]
    entries: int
    memory: Any  # where the entries are, if not among the arguments


def whole(batch: Batch) -> Operand:
    """Return an operand that each array has."""
    return Operand(np.arange(len(batch)), batch)


def part(arrays: Sequence[Array | None]) -> Operand:
    """Return an operand that some arrays have."""
    numbers = [i for i, x in enumerate(arrays) if x is not None]
    return Operand(np.array(numbers, np.int64), Batch([x for x in arrays if x is not None]))


class Entries:
    """Entries of arrays that have the same shapes, element by element, as all their operands."""

    def __init__(self, form: Form, operands: Sequence[Operand]) -> None:
        leader = operands[form.by].batch
        self.form = form
        self.rows = np.zeros(len(leader), _entry(form.operands))
        self.rows["number"] = np.arange(len(leader))
        self.rows["shape"] = 1
        self.rows["shape"][:, -1] = leader.sizes
        self.rows["form"] = _IN_UNITS | _IS_ALIGNED | _IS_FIRST
        # In which orders (`Batch.orders`) all operands lie side by side; else rows mean nothing.
        self.orders = np.full(len(leader), 3)
        for j, operand in enumerate(operands):
            self.put(j, operand)

    def put(self, j: int, operand: Operand) -> None:
        """Fill in an operand where it lies side by side."""
        numbers, batch = operand
        if not len(numbers):
            return
        rows, sizes = self.rows, batch.itemsizes
        rows["address"][numbers, j] = batch.addresses
        rows["strides"][numbers, j, -1] = sizes
        of_unit = _STEP * sizes
        rows["form"][numbers] &= ~np.where(batch.addresses % of_unit, _IN_UNITS, 0)
        rows["form"][numbers] &= ~np.where(batch.addresses % sizes, _IS_ALIGNED, 0)
        rows["form"][numbers] |= np.where(sizes == 2, _IS_HALF << j, 0)
        self.orders[numbers] &= batch.orders

    def chosen(self, numbers: Array) -> Entries:
        """Return a copy of those with these numbers."""
        some = Entries.__new__(Entries)
        some.form = self.form
        some.rows, some.orders = self.rows[numbers], self.orders[numbers]
        return some

    def completed(self, operands_of: Callable[[int], Sequence[Array | None]]) -> Array:
        """Return the entries of all arrays, numbered by chunks.

        operands_of: returns the operands of an array by its place, None where it lacks one.
        """
        rows = self.rows
        if not self.orders.all():
            parts = [
                rows[i : i + 1] if self.orders[i] else self._strided(rows[i], operands_of(i))
                for i in range(len(rows))
            ]
            rows = np.concatenate(parts)
        ends = np.cumsum(-(-rows["shape"].prod(axis=1) // self.form.chunk))
        rows["first"][1:] = ends[:-1]
        return rows

    def _strided(self, row: Any, arrays: Sequence[Array | None]) -> Array:
        """Return the entries of an array with any strides: as many as have few dimensions each."""
        leader = arrays[self.form.by]
        assert leader is not None
        nowhere = (0,) * leader.ndim
        shape, *strides = merge_dimensions(
            leader.shape, *(nowhere if x is None else x.strides for x in arrays), by=self.form.by
        )
        more = max(0, len(shape) - _DIMS)
        missing = [1] * (_DIMS - len(shape) + more)
        rows = np.zeros(math.prod(shape[:more]), row.dtype)
        rows["number"] = row["number"]
        rows["shape"] = missing + shape[more:]
        rows["form"][0] = _IS_FIRST
        aligned = True
        for j, (x, own) in enumerate(zip(arrays, strides, strict=True)):
            if x is None:
                continue
            address = address_of(x)
            offsets = itertools.product(
                *([step * i for i in range(n)] for n, step in zip(shape[:more], own, strict=False))
            )
            rows["address"][:, j] = [address + sum(offset) for offset in offsets]
            rows["strides"][:, j] = [0] * len(missing) + own[more:]
            rows["form"] |= _IS_HALF << j if x.itemsize == 2 else 0
            aligned = aligned and not any(n % x.itemsize for n in (address, *own))
        rows["form"] |= _IS_ALIGNED if aligned else 0
        return rows


class Sender:
    """Makes tables of entries; those that are sent once more stay where they are."""

    def __init__(self) -> None:
        self._content = b""
        self._memory: Any = None

    def table(self, form: Form, rows: Array) -> Table:
        """Return what is launched for these entries, at least one."""
        last = rows[-1]
        chunks = int(last["first"]) - -int(last["shape"].prod()) // form.chunk
        inline = _INLINE if len(rows) <= _INLINE else 0
        table = np.zeros(1, _table(form.operands, inline))
        if inline:
            table["entries"][0, : len(rows)] = rows
        else:
            content = rows.tobytes()
            if content != self._content:
                self._memory = runtime.upload(rows.view(np.uint8))
                self._content = content
            table["entries"] = runtime.address(self._memory)
        memory = None if inline else self._memory
        arguments = (table, np.int32(len(rows)))
        return Table(form.defines(inline), chunks, arguments, len(rows), memory)


@functools.cache
def _entry(operands: int) -> np.dtype[Any]:
    """Return what kernels call Entry."""
    return np.dtype(
        [
            ("first", np.int64),
            ("shape", np.int64, (_DIMS,)),
            ("address", np.uint64, (operands,)),
            ("strides", np.int64, (operands, _DIMS)),
            ("number", np.int32),
            ("form", np.int32),
        ]
    )


@functools.cache
def _table(operands: int, inline: int) -> np.dtype[Any]:
    """Return what kernels call Table."""
    entries = (_entry(operands), (inline,)) if inline else (np.uint64,)
    return np.dtype([("entries", *entries)])
