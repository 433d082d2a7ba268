# SPDX-License-Identifier: Apache-2.0
"""Which kernel, tile and split of k a product of integers gets, from its shape and the device.

    rows, columns   kernel          tile
    1 to 8 of one   gemm_int_rows   8 rows x 32 or 128 columns, 8 warps along k
    more            gemm_int        that of a product of halves with half as many steps of k

A tensor core takes two codes where it takes one half, and moves as many bytes for them: what is
fast for halves is fast for codes. Sums of splits are exact, in whatever order they are added.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, NamedTuple

from halfbyte.cuda import gemm_f16_plan
from halfbyte.cuda.gemm_f16_plan import ACROSS, ALONG, FEW_ROWS, ROWS_WARPS, TILES, TURING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.cuda.gemm_f16_plan import Defines, Tile

# Nibbles that may be added up: signed ones count 16 times until the end, 2^16 * 255 * 128 < 2^31.
MOST_NIBBLES = 1 << 16
_MOST_SPLITS = 32


class Format(NamedTuple):
    """What is multiplied: a has codes of 8 bits."""

    a_signed: bool
    b_signed: bool
    b_bits: int
    zero_points: bool


class Plan(NamedTuple):
    """What is launched for one piece of a batch."""

    stem: str
    defines: Defines
    threads: int
    shared: int
    tiles_m: int
    tiles_n: int
    splits: int
    split_k: int

    @property
    def blocks(self) -> int:
        """Blocks for each product."""
        return self.tiles_m * self.tiles_n * self.splits


@functools.lru_cache(maxsize=4096)
def plan(
    m: int, n: int, k: int, products: int, load_b: int, form: Format,
    capability: int, multiprocessors: int,
) -> Plan:  # fmt: skip
    """Choose for `products` products (m, k) @ (k, n), none of m, n, products 0.

    load_b: how b lies in memory; ACROSS for few rows only.
    """
    if m <= FEW_ROWS:
        return _few_rows(n, k, products, load_b, form, multiprocessors)
    halves = gemm_f16_plan.plan(
        m, n, -(-k // 2), products, ALONG, ALONG, capability, multiprocessors
    )
    split_k = 2 * halves.split_k
    sizes = {name: halves.defines[name] for name in _SIZES}
    return Plan(
        stem="gemm_int",
        defines=tile_defines(sizes, form),
        threads=halves.threads,
        shared=shared_bytes(sizes, form.b_bits, capability),
        tiles_m=halves.tiles_m,
        tiles_n=halves.tiles_n,
        splits=max(1, -(-k // split_k)),
        split_k=split_k,
    )


def variants() -> Iterator[tuple[str, Defines]]:
    """Yield the file and the defines of kernels that plans choose.

    All tiles of a format, and all formats of a tile: a sign is but a letter of an instruction.
    """
    every = [
        Format(*x) for x in itertools.product((True, False), (True, False), (8, 4), (False, True))
    ]
    some = [x for x in every if x.a_signed and x.b_signed]
    yield "gemm_int_sum", {}
    for form in every:
        for name, tile in TILES.items():
            if form in some or name == "small":
                yield "gemm_int", tile_defines(_sizes(tile), form)
    for form in some:
        for load in (ALONG, ACROSS):
            yield "gemm_int_rows", _rows_defines(load, form)


_SIZES = ("BLOCK_M", "BLOCK_N", "WARP_M", "WARP_N", "STAGES")


def _sizes(tile: Tile) -> Defines:
    return dict(zip(_SIZES, tile[:5], strict=True))


def tile_defines(sizes: Defines, form: Format) -> Defines:
    """Return what int_tiles.cuh asks to be defined."""
    return {
        **sizes,
        "A_SIGNED": int(form.a_signed),
        "B_SIGNED": int(form.b_signed),
        "B_BITS": form.b_bits,
        "A_SUMS": int(form.zero_points),
        "B_SUMS": int(form.zero_points),
    }


def shared_bytes(sizes: Defines, b_bits: int, capability: int) -> int:
    """Return bytes of shared memory of a block: lines of 64 codes."""
    places = int(sizes["STAGES"]) if capability > TURING else 2
    return places * 8 * (8 * int(sizes["BLOCK_M"]) + b_bits * int(sizes["BLOCK_N"]))


def _rows_defines(load: int, form: Format) -> Defines:
    return {
        "LOAD": load,
        "A_SIGNED": int(form.a_signed),
        "B_SIGNED": int(form.b_signed),
        "B_BITS": form.b_bits,
        "SUMS": int(form.zero_points),
    }


def _few_rows(
    n: int, k: int, products: int, load_b: int, form: Format, multiprocessors: int
) -> Plan:
    """Plan for up to 8 rows: two blocks of 8 warps a multiprocessor keep the memory busy."""
    columns, turn = (128, 32) if load_b == ACROSS else (32, 128 if form.b_bits == 8 else 256)
    tiles = -(-n // columns)
    wanted = -(-2 * multiprocessors // (tiles * products))
    most = max(1, k // (ROWS_WARPS * turn))
    split_k = max(1, -(-k // (min(wanted, most, _MOST_SPLITS) * turn))) * turn
    return Plan(
        stem="gemm_int_rows",
        defines=_rows_defines(load_b, form),
        threads=32 * ROWS_WARPS,
        shared=0,
        tiles_m=1,
        tiles_n=tiles,
        splits=max(1, -(-k // split_k)),
        split_k=split_k,
    )
