# SPDX-License-Identifier: Apache-2.0
"""Plan and launch a layer of few rows: see linear_few.cu."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import linear_end, linear_layout, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.cuda.linear_layout import Defines, Layout
    from halfbyte.cuda.linear_weights import Weights

PLACES = 128  # of a row of x, a multiple: the longest step
_FEW_ROWS, _SOME_ROWS = 16, 64
_COLUMNS, _WARPS, _UNROLL = 32, 8, 2
_STEPS = {8: 64, 4: 128}  # by stored bits


def suits(m: int, n: int) -> bool:
    """Whether a result (m, n) is for this kernel: of few rows, or of too few tiles for the device.

    Weights are read again for every 16 rows, from the cache.
    """
    tiles = -(-n // _SOME_ROWS)
    return m <= _FEW_ROWS or (m <= _SOME_ROWS and tiles < runtime.multiprocessors())


def multiply(
    x: Any, pitch: int, places: int, w: Weights, end: np.ndarray[Any, Any], *, halves: bool
) -> None:
    """Launch the product of x, codes or halves in the layout, and w.

    pitch: bytes between rows of x. places: of a row of it, a multiple of PLACES.
    """
    m, n = int(end["m"][0]), int(end["n"][0])
    layout = w.layout
    defines = _defines(m, w.stored, layout, raw=w.raw, halves=halves)
    few = np.zeros(1, _FEW)
    few["end"] = end
    few["w"], few["x"] = runtime.address(w.codes), runtime.address(x)
    few["w_pitch"], few["x_pitch"] = w.pitch, pitch
    few["chunks"] = w.chunks
    few["places"] = places
    few["padded"] = layout.padded if layout.groups > 1 else linear_layout.ONE_GROUP
    row_tiles = -(-m // (8 * int(defines["ROW_TILES"])))
    few["row_tiles"] = row_tiles
    few["flip"] = w.flip
    threads = 32 * int(defines["WARPS"])
    runtime.launch("linear_few", defines, -(-n // _COLUMNS) * row_tiles, threads, (few,))


def variants() -> Iterator[tuple[str, Defines]]:
    """Yield the file and the defines of every kernel."""
    both = (False, True)
    layouts = [linear_layout.layout_of(4096, size) for size in (None, 128, 32)]
    weights = ((8, False), (4, False), (4, True))
    for m, (stored, raw), layout, halves in itertools.product((8, 16), weights, layouts, both):
        yield "linear_few", _defines(m, stored, layout, raw=raw, halves=halves)


def _defines(m: int, stored: int, layout: Layout, *, raw: bool, halves: bool) -> Defines:
    parts = 1
    if layout.groups > 1 and layout.padded % _STEPS[stored]:
        parts = _STEPS[stored] // linear_layout.BLOCK_K
    tiles = 1 if m <= 8 else 2
    return {
        "NIBBLES": int(stored == 4),
        "PLAIN": int(raw and stored == 4),
        "HALVES": int(halves),
        "GROUPED": int(layout.grouped),
        "PARTS": parts,
        "ROW_TILES": tiles,
        "UNROLL": 1 if layout.grouped else _UNROLL,
        "WARPS": _WARPS // 2 if parts * tiles == 8 else _WARPS,
    }


_FEW = np.dtype(
    [
        ("end", linear_end.END),
        *((name, np.uint64) for name in ("w", "x")),
        *((n, np.int64) for n in ("w_pitch", "x_pitch", "chunks", "places", "padded", "row_tiles")),
        ("flip", np.uint32),
    ],
    align=True,
)
