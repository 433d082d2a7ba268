# SPDX-License-Identifier: Apache-2.0
"""Plan and launch the kernels of loss scaling: tables of rows, threads, writing past the caches."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.arrays import address_of
from halfbyte.batch import Batch
from halfbyte.cpu import amp_gradients as gradients
from halfbyte.cpu import amp_steps as steps
from halfbyte.cpu import blocking, threads
from halfbyte.cpu.amp_rows import COUNT, DIRECT, NUMBER, OPERANDS, PIECE, SCRATCH_BYTES
from halfbyte.cpu.launching import scratch
from halfbyte.dimensions import merge_dimensions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from halfbyte.arrays import Array
    from halfbyte.cpu.compile import Kernel

# Elements below which waking a second thread costs more than it brings.
_THREADED = 1 << 17
# Rows shorter than this run along the longest dimension instead.
_SHORT = 64


# ---- Tables ------------------------------------------------------------------------------------
class Operand(NamedTuple):
    """An operand of several arrays' elements: those of them that have it, and their numbers."""

    numbers: Array
    batch: Batch


def whole(batch: Batch) -> Operand:
    """An operand that each array has."""
    return Operand(np.arange(len(batch)), batch)


def part(arrays: Sequence[Array | None]) -> Operand:
    """An operand that some arrays have."""
    numbers = [i for i, x in enumerate(arrays) if x is not None]
    return Operand(np.array(numbers, np.int64), Batch([x for x in arrays if x is not None]))


def rows_of(*batches: Batch) -> Array:
    """The table of arrays. Element by element, all batches have the same shapes.

    Rows follow the memory of the last batch.
    """
    rows, orders = _dense([whole(batch) for batch in batches], -1)
    return _completed(rows, orders, lambda i: [batch.arrays[i] for batch in batches], -1)


def _completed(
    rows: Array, orders: Array, operands_of: Callable[[int], list[Array | None]], by: int
) -> Array:
    """Rows of arrays that lie side by side (`_dense`), and of those with any strides instead of
    theirs."""
    if orders.all():
        return rows
    others = [
        _strided(int(rows[i, NUMBER]), operands_of(i), by) for i in np.flatnonzero(orders == 0)
    ]
    return np.concatenate([rows[orders != 0], *others])


def _dense(operands: Sequence[Operand], by: int) -> tuple[Array, Array]:
    """A row an array, and in which orders (`Batch.orders`) all its operands lie side by side: where
    that is 0, the row means nothing. by: number of an operand that each array has."""
    leader = operands[by].batch
    rows = np.zeros((len(leader), OPERANDS + 2 * len(operands)), np.int64)
    rows[:, COUNT] = leader.sizes
    rows[:, DIRECT] = 1
    rows[:, NUMBER] = np.arange(len(leader))
    orders = np.full(len(leader), 3)
    for j, operand in enumerate(operands):
        _put(rows, j, operand)
        orders[operand.numbers] &= operand.batch.orders
    return rows, orders


def _put(rows: Array, j: int, operand: Operand) -> None:
    """Put contiguous arrays into a table that has one row an array."""
    numbers, batch = operand
    if len(numbers):
        rows[numbers, OPERANDS + 2 * j] = batch.addresses
        rows[numbers, OPERANDS + 1 + 2 * j] = batch.itemsizes


def _strided(number: int, arrays: Sequence[Array | None], by: int) -> Array:
    """Rows of the operands of one array, with any strides."""
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
    rows = np.zeros((math.prod(shape[:-1]), OPERANDS + 2 * len(arrays)), np.int64)
    rows[:, COUNT] = shape[-1]
    rows[:, NUMBER] = number
    rows[:, DIRECT] = all(
        x is None or steps_of_x[-1] == x.itemsize
        for x, steps_of_x in zip(arrays, strides, strict=True)
    )
    for j, (x, steps_of_x) in enumerate(zip(arrays, strides, strict=True)):
        if x is not None:
            offsets = np.zeros(1, np.int64)
            for size, step in zip(shape[:-1], steps_of_x[:-1], strict=True):
                offsets = (offsets[:, None] + step * np.arange(size)).ravel()
            rows[:, OPERANDS + 2 * j] = address_of(x) + offsets
            rows[:, OPERANDS + 1 + 2 * j] = steps_of_x[-1]
    return rows


