# SPDX-License-Identifier: Apache-2.0
"""A matrix product on a device as the kernels see it: few leading dimensions, C in row order."""

from __future__ import annotations

from typing import Any, NamedTuple

from halfbyte.cuda import runtime
from halfbyte.cuda.gemm_f16_plan import FEW_ROWS
from halfbyte.dimensions import merge_dimensions
from halfbyte.tensors import PackedMatrix

BATCH = 3  # leading dimensions that a launch has


class View(NamedTuple):
    """Where the elements of an operand are; strides are in bytes, `batch` one a leading dimension.

    Rows and columns are those of C for c and out; for a and b, rows are theirs and columns are k.
    """

    address: int
    row: int
    column: int
    batch: tuple[int, ...]
    itemsize: int

    def multiple_of(self, size: int, *, row: bool = True, column: bool = True) -> bool:
        """Whether address and strides are, of which those along rows and columns may not matter."""
        steps = (self.address, *self.batch, self.row * row, self.column * column)
        return all(step % size == 0 for step in steps)

    def turned(self) -> View:
        """Return the same with rows and columns exchanged."""
        return self._replace(row=self.column, column=self.row)


class Problem(NamedTuple):
    """A product, its leading dimensions merged. A bias has strides along rows and columns of C."""

    m: int
    n: int
    k: int
    batch: tuple[int, ...]
    a: View
    b: View
    c: View | None
    out: View
    bias: View | None
    turned: bool = False  # C^T = B^T A^T stands for what was asked


def problem_of(a: Any, b: Any, out: Any, c: Any, bias: Any) -> Problem:
    """Look at the arguments of `gemm_f16.multiply`."""
    *leading, m, n = out.shape if out.ndim > 1 else (1, *out.shape)
    view_a, view_b, view_out = (_view(x, len(leading)) for x in (a, _unpacked(b), out))
    view_bias = None
    if bias is not None:
        address = runtime.address(bias)
        view_bias = View(address, 0, bias.strides[0] if n > 1 else 0, (), bias.itemsize)
    problem = Problem(
        m=m,
        n=n,
        k=a.shape[-1],
        batch=tuple(leading),
        a=view_a,
        b=view_b.turned(),  # a column of b is a row of the kernel's operand
        c=None if c is None else _view(c, len(leading)),
        out=view_out,
        bias=view_bias,
    )
    return _turned(_merged(_folded(problem)))


def _unpacked(b: Any) -> Any:
    """Return b as it is to be read: of a packed one, whose rows are padded, more steps of k."""
    return b._contents.T if isinstance(b, PackedMatrix) else b


def _view(x: Any, leading: int) -> View:
    """View of an array, stretched to so many leading dimensions."""
    strides = [s if size > 1 else 0 for s, size in zip(x.strides, x.shape, strict=True)]
    strides = [0] * (leading + 2 - len(strides)) + strides
    return View(runtime.address(x), strides[-2], strides[-1], tuple(strides[:-2]), x.itemsize)


def _folded(problem: Problem) -> Problem:
    """Take leading dimensions as rows: those that b does not have, where strides allow."""
    batch = list(problem.batch)
    m = problem.m
    views = [problem.a, problem.out, *([] if problem.c is None else [problem.c])]
    strides = [list(view.batch) for view in views]
    of_b = list(problem.b.batch)
    rows = [view.row for view in views]
    for d in reversed(range(len(batch))):
        own = [s[d] for s in strides]
        follows = m == 1 or own == [m * row for row in rows]
        if batch[d] == 1 or (of_b[d] == 0 and follows):
            if batch[d] > 1:
                rows = own if m == 1 else rows
                m *= batch[d]
            for numbers in (batch, of_b, *strides):
                del numbers[d]
    views = [
        view._replace(row=row, batch=tuple(s))
        for view, row, s in zip(views, rows, strides, strict=True)
    ]
    b = problem.b._replace(batch=tuple(of_b))
    c = views[2] if problem.c is not None else None
    return problem._replace(m=m, batch=tuple(batch), a=views[0], b=b, c=c, out=views[1])


def _merged(problem: Problem) -> Problem:
    """Merge leading dimensions into as few as there can be, three or more."""
    views = [problem.a, problem.b, problem.out, *([] if problem.c is None else [problem.c])]
    shape, *merged = merge_dimensions(problem.batch, *(view.batch for view in views), by=2)
    missing = max(0, BATCH - len(shape))
    batch = (1,) * missing + tuple(shape)
    views = [
        view._replace(batch=(0,) * missing + tuple(own))
        for view, own in zip(views, merged, strict=True)
    ]
    c = views[3] if problem.c is not None else None
    return problem._replace(batch=batch, a=views[0], b=views[1], out=views[2], c=c)


def _turned(problem: Problem) -> Problem:
    """Compute C^T = B^T A^T where that has few rows, or columns that lie side by side."""
    m, n, out = problem.m, problem.n, problem.out
    along_rows = out.row == out.itemsize and out.column != out.itemsize
    if m <= FEW_ROWS or not (n <= FEW_ROWS or along_rows):
        return problem
    return problem._replace(
        m=n,
        n=m,
        a=problem.b,
        b=problem.a,
        c=problem.c and problem.c.turned(),
        out=out.turned(),
        bias=problem.bias and problem.bias.turned(),
        turned=True,
    )
