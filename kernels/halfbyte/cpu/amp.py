# SPDX-License-Identifier: Apache-2.0
"""Plan and launch the kernels of loss scaling: tables of rows, threads, writing past the caches."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from halfbyte.cpu import amp_gradients as gradients
from halfbyte.cpu import amp_steps as steps
from halfbyte.cpu import blocking, threads
from halfbyte.cpu.amp_rows import COUNT, DIRECT, NUMBER, OPERANDS, PIECE, SCRATCH_BYTES
from halfbyte.cpu.dimensions import merge_dimensions
from halfbyte.cpu.launching import address_of, scratch
from halfbyte.overlaps import addresses_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from halfbyte.arrays import Array
    from halfbyte.cpu.compile import Kernel

    # Arrays of one operand. One that some have not, has none (None), or none at all.
    Operand = Sequence[Array | None]

COEFFICIENTS = steps.COEFFICIENTS

# Elements below which waking a second thread costs more than it brings.
_THREADED = 1 << 18
# Rows shorter than this run along the longest dimension instead.
_SHORT = 64


# ---- Tables ------------------------------------------------------------------------------------
def rows_of(*operands: Operand, by: int = -1) -> Array:
    """The table of arrays: element by element, all operands have the same shapes.

    by: number of the operand whose memory rows follow. It is never None.
    """
    leaders = operands[by]
    if _contiguous(operands):
        rows = np.zeros((len(leaders), OPERANDS + 2 * len(operands)), np.int64)
        rows[:, COUNT] = [x.size for x in leaders]  # type: ignore[union-attr]
        rows[:, DIRECT] = 1
        rows[:, NUMBER] = np.arange(len(leaders))
        for j, xs in enumerate(operands):
            set_operand(rows, j, xs)
        return rows
    tables = [
        _strided(number, arrays, by) for number, arrays in enumerate(zip(*operands, strict=True))
    ]
    return np.concatenate(tables)


def _contiguous(operands: Iterable[Operand]) -> bool:
    return all(x is None or x.flags.c_contiguous for xs in operands for x in xs)


def set_operand(rows: Array, operand: int, arrays: Operand) -> None:
    """Put contiguous arrays, one a row, into a table. Where there is none, its row stays."""
    there = [i for i, x in enumerate(arrays) if x is not None]
    if there:
        some: list[Array] = [x for x in arrays if x is not None]
        rows[there, OPERANDS + 2 * operand] = addresses_of(some)
        rows[there, OPERANDS + 1 + 2 * operand] = [x.itemsize for x in some]


def _strided(number: int, arrays: Iterable[Array | None], by: int) -> Array:
    """Rows of the operands of one array with any strides."""
    arrays = list(arrays)
    leader = arrays[by]
    assert leader is not None
    nowhere = (0,) * leader.ndim
    shape, *strides = merge_dimensions(
        leader.shape, *(nowhere if x is None else x.strides for x in arrays), by=by
    )
    if shape[-1] < _SHORT:  # elements may be taken in any order
        longest = shape.index(max(shape))
        for sizes in (shape, *strides):
            sizes.append(sizes.pop(longest))
    count = math.prod(shape[:-1])
    rows = np.zeros((count, OPERANDS + 2 * len(arrays)), np.int64)
    rows[:, COUNT] = shape[-1]
    rows[:, NUMBER] = number
    direct = True
    for j, (x, steps_of_x) in enumerate(zip(arrays, strides, strict=True)):
        if x is None:
            continue
        offsets = np.zeros(1, np.int64)
        for size, step in zip(shape[:-1], steps_of_x[:-1], strict=True):
            offsets = (offsets[:, None] + step * np.arange(size)).ravel()
        rows[:, OPERANDS + 2 * j] = address_of(x) + offsets
        rows[:, OPERANDS + 1 + 2 * j] = steps_of_x[-1]
        direct = direct and steps_of_x[-1] == x.itemsize
    rows[:, DIRECT] = direct
    return rows


def _cut(rows: Array) -> Array:
    """The same elements in rows of at most PIECE; no empty ones."""
    counts = rows[:, COUNT]
    parts = -(-counts // PIECE)
    if (parts == 1).all():
        return rows
    cut = np.repeat(rows, parts, axis=0)
    first = PIECE * (np.arange(len(cut)) - np.repeat(np.cumsum(parts) - parts, parts))
    cut[:, OPERANDS::2] += first[:, None] * cut[:, OPERANDS + 1 :: 2]
    cut[:, COUNT] = np.minimum(cut[:, COUNT] - first, PIECE)
    return cut


# ---- Launching ---------------------------------------------------------------------------------
def _launch(
    kernel: Kernel, table: Array, owners: object, *arguments: object, streaming: bool = False
) -> None:
    """Run a kernel over a table's rows. owners: of the memory that the table names by address."""
    done = np.cumsum(table[:, COUNT])
    if not done.size:
        return
    elements = int(done[-1])
    parts = min(threads.get_num_threads(), len(table), max(1, 2 * elements // _THREADED))
    cuts = [0, *np.searchsorted(done, [elements * t // parts for t in range(1, parts)]), len(table)]
    threads.run(
        [
            functools.partial(_run, owners, kernel, table, first, last, streaming, *arguments)
            for first, last in itertools.pairwise(map(int, cuts))
            if first < last
        ]
    )


def _run(
    owners: object, kernel: Kernel, table: Array, first: int, last: int, streaming: bool,
    *arguments: object,
) -> None:  # fmt: skip
    kernel(table, first, last, int(streaming), address_of(scratch(SCRATCH_BYTES)), *arguments)


def _past_cache(nbytes: int) -> bool:
    return nbytes > blocking.cache_bytes(3)


# ---- Gradients ---------------------------------------------------------------------------------
def multiply(sources: Sequence[Array], targets: Sequence[Array], factor: np.float32) -> bool:
    """targets = sources * factor. Returns whether all results are finite.

    float32 to float32 or float16 to either; same shapes, any strides.
    """
    found = np.zeros(1, np.int64)
    for kernel, size, target_size in (
        (gradients.multiply_singles, 4, 4),
        (gradients.widen_halves, 2, 4),
        (gradients.multiply_halves, 2, 2),
    ):
        chosen = [
            i
            for i, (x, y) in enumerate(zip(sources, targets, strict=True))
            if x.itemsize == size and y.itemsize == target_size
        ]
        if chosen:
            xs, ys = [sources[i] for i in chosen], [targets[i] for i in chosen]
            nbytes = sum(x.nbytes + y.nbytes for x, y in zip(xs, ys, strict=True))
            elsewhere = any(x is not y for x, y in zip(xs, ys, strict=True))
            table = _cut(rows_of(xs, ys))
            _launch(
                kernel, table, (xs, ys), factor, found,
                streaming=elsewhere and _past_cache(nbytes),
            )  # fmt: skip
    return not found[0]


def all_finite(arrays: Sequence[Array], factor: np.float32) -> bool:
    """Whether all multiples of float16 and float32 arrays are finite in float32."""
    found = np.zeros(1, np.int64)
    for kernel, size in ((gradients.look_at_singles, 4), (gradients.look_at_halves, 2)):
        chosen = [x for x in arrays if x.itemsize == size]
        if chosen:
            _launch(kernel, _cut(rows_of(chosen)), chosen, factor, found)
    return not found[0]


def sum_of_squares(arrays: Sequence[Array]) -> float:
    """The sum of the squares of float16 and float32 elements, in FP64.

    Rows are summed up in a fixed order; these sums are added exactly and rounded once.
    """
    sums = [np.zeros(0)]
    for kernel, size in ((gradients.square_singles, 4), (gradients.square_halves, 2)):
        chosen = [x for x in arrays if x.itemsize == size]
        if chosen:
            table = _cut(rows_of(chosen))
            sums.append(np.zeros(len(table)))
            _launch(kernel, table, chosen, sums[-1])
    parts = np.concatenate(sums)
    return math.fsum(parts) if np.isfinite(parts).all() else float(parts.sum())


# ---- Optimizers --------------------------------------------------------------------------------
class StepRows:
    """Tables of an optimizer's steps. All operands but the gradients stay where they are.

    They are the float16 copies (None: there is none), the masters, and what else a step updates.
    """

    def __init__(self, *operands: Operand) -> None:
        self._operands = operands
        self._kept = None
        if _contiguous(operands):
            self._kept = rows_of([None] * len(operands[0]), *operands, by=steps.MASTER)

    def table(self, keys: list[int], gradients: Sequence[Array]) -> Array:
        """Rows of the parameters with these numbers and their gradients."""
        if self._kept is not None and _contiguous([gradients]):
            rows: Array = self._kept[keys]
            set_operand(rows, steps.GRADIENT, gradients)
            return rows
        chosen = [[xs[key] for key in keys] for xs in self._operands]
        rows = rows_of(gradients, *chosen, by=steps.MASTER)
        rows[:, NUMBER] = np.array(keys)[rows[:, NUMBER]]
        return rows


def adam(rows: Array, owners: object, size: int, coefficients: Array, *, decaying: bool) -> None:
    """Make a step of Adam or AdamW. size: bytes of a gradient's element."""
    kernel = steps.adam_of_halves if size == 2 else steps.adam_of_singles
    _step(kernel, rows, owners, coefficients, int(decaying))


def sgd(
    rows: Array, owners: object, size: int, coefficients: Array, *, decaying: bool, nesterov: bool
) -> None:
    """Make a step of SGD. size: bytes of a gradient's element."""
    kernel = steps.sgd_of_halves if size == 2 else steps.sgd_of_singles
    _step(kernel, rows, owners, coefficients, int(decaying), int(nesterov))


def _step(kernel: Kernel, rows: Array, owners: object, *arguments: object) -> None:
    elements = int(rows[:, COUNT].sum())
    operands = (rows.shape[1] - OPERANDS) // 2
    streaming = _past_cache(4 * elements * operands)
    _launch(kernel, _cut(rows), owners, *arguments, streaming=streaming)
