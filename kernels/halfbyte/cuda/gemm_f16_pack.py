# SPDX-License-Identifier: Apache-2.0
"""Lay out b for many products: k contiguous, rows a multiple of 16 bytes long.

That is how weights (n, k) lie, and what copies of 16 bytes, ldmatrix without a transposition, and
the kernel for few rows like best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZE, _THREADS = 64, 256
_CHUNK = 8  # halves in 16 bytes


def pack(b: Any) -> Any:
    """Return b (k, n), float16 of any strides, as (n, k), rows padded with zeros."""
    k, n = b.shape
    return _transposed(b, (k, n), -(-k // _CHUNK) * _CHUNK)


def unpack(packed: Any, shape: tuple[int, int]) -> Any:
    """Return what was packed, (k, n) in C order."""
    k, n = shape
    return _transposed(packed, (n, k), n)


def variants() -> Iterator[tuple[str, dict[str, int | str]]]:
    """Yield the one kernel there is."""
    yield "gemm_f16_pack", {}


def _transposed(source: Any, shape: tuple[int, int], pitch: int) -> Any:
    """Return the first rows and columns of a matrix, transposed, rows of the result padded."""
    rows, columns = shape
    target = runtime.empty((columns, pitch), source.dtype)
    if not target.size:
        return target
    layout = np.zeros(1, _MATRIX)
    address, strides = runtime.address(source), source.strides
    layout["source"], layout["target"] = address, runtime.address(target)
    layout["row"], layout["column"] = strides
    layout["rows"], layout["columns"], layout["pitch"] = rows, columns, pitch
    layout["tiles"] = tiles = -(-pitch // _SIZE)
    layout["aligned"] = all(place % source.itemsize == 0 for place in (address, *strides))
    layout["by_rows"] = abs(strides[0]) < abs(strides[1])
    runtime.launch("gemm_f16_pack", {}, tiles * -(-columns // _SIZE), _THREADS, (layout,))
    return target


_MATRIX = np.dtype(
    [
        *((name, np.uint64) for name in ("source", "target")),
        *((name, np.int64) for name in ("row", "column", "rows", "columns", "pitch")),
        *((name, np.int32) for name in ("tiles", "aligned", "by_rows")),
    ],
    align=True,
)
