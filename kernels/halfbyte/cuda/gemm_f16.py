# SPDX-License-Identifier: Apache-2.0
"""Launch the FP16 matrix product: see gemm_f16_plan.py for what is chosen, gemm_f16.cu for how."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import single_bits
from halfbyte.cuda import runtime
from halfbyte.cuda.gemm_f16_plan import ACROSS, ALONG, ELEMENTS, plan, variants
from halfbyte.cuda.gemm_f16_problem import BATCH, problem_of
from halfbyte.cuda.structures import ADDRESS, I32, I64, OPERAND, SIZES, STRIDED, structure

if TYPE_CHECKING:
    from halfbyte.cuda.gemm_f16_plan import Plan
    from halfbyte.cuda.gemm_f16_problem import Problem, View

__all__ = ["multiply", "plan_of", "variants"]

ACTIVATIONS = {None: 0, "relu": 1, "gelu": 2, "silu": 3}

_CHUNK = 16  # bytes of a copy
_MOST_PRODUCTS = 65535  # of a launch: blocks along y
_SUM_THREADS = 256
_HALF, _KINDS = 2, {0: 0, 4: 1, 2: 2}  # by item size: epilogue.cuh's NONE, SINGLE, HALF


def multiply(
    a: Any, b: Any, out: Any, alpha: float, beta: float, c: Any, bias: Any, activation: str | None
) -> None:
    """out = activation(alpha * a @ b + beta * c + bias), any strides, out not empty.

    a (..., m, k) and b (..., k, n), float16, leading dimensions broadcast; or a (k,) and out (n,),
    one row; or b a PackedMatrix.
    c, of the shape of out but for strides of 0, and bias (n,) are float16 or float32, or None.
    """
    problem = problem_of(a, b, out, c, bias)
    chosen = _plan(problem)
    layout = _layout(problem, chosen)
    layout["epilogue"]["alpha"] = single_bits(alpha)
    layout["epilogue"]["beta"] = single_bits(beta)
    layout["epilogue"]["activation"] = ACTIVATIONS[activation]
    outer, inner = problem.batch[:-BATCH], problem.batch[-BATCH:]
    sums = None
    if chosen.splits > 1:
        pitch = int(layout["pitch"][0])
        sums = runtime.empty((chosen.splits, math.prod(inner), problem.m, pitch), np.float32)
        layout["sums"] = runtime.address(sums)
    for index in itertools.product(*map(range, outer)):
        _set_starts(layout, problem, index)
        for first in range(0, math.prod(inner), _MOST_PRODUCTS):
            layout["first"] = first
            _launch(chosen, layout, min(math.prod(inner) - first, _MOST_PRODUCTS))


def plan_of(a: Any, b: Any, out: Any) -> Plan:
    """Return the plan of `multiply` for these operands on the current device."""
    return _plan(problem_of(a, b, out, None, None))


def _launch(chosen: Plan, layout: np.ndarray[Any, Any], products: int) -> None:
    grid = chosen.blocks, products
    runtime.launch(
        chosen.stem, chosen.defines, grid, chosen.threads, (layout,), shared=chosen.shared
    )
    if chosen.splits > 1:
        m, n, pitch = (int(layout[name][0]) for name in ("m", "n", "pitch"))
        work = m * (pitch // 4 if layout["epilogue"]["vectors"][0] else n)
        grid = -(-work // _SUM_THREADS), products
        runtime.launch("gemm_f16_sum", {}, grid, _SUM_THREADS, (layout,))


# ------------------------------------------------------------------------- plan and layout


def _plan(problem: Problem) -> Plan:
    load_a = _load(problem.a, problem.m, problem.k)
    load_b = _load(problem.b, problem.n, problem.k)
    products = math.prod(problem.batch[-BATCH:])
    device = runtime.capability(), runtime.multiprocessors()
    return plan(problem.m, problem.n, problem.k, products, load_a, load_b, *device)


def _load(view: View, rows: int, k: int) -> int:
    """Return how an operand lies in memory, as the kernels count."""
    if (view.column == _HALF or k <= 1) and view.multiple_of(_CHUNK, column=False):
        return ALONG
    if (view.row == _HALF or rows == 1) and view.multiple_of(_CHUNK, row=False):
        return ACROSS
    return ELEMENTS


def _layout(problem: Problem, chosen: Plan) -> np.ndarray[Any, Any]:
    """Return what kernels call Product, but for the starts and what a caller adds."""
    m, n, k = problem.m, problem.n, problem.k
    layout = np.zeros(1, _PRODUCT)
    ends = [view for view in (problem.out, problem.c, problem.bias) if view is not None]
    for name in ("m", "n", "k"):
        layout[name] = getattr(problem, name)
    layout["pitch"] = -(-n // 4) * 4
    layout["products"] = math.prod(problem.batch[-BATCH:])
    layout["batch"] = problem.batch[-BATCH + 1 :]
    layout["split_k"], layout["splits"] = chosen.split_k, chosen.splits
    layout["tiles_m"], layout["tiles_n"] = chosen.tiles_m, chosen.tiles_n
    for name, view, rows in (("a", problem.a, m), ("b", problem.b, n)):
        # Where there is no next row or step of k, a stride is what a chunk has.
        along = _load(view, rows, k) == ALONG
        step = view.column if k > 1 else _HALF * along
        row = view.row if rows > 1 else _HALF * (not along)
        layout[name]["row"], layout[name]["step"] = row, step
        layout[name]["batch"] = view.batch[-BATCH:]
        layout[name]["aligned"] = view.multiple_of(_HALF)
        layout[name]["by_rows"] = abs(row) < abs(step)
    chunks = [(problem.a, m)] * (chosen.stem == "gemm_f16") + [(problem.b, n)]
    layout["whole"] = all(rows % 8 == 0 for view, rows in chunks if _load(view, rows, k) == ACROSS)
    layout["vectors_a"] = _load(problem.a, m, k) == ALONG
    epilogue = layout["epilogue"]
    for name, end in (("out", problem.out), ("c", problem.c)):
        if end is not None:
            epilogue[name]["row"], epilogue[name]["column"] = end.row, end.column
            epilogue[name]["batch"] = end.batch[-BATCH:]
            epilogue[f"{name}_kind"] = _KINDS[end.itemsize]
    if problem.bias is not None:
        bias = problem.bias
        epilogue["bias"], epilogue["bias_kind"] = bias.address, _KINDS[bias.itemsize]
        epilogue["bias_row"], epilogue["bias_column"] = bias.row, bias.column
    epilogue["aligned"] = all(view.multiple_of(view.itemsize) for view in ends)
    epilogue["vectors"] = n % 4 == 0 and all(map(_four_at_once, ends))
    return layout


def _four_at_once(view: View) -> bool:
    """Whether four columns are one access; or one number, of a bias along rows."""
    if not view.batch and not view.column:  # a bias
        return view.multiple_of(view.itemsize)
    return view.column == view.itemsize and view.multiple_of(4 * view.itemsize, column=False)


def _set_starts(layout: np.ndarray[Any, Any], problem: Problem, index: tuple[int, ...]) -> None:
    """Set where operands start for an index of the leading dimensions that a launch has not."""
    places = (
        (layout["a"], problem.a),
        (layout["b"], problem.b),
        (layout["epilogue"]["out"], problem.out),
        (layout["epilogue"]["c"], problem.c),
    )
    for place, view in places:
        if view is not None:
            steps = zip(index, view.batch, strict=False)
            place["start"] = view.address + sum(i * stride for i, stride in steps)


_EPILOGUE = structure(
    out=STRIDED,
    c=STRIDED,
    bias=ADDRESS,
    bias_row=I64,
    bias_column=I64,
    alpha=np.uint32,  # the bits of a float
    beta=np.uint32,
    **dict.fromkeys(("out_kind", "c_kind", "bias_kind", "activation", "vectors", "aligned"), I32),
)
_PRODUCT = structure(
    a=OPERAND,
    b=OPERAND,
    epilogue=_EPILOGUE,
    **SIZES,
    whole=I32,
    vectors_a=I32,
)
