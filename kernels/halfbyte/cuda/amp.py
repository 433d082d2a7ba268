# SPDX-License-Identifier: Apache-2.0
"""Plan and launch the kernels of loss scaling on lists of arrays; nothing here waits for the GPU.

Arrays that kernels read and write come as the headers that `runtime.header` makes of them. A flag
is a bool array of shape () with a word of its own (`runtime.flag`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.cuda import amp_lists as lists
from halfbyte.cuda import elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from halfbyte.arrays import Array
    from halfbyte.batch import Batch

_OF_GRADIENTS = lists.Form(operands=2, units=4, by=1)
_JOIN: lists.Defines = {"COLUMNS": 0}
_NOBODY = elements.NULL


class Verdict(NamedTuple):
    """Flags, or their addresses, that say whether a product is infinite or NaN. NULL: none."""

    found: Any = _NOBODY  # becomes True
    finite: Any = _NOBODY  # becomes False


NOWHERE = Verdict()


class Factor(NamedTuple):
    """A number, or the address of one in the GPU's memory."""

    known: float = 1.0
    address: Any = _NOBODY


def multiply(sources: Batch, targets: Batch, factor: Factor, verdict: Verdict = NOWHERE) -> None:
    """targets = sources * factor."""
    table = _table(sources, targets)
    if table is not None:
        _multiply(table, factor, verdict)


def look(table: lists.Table, factor: Factor, verdict: Verdict) -> None:
    """Look at the products of a step's gradients."""
    if table.chunks:
        _multiply(table, factor, verdict, writes=False)


def unscale(sources: Batch, targets: Batch, inverse: np.float32) -> Any:
    """Write sources times inverse to targets. Returns a flag, whether a result is not finite."""
    found = runtime.flag(False)
    multiply(sources, targets, Factor(float(inverse)), Verdict(found=found))
    return found


def clip(batch: Batch, largest: float, scale: float) -> Any:
    """Return the norm of arrays over a scale, and shrink them in place to a largest norm."""
    norm, factor = runtime.empty((), np.dtype(np.float64)), runtime.empty((), np.dtype(np.float32))
    table = _table(batch, batch)
    chunks = 0 if table is None else table.chunks
    sums = runtime.empty((chunks,), np.dtype(np.float64))
    if table is not None:
        defines = table.defines | _JOIN
        arguments = (*table.arguments, sums)
        runtime.launch("amp_norm", defines, chunks, lists.THREADS, arguments)
    numbers = (np.int64(chunks), np.float64(scale), np.float64(largest))
    join = (sums, *numbers, norm, factor)
    runtime.launch("amp_norm_join", _JOIN, 1, lists.THREADS, join)
    if table is not None:
        address = np.uint64(runtime.address(factor))
        _multiply(table, Factor(address=address), NOWHERE, clips=True)
    return norm


def _table(*batches: Batch) -> lists.Table | None:
    """Return a table of sources and targets; None where there is no element."""
    if not batches[0].sizes.sum():
        return None
    entries = lists.Entries(_OF_GRADIENTS, list(map(lists.whole, batches)))
    rows = entries.completed(lambda i: [batch.arrays[i] for batch in batches])
    return lists.Sender().table(_OF_GRADIENTS, rows)


def _multiply(
    table: lists.Table, factor: Factor, verdict: Verdict, *,
    clips: bool = False, writes: bool = True,
) -> None:  # fmt: skip
    arguments = (
        *table.arguments, factor.address, np.float32(factor.known), *verdict, np.int32(clips),
    )  # fmt: skip
    defines = table.defines | {"WRITES": int(writes)}
    runtime.launch("amp_multiply", defines, table.chunks, lists.THREADS, arguments)


# ---- Optimizers --------------------------------------------------------------------------------
_GRADIENT, _MASTER = 0, 2
_OF_STEPS = lists.Form(operands=5, units=2, by=_MASTER)

_ADAM = ("keep", "decay", "beta1", "rest1", "beta2", "rest2", "eps")
_SGD = ("decay", "momentum", "rate")


class Condition(NamedTuple):
    """Of a step: the address of the scale's reciprocal, and the flag without which it is none."""

    inverse: Any = _NOBODY
    finite: Any = _NOBODY


class StepRows:
    """Tables of an optimizer's steps. All operands but the gradients stay where they are.

    They are the float16 copies (None: there is none), the masters, and what else a step updates.
    """

    def __init__(self, *arrays: Sequence[Array | None]) -> None:
        self._arrays = (*arrays, *[[None] * len(arrays[0])] * (4 - len(arrays)))
        operands = (lists.part([]), *(lists.part(xs) for xs in self._arrays))
        self._kept = lists.Entries(_OF_STEPS, operands)
        self._sender = lists.Sender()

    def table(self, keys: list[int], gradients: Batch) -> lists.Table:
        """Return the table of the parameters with these numbers and their gradients."""
        entries = self._kept.chosen(np.array(keys, np.int64))
        entries.put(_GRADIENT, lists.whole(gradients))
        rows = entries.completed(
            lambda i: [gradients.arrays[i], *(xs[keys[i]] for xs in self._arrays)]
        )
        return self._sender.table(_OF_STEPS, rows)


def adam(
    table: lists.Table, products: Any, betas: tuple[float, float], lr: float,
    condition: Condition, *, decaying: bool, **values: float,
) -> None:  # fmt: skip
    """Make a step of Adam or AdamW. products: the powers of the betas, of each parameter."""
    coefficients = runtime.empty(products.shape, np.dtype(np.float32))
    rates = map(np.float64, (*betas, lr))
    arguments = (*table.arguments, products, coefficients, *rates, condition.finite)
    grid = -(-table.entries // lists.THREADS)
    runtime.launch("amp_products", table.defines, grid, lists.THREADS, arguments)
    numbers = _numbers(_ADAM, ("decaying",), values | {"decaying": decaying})
    _step("amp_adam", table, (numbers, coefficients), condition)


def sgd(
    table: lists.Table, condition: Condition, *, decaying: bool, nesterov: bool, **values: float
) -> None:
    """Make a step of SGD."""
    whether = {"decaying": decaying, "nesterov": nesterov}
    _step("amp_sgd", table, (_numbers(_SGD, tuple(whether), values | whether),), condition)


def _step(stem: str, table: lists.Table, numbers: tuple[Any, ...], condition: Condition) -> None:
    if table.chunks:
        arguments = (*table.arguments, *numbers, *condition)
        runtime.launch(stem, table.defines, table.chunks, lists.THREADS, arguments)


def _numbers(floats: tuple[str, ...], flags: tuple[str, ...], values: dict[str, float]) -> Array:
    """Return what kernels call Numbers, rounded once."""
    fields = [(name, np.float32) for name in floats] + [(name, np.int32) for name in flags]
    numbers = np.zeros(1, fields)
    with np.errstate(all="ignore"):
        for name, _ in fields:
            numbers[name] = values[name]
    return numbers


def variants() -> Iterator[tuple[str, lists.Defines]]:
    """Yield the file and the defines of the kernels."""
    for defines in _OF_GRADIENTS.variants():
        yield "amp_multiply", defines | {"WRITES": 1}
        yield "amp_norm", defines | _JOIN
    yield "amp_norm_join", _JOIN
    for defines in _OF_STEPS.variants():
        yield "amp_multiply", defines | {"WRITES": 0}
        for stem in ("amp_products", "amp_adam", "amp_sgd"):
            yield stem, defines
