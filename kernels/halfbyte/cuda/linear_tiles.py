# SPDX-License-Identifier: Apache-2.0
"""Plan and launch a layer of many rows: see linear_tiles.cu for codes, linear_halves.cu."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.cuda import linear_end, runtime
from halfbyte.cuda.gemm_f16_plan import TILES, TURING, Tile
from halfbyte.cuda.gemm_int_plan import Format, shared_bytes, tile_defines
from halfbyte.cuda.linear_layout import BLOCK_K
from halfbyte.cuda.structures import I32, I64, OPERAND, structure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.cuda.linear_layout import Defines
    from halfbyte.cuda.linear_weights import Weights

_START = 192  # steps of k that a block could make while it starts and ends, as modelled
_ENDLESS = 1 << 30
_QUICK = (
    256  # steps of k of a group whose sums are quick: 256 * 128 * 128 = 2^22, with 16 * 8 as well
)


def multiply(x: Any, pitch: int, w: Weights, end: np.ndarray[Any, Any], *, halves: bool) -> None:
    """Launch the product of x, codes or halves in the layout, pitch bytes a row, and w."""
    m, n = int(end["m"][0]), int(end["n"][0])
    layout = w.layout
    capability = runtime.capability()
    quick = layout.grouped and layout.group <= _QUICK and not (halves or end["affine"][0])
    form = Form(w.stored, layout.grouped, bool(quick), halves)
    tile = _tile(m, n, layout.k, form, capability, runtime.multiprocessors())
    stem, defines = _kernel(tile, form)
    tiles = np.zeros(1, _TILES)
    tiles["end"] = end
    for name, start, row, step in (("a", x, pitch, 1 + halves), ("b", w.codes, w.pitch, 1)):
        tiles[name]["start"], tiles[name]["row"] = runtime.address(start), row
        tiles[name]["step"], tiles[name]["aligned"] = step, True
    tiles["places"], tiles["splits"] = layout.places, 1
    tiles["group_steps"] = layout.padded // BLOCK_K if layout.groups > 1 else _ENDLESS
    tiles["tiles_m"], tiles["tiles_n"] = tiles_m, tiles_n = (
        -(-m // tile.block_m),
        -(-n // tile.block_n),
    )
    shared = _shared_bytes(defines, form, capability)
    runtime.launch(stem, defines, tiles_m * tiles_n, tile.threads, (tiles,), shared=shared)


def variants() -> Iterator[tuple[str, Defines]]:
    """Yield the file and the defines of every kernel."""
    both = (False, True)
    for form in itertools.starmap(Form, itertools.product((8, 4), both, both, both)):
        if not form.quick or (form.grouped and not form.halves):
            yield from (_kernel(tile, form) for tile in _candidates(form, TURING + 5))


class Form(NamedTuple):
    """What is multiplied."""

    stored: int  # bits of a code
    grouped: bool
    quick: bool  # sums of codes of a group are small, without zero points
    halves: bool


def _candidates(form: Form, capability: int) -> list[Tile]:
    """Return the tiles there are: those for whose sums there are registers.

    Groups have two sums, and zero points take more; with sums of 64 x 64 in a warp, codes that
    become halves spill on Turing.
    """
    huge = capability > TURING and form.stored == 8
    most = 64 * 32 if form.grouped or form.halves else 64 * 64
    if form.grouped and not (form.quick or form.halves):
        most = 32 * 32
    tiles = [tile for name, tile in TILES.items() if huge or name != "huge"]
    return [tile for tile in tiles if tile.warp_m * tile.warp_n <= most]


@functools.lru_cache(maxsize=1024)
def _tile(m: int, n: int, k: int, form: Form, capability: int, multiprocessors: int) -> Tile:
    """Return the tile that models as the fastest: by the multiprocessor with most blocks."""

    def cycles(tile: Tile) -> float:
        blocks = -(-m // tile.block_m) * -(-n // tile.block_n)
        steps = k / (1 if form.halves else 2) + _START
        return -(-blocks // multiprocessors) * tile.block_m * tile.block_n * steps / tile.rate

    return min(_candidates(form, capability), key=cycles)


def _kernel(tile: Tile, form: Form) -> tuple[str, Defines]:
    """Return the file and the defines."""
    names = ("BLOCK_M", "BLOCK_N", "WARP_M", "WARP_N", "STAGES")
    sizes: Defines = dict(zip(names, tile[:5], strict=True))
    own: Defines = {"GROUPED": int(form.grouped), "QUICK": int(form.quick)}
    if form.halves:  # tiles are twice as deep as those of gemm_f16
        sizes["STAGES"] = tile.stages - 1
        return "linear_halves", {**sizes, **own, "B_BITS": form.stored}
    codes = Format(a_signed=True, b_signed=True, b_bits=form.stored, zero_points=False)
    return "linear_tiles", {**tile_defines(sizes, codes), **own}


def _shared_bytes(defines: Defines, form: Form, capability: int) -> int:
    """Return bytes of shared memory of a block."""
    if not form.halves:
        return shared_bytes(defines, form.stored, capability)
    places = int(defines["STAGES"]) if capability > TURING else 2
    return places * 8 * (16 * int(defines["BLOCK_M"]) + form.stored * int(defines["BLOCK_N"]))


_TILES = structure(
    end=linear_end.END,
    a=OPERAND,
    b=OPERAND,
    places=I64,
    **dict.fromkeys(("group_steps", "splits", "tiles_m", "tiles_n"), I32),
)
