# SPDX-License-Identifier: Apache-2.0
"""Plan and launch the FP16 matrix product: block sizes, scratch memory, threads."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

import numpy as np

from halfbyte.arrays import address_of, single_bits
from halfbyte.cpu import blocking, threads
from halfbyte.cpu.activations import CODES
from halfbyte.cpu.gemm_f16_few import FEW_ROWS
from halfbyte.cpu.gemm_f16_narrow import multiply_narrow
from halfbyte.cpu.gemm_f16_wide import WIDE_ROWS, multiply_wide
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.launching import Plan, aligned_bytes, launch
from halfbyte.cpu.matrices import CACHE_LINE, REQUEST, Request
from halfbyte.cpu.pack import TILE_ROWS, pack, scratch_layout

if TYPE_CHECKING:
    from halfbyte.arrays import Array
    from halfbyte.tensors import PackedMatrix

_NO_SINGLE = np.empty((0, 0), np.float32)
_ONE_BITS = 0x3F800000
# What most products ask for: no epilogue, FP32, no batch; b plain, and b packed.
_PLAIN, _PACKED = (
    np.array(Request(*[0] * len(REQUEST))._replace(alpha=_ONE_BITS, packed=packed), np.int64)
    for packed in (0, 1)
)
_ALPHA, _BETA, _ACTIVATION, _BIAS = map(REQUEST.index, ("alpha", "beta", "activation", "bias"))
_C = slice(REQUEST.index("c"), REQUEST.index("c_half") + 1)
_OUT = slice(REQUEST.index("out"), REQUEST.index("out_column") + 1)
_NEXT = slice(REQUEST.index("a_next"), REQUEST.index("out_next") + 1)

# Weights (n, k) from memory, one row (Zen 5), of the read loop's rate: k = 4128 0.67 by panels of
# 64 columns and 0.53 by 16; k = 4096, whose rows all fall into the same sets of the L1: 0.34, 0.48.
_L1_WAY = 4096
_STREAM_STEPS = 64
_LAID_OUT_STEPS = 64

# Multiply-adds below which a second thread brings little: 150 us on Zen 5. Waking one takes 5 us,
# or 50 and more where its processor sleeps.
_THREADED = 20_000_000
# A few rows take as long as so many: b comes from memory.
_LEAST_ROWS = 8


@functools.lru_cache(maxsize=4096)
def plan(
    products: int, m: int, n: int, k: int, b_row: int, b_column: int, thread_count: int
) -> Plan:
    """Choose block sizes for the caches and split C over threads.

    b_row and b_column: byte strides of b, 0 if it is packed. Tasks: product0, product1, row0, row1,
    column0, column1; KC and MC, or KC, slim, swept and laid_out.
    """
    tasks = tasks_of(products, m, n, k, thread_count)
    rows = max(task[3] - task[2] for task in tasks)
    columns = max(task[5] - task[4] for task in tasks)
    wide = rows >= WIDE_ROWS
    # b's panel, FP32 if it is widened, takes half of the L2 cache; a, which streams, a quarter of
    # the L3.
    panel_row = PANEL * (4 if wide else 2)
    kc = blocking.split(k, max(256, blocking.cache_bytes(2) // (2 * panel_row)))
    most = max(384, blocking.cache_bytes(3) // 4 // (4 * max(k, 1)))
    mc = blocking.split(rows, most // TILE_ROWS * TILE_ROWS, TILE_ROWS) if wide else rows
    large = 2 * n * k > blocking.cache_bytes(2)
    streams = rows <= FEW_ROWS and large
    swept = streams and b_column == 2
    # With more rows, b is read in address order, so many rows that they take half of the L2 cache.
    laid_out = not wide and rows > FEW_ROWS and b_column == 2 and large
    if laid_out:
        kc = min(kc, _LAID_OUT_STEPS, max(16, blocking.cache_bytes(2) // (4 * max(1, columns))))
    turned = streams and b_row == 2 and b_column != 2
    if turned:
        kc = _STREAM_STEPS
    slim = turned and b_column % _L1_WAY == 0
    *_, end = scratch_layout(
        CACHE_LINE,
        mc,
        k,
        kc,
        rows * columns if swept or laid_out else 0,
        columns // PANEL if laid_out else 1,
    )
    scratch = end + (kc * PANEL * 4 if wide else 0)
    ways = (kc, mc) if wide else (kc, slim, swept, laid_out)
    kernel = multiply_wide if wide else multiply_narrow
    return Plan(kernel, scratch, tuple(np.array(task + ways, np.int64) for task in tasks))


def tasks_of(
    products: int, m: int, n: int, k: int, thread_count: int, rate: int = 1
) -> tuple[tuple[int, int, int, int, int, int], ...]:
    """Products, rows and columns of each task, from .. to. rate: how many times as fast as FP16
    multiply-adds these are."""
    work = products * max(m, _LEAST_ROWS) * n * max(k, 1) // rate
    thread_count = min(thread_count, max(1, 2 * work // _THREADED))
    if thread_count == 1 or work < _THREADED:
        return ((0, products, 0, m, 0, n),)
    if products >= thread_count:
        cuts = [products * t // thread_count for t in range(thread_count + 1)]
        return tuple((t0, t1, 0, m, 0, n) for t0, t1 in itertools.pairwise(cuts))
    rows, columns = _grid(m, n, thread_count)
    return tuple(
        (0, products, i, min(i + rows, m), j, min(j + columns, n))
        for i in range(0, m, rows)
        for j in range(0, n, columns)
    )


def _grid(m: int, n: int, thread_count: int) -> tuple[int, int]:
    """Rows and columns of a task: whole strips and panels, the largest task as small as can be,
    what each task packs for itself counted in."""

    def block(row_parts: int) -> tuple[int, int]:
        rows = -(-m // (row_parts * TILE_ROWS)) * TILE_ROWS
        columns = -(-n // (thread_count // row_parts * PANEL)) * PANEL
        return rows, columns

    # Packing an element of a or b costs about as much as 25 multiply-adds.
    def cost(size: tuple[int, int]) -> int:
        return size[0] * size[1] + 25 * (size[0] + size[1])

    return min((block(p) for p in range(1, thread_count + 1) if thread_count % p == 0), key=cost)


def multiply(
    a: Array, b: Array | PackedMatrix, out: Array, alpha: float, beta: float, c: Array | None,
    bias: Array | None, activation: str | None,
) -> None:  # fmt: skip
    """out = activation(alpha * a @ b + beta * c + bias).

    out (m, n) or (t, m, n), not empty; a, b and c have the same number of dimensions, t included,
    but for a packed b. bias is contiguous FP32.
    """
    packed = type(b) is not np.ndarray
    matrix = b._contents if packed else b
    if alpha == 1 and c is bias is activation is None and out.ndim == 2 and out.itemsize == 4:
        request, products, single = _PACKED if packed else _PLAIN, 1, out
    else:
        request, products = _request(a, b, out, alpha, beta, c, bias, activation)
        if out.ndim == 3:
            a, out = a[0], out[0]
            matrix = matrix if packed else matrix[0]
        single = out if out.itemsize == 4 else _NO_SINGLE
    m, n = out.shape
    b_row, b_column = (0, 0) if packed else matrix.strides
    chosen = plan(products, m, n, a.shape[1], b_row, b_column, threads.get_num_threads())
    launch(chosen, (a, matrix, single, request), (out, c, bias))


def _request(
    a: Array, b: Array | PackedMatrix, out: Array, alpha: float, beta: float, c: Array | None,
    bias: Array | None, activation: str | None,
) -> tuple[Array, int]:  # fmt: skip
    """The Request as an array, and the number of products."""
    packed = type(b) is not np.ndarray
    request = (_PACKED if packed else _PLAIN).copy()
    if alpha != 1:
        request[_ALPHA] = single_bits(alpha)
    if activation is not None:
        request[_ACTIVATION] = CODES[activation]
    if bias is not None:
        request[_BIAS] = address_of(bias)
    if c is not None:
        request[_BETA] = single_bits(beta)
        request[_C] = address_of(c), *c.strides[-2:], c.itemsize == 2
    if out.itemsize == 2:
        request[_OUT] = address_of(out), *out.strides[-2:]
    if out.ndim == 2:
        return request, 1
    b_next = 0 if packed else b.strides[0]
    request[_NEXT] = a.strides[0], b_next, 0 if c is None else c.strides[0], out.strides[0]
    return request, len(out)


def pack_panels(b: Array) -> Array:
    """Panels of b (k, n), one below the other: FP16, shape (ceil(n / 64) * k, 64), aligned to cache
    lines."""
    k, n = b.shape
    count = -(-n // PANEL)
    panels = aligned_bytes((count, k, 2 * PANEL)).view(np.float16)
    if b.size:
        parts = min(threads.get_num_threads(), count) if b.size > 1 << 20 else 1
        cuts = [count * t // parts for t in range(parts + 1)]
        threads.run(
            [functools.partial(pack, b, panels, p0, p1) for p0, p1 in itertools.pairwise(cuts)]
        )
    return panels.reshape(count * k, PANEL)
