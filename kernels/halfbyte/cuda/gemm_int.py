# SPDX-License-Identifier: Apache-2.0
"""Launch the integer matrix product: see gemm_int_plan.py for what is chosen, gemm_int.cu for how.

Kernels take codes in rows along k, 16-byte aligned; few rows also take b as it lies along n. What
lies otherwise is laid out first, in one pass, which is little beside a product of many rows.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import gemm_int_pack as packing
from halfbyte.cuda import runtime
from halfbyte.cuda.gemm_f16_plan import ACROSS, ALONG, FEW_ROWS
from halfbyte.cuda.gemm_f16_problem import BATCH
from halfbyte.cuda.gemm_int_pack import BLOCKS, BYTES, Source
from halfbyte.cuda.gemm_int_plan import MOST_NIBBLES, Format, plan, variants
from halfbyte.cuda.gemm_int_problem import problem_of
from halfbyte.cuda.structures import ADDRESS, I32, I64, OPERAND, SIZES, STRIDED, structure

if TYPE_CHECKING:
    from halfbyte.cuda.gemm_int_plan import Plan
    from halfbyte.cuda.gemm_int_problem import Problem, Zeros
    from halfbyte.quantized import Codes

__all__ = ["multiply", "variants"]

_CHUNK = 16  # bytes of a copy
_MOST_PRODUCTS = 65535  # of a launch: blocks along y
_SUM_THREADS = 256


def multiply(
    a: Codes, b: Codes, k: int, out: Any, a_zero_point: Any, b_zero_point: Any, *, packed: bool
) -> None:
    """out = (a - a_zero_point) @ (b - b_zero_point), any strides, out not empty.

    a (..., m, k) and b (..., k, n); packed: b is what `gemm_int_pack.pack` made. Zero points are
    arrays on the device, (m,), (n,) or (), or (), or NumPy's (), or None.
    """
    zeros = [_known(x) for x in (a_zero_point, b_zero_point)]
    array = b.array.T if packed else b.array
    problem = problem_of(a, b._replace(array=array), k, out, *zeros, packed=packed)
    outer, inner = problem.batch[:-BATCH], problem.batch[-BATCH:]
    chosen, load_b = _plan(problem, math.prod(inner))
    layout = _layout(problem, chosen)
    if chosen.splits > 1:
        shape = chosen.splits, math.prod(inner), problem.m, int(layout["pitch"][0])
        sums = runtime.empty(shape, np.int32)
        layout["sums"] = runtime.address(sums)
    to = _form_of_b(problem)
    for index in itertools.product(*map(range, outer)):
        left, _left = _ready(_at(problem.a, index), inner, problem.m, k, BYTES)
        right, _right = _at(problem.b, index), None
        if load_b == ALONG:
            right, _right = _ready(right, inner, problem.n, k, to)
        for name, source in (("a", left), ("b", right)):
            layout[name]["start"], layout[name]["row"] = source.address, source.row
            layout[name]["step"], layout[name]["batch"] = source.step, source.batch
        steps = zip(index, problem.out.batch, strict=False)
        layout["out"]["start"] = problem.out.address + sum(i * stride for i, stride in steps)
        for first in range(0, math.prod(inner), _MOST_PRODUCTS):
            layout["first"] = first
            _launch(chosen, layout, min(math.prod(inner) - first, _MOST_PRODUCTS))


def _launch(chosen: Plan, layout: np.ndarray[Any, Any], products: int) -> None:
    grid = chosen.blocks, products
    runtime.launch(
        chosen.stem, chosen.defines, grid, chosen.threads, (layout,), shared=chosen.shared
    )
    if chosen.splits > 1:
        work = int(layout["m"][0]) * int(layout["pitch"][0]) // 2
        grid = -(-work // _SUM_THREADS), products
        runtime.launch("gemm_int_sum", {}, grid, _SUM_THREADS, (layout,))


# ------------------------------------------------------------------------------- operands


def _form_of_b(problem: Problem) -> int:
    """Return how b is laid out along k: as bytes also where nibbles are too many to be added up."""
    nibbles = problem.b.form != BYTES and problem.k <= MOST_NIBBLES
    return BLOCKS if nibbles else BYTES


def _at(source: Source, index: tuple[int, ...]) -> Source:
    """Return the codes at an index of the leading dimensions that a launch has not."""
    steps = zip(index, source.batch, strict=False)
    address = source.address + sum(i * stride for i, stride in steps)
    return source._replace(address=address, batch=source.batch[-BATCH:])


def _ready(
    source: Source, batch: tuple[int, ...], rows: int, k: int, to: int
) -> tuple[Source, Any]:
    """Return codes in rows along k, and the memory they are in where they were laid out."""
    if _lies(source, k, to):
        return source, None
    sizes = tuple(size if stride else 1 for size, stride in zip(batch, source.batch, strict=True))
    laid = packing.laid_out(source, sizes, rows, k, to)
    strides = tuple(
        stride if size > 1 else 0 for size, stride in zip(sizes, laid.strides, strict=False)
    )
    address, row = runtime.address(laid), laid.strides[-2]
    return Source(address, row, 1, strides, to, source.signed, padded=True), laid


def _lies(source: Source, k: int, form: int) -> bool:
    """Whether codes lie in rows along k, in whole 16-byte chunks."""
    if source.form != form or form == BLOCKS:  # which are made by `gemm_int_pack` only
        return source.form == form
    places = (source.address, source.row, *source.batch)
    whole = source.padded or k % _CHUNK == 0
    return (source.step == 1 or not k) and whole and all(x % _CHUNK == 0 for x in places)


def _chunks_across(source: Source, to: int) -> bool:
    """Whether bytes lie along n in chunks as the kernel for few rows takes them."""
    size = _CHUNK if to == BYTES else _CHUNK // 2
    places = (source.address, source.step, *source.batch)
    return (
        source.form == (BYTES if to == BYTES else packing.ACROSS)
        and source.row == 1
        and all(x % size == 0 for x in places)
    )


# ------------------------------------------------------------------------- plan and layout


def _plan(problem: Problem, products: int) -> tuple[Plan, int]:
    """Return the plan, and how b is to lie."""
    few = problem.m <= FEW_ROWS
    to = _form_of_b(problem)
    load_b = ACROSS if few and _chunks_across(problem.b, to) else ALONG
    if _lies(problem.b, problem.k, to):
        load_b = ALONG
    shifted = any(zeros.values is not None for zeros in (problem.zero_a, problem.zero_b))
    form = Format(problem.a.signed, problem.b.signed, 8 if to == BYTES else 4, shifted)
    device = runtime.capability(), runtime.multiprocessors()
    return plan(problem.m, problem.n, problem.k, products, load_b, form, *device), load_b


def _layout(problem: Problem, chosen: Plan) -> np.ndarray[Any, Any]:
    """Return what kernels call IntProduct, but for the starts and what a caller adds."""
    layout = np.zeros(1, _PRODUCT)
    out = problem.out
    for name in ("m", "n", "k"):
        layout[name] = getattr(problem, name)
    layout["pitch"] = -(-problem.n // 2) * 2
    layout["products"] = math.prod(problem.batch[-BATCH:])
    layout["batch"] = problem.batch[-BATCH + 1 :]
    layout["split_k"], layout["splits"] = chosen.split_k, chosen.splits
    layout["tiles_m"], layout["tiles_n"] = chosen.tiles_m, chosen.tiles_n
    layout["out"]["row"], layout["out"]["column"] = out.row, out.column
    layout["out"]["batch"] = out.batch[-BATCH:]
    layout["aligned"] = out.multiple_of(4)
    layout["pairs"] = problem.n % 2 == 0 and out.column == 4 and out.multiple_of(8, column=False)
    for name, zeros in (("zero_a", problem.zero_a), ("zero_b", problem.zero_b)):
        _set_zero_points(layout[name], zeros)
    return layout


def _known(zero_point: Any) -> Any:
    """Return a zero point; a NumPy one as an int, and None for 0."""
    if isinstance(zero_point, np.ndarray):
        return int(zero_point) or None
    return zero_point


def _set_zero_points(layout: np.ndarray[Any, Any], zeros: Zeros) -> None:
    values = zeros.values
    layout["period"] = max(1, zeros.period)
    if values is None or isinstance(values, int):
        layout["value"] = values or 0
        return
    layout["start"] = runtime.address(values)
    layout["stride"] = values.strides[0] if values.ndim else 0
    layout["bytes"] = min(values.itemsize, 4)
    layout["is_signed"] = values.dtype.kind == "i"


_ZERO_POINTS = structure(start=ADDRESS, stride=I64, period=I64, value=I32, bytes=I32, is_signed=I32)
_PRODUCT = structure(
    a=OPERAND,
    b=OPERAND,
    out=STRIDED,
    zero_a=_ZERO_POINTS,
    zero_b=_ZERO_POINTS,
    **SIZES,
    pairs=I32,
    aligned=I32,
)