def _cut(rows: Array) -> Array:
    """The same elements in rows of at most PIECE; no empty ones."""
    counts = rows[:, COUNT]
    if counts.size and counts.min() > 0 and counts.max() <= PIECE:
        return rows
    parts = -(-counts // PIECE)
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
    elements = int(table[:, COUNT].sum())
    parts = min(threads.get_num_threads(), len(table), 1 + elements // _THREADED)
    cuts = [0, len(table)]
    if parts > 1:
        shares = [elements * t // parts for t in range(1, parts)]
        cuts[1:1] = np.searchsorted(np.cumsum(table[:, COUNT]), shares, "right").tolist()
    threads.run(
        [
            functools.partial(_run, owners, kernel, table, first, last, streaming, *arguments)
            for first, last in itertools.pairwise(cuts)
            if first < last
        ]
    )


def _run(
    owners: object, kernel: Kernel, table: Array, first: int, last: int, streaming: bool,
    *arguments: object,
) -> None:  # fmt: skip
    memory = scratch(SCRATCH_BYTES)
    kernel(table, first, last, int(streaming), address_of(memory), *arguments)


def _past_cache(nbytes: int) -> bool:
    return nbytes > blocking.cache_bytes(3)


# ---- Gradients ---------------------------------------------------------------------------------
_MULTIPLY = {
    (4, 4): gradients.multiply_singles,
    (2, 4): gradients.widen_halves,
    (2, 2): gradients.multiply_halves,
}
_LOOK = {4: gradients.look_at_singles, 2: gradients.look_at_halves}
_SQUARE = {4: gradients.square_singles, 2: gradients.square_halves}


def multiply(sources: Batch, targets: Batch, factor: np.float32) -> bool:
    """targets = sources * factor. Returns whether all results are finite.

    float32 to float32 or float16 to either; same shapes, any strides.
    """
    found = np.zeros(1, np.int64)
    for size, numbers, some in sources.by_itemsize():
        for target_size, places, ys in targets.chosen(numbers).by_itemsize():
            xs = some.chosen(places)
            table = _cut(rows_of(xs, ys))
            nbytes = int(xs.sizes.sum()) * (size + target_size)
            streaming = _past_cache(nbytes) and bool((xs.addresses != ys.addresses).any())
            kernel = _MULTIPLY[size, target_size]
            _launch(kernel, table, (xs, ys), factor, found, streaming=streaming)
    return not found[0]


def all_finite(batch: Batch, factor: np.float32) -> bool:
    """Whether all multiples of float16 and float32 arrays are finite in float32."""
    found = np.zeros(1, np.int64)
    for size, _, some in batch.by_itemsize():
        _launch(_LOOK[size], _cut(rows_of(some)), some, factor, found)
    return not found[0]


def sum_of_squares(batch: Batch) -> float:
    """The sum of the squares of float16 and float32 elements, in FP64.

    Rows are summed up in a fixed order; these sums are added exactly and rounded once.
    """
    sums = [np.zeros(0)]
    for size, _, some in batch.by_itemsize():
        table = _cut(rows_of(some))
        sums.append(np.zeros(len(table)))
        _launch(_SQUARE[size], table, some, sums[-1])
    parts = np.concatenate(sums)
    return math.fsum(parts) if np.isfinite(parts).all() else float(parts.sum())


# ---- Optimizers --------------------------------------------------------------------------------
class StepRows:
    """Tables of an optimizer's steps. All operands but the gradients stay where they are.

    They are the float16 copies (None: there is none), the masters, and what else a step updates.
    """

    def __init__(self, *arrays: Sequence[Array | None]) -> None:
        self._arrays = arrays
        operands = (part([]), *(part(xs) for xs in arrays))
        self._kept, self._orders = _dense(operands, steps.MASTER)

    def table(self, keys: Array, gradients: Batch) -> Array:
        """Rows of the parameters with these numbers and their gradients."""
        rows: Array = self._kept[keys]
        _put(rows, steps.GRADIENT, whole(gradients))
        return _completed(
            rows, self._orders[keys] & gradients.orders,
            lambda i: [gradients.arrays[i], *(xs[keys[i]] for xs in self._arrays)], steps.MASTER,
        )  # fmt: skip


def coefficients(count: int, keys: list[int], **values: Any) -> Array:
    """A row for each of so many parameters, filled for those with these numbers.

    values: for all, or one for each key; by the names of places in `amp_steps`. Rounded to float32.
    """
    rows = np.zeros((count, steps.COEFFICIENTS), np.float32)
    exact = np.zeros((len(keys), steps.COEFFICIENTS))
    for name, value in values.items():
        exact[:, getattr(steps, name.upper())] = value
    with np.errstate(all="ignore"):
        rows[keys] = exact
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
