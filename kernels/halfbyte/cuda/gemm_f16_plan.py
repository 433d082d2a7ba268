# SPDX-License-Identifier: Apache-2.0
"""Which kernel, tile and split of k a product of halves gets, from its shape and the device.

A plan knows no array: it is made of sizes, of how the operands lie in memory, and of a device's
compute capability and number of multiprocessors.

    rows, columns   operands        kernel           tile
    1 to 8 of one   any             gemm_f16_rows    8 rows x 32 or 64 columns, 8 warps along k
    more            chunks          gemm_f16         of TILES, the one that models as the fastest
    more            one by elements gemm_f16         64 x 64

Where tiles do not fill the device, k is split: each split leaves its sums in a workspace and
`gemm_f16_sum` adds them up in order.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    Defines = dict[str, int | str]

# How an operand lies in memory, as tiles.cuh counts: 16-byte chunks along k, across it, or neither.
ALONG, ACROSS, ELEMENTS = 0, 1, 2

TURING = 75
FEW_ROWS = 8
BLOCK_K = 32


class Tile(NamedTuple):
    """Sizes of a block's and a warp's part of C, and tiles in flight or in use (2 on Turing)."""

    block_m: int
    block_n: int
    warp_m: int
    warp_n: int
    stages: int
    rate: float  # of the tensor cores' best, as modelled

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * (self.block_m // self.warp_m) * (self.block_n // self.warp_n)

    def shared(self, capability: int) -> int:
        """Bytes of shared memory of a block."""
        places = self.stages if capability > TURING else 2
        return places * (self.block_m + self.block_n) * BLOCK_K * 2


#                  block     warp    stages rate   bytes an mma   blocks: Turing  sm_80  sm_86
TILES = {
    "huge": Tile(128, 256, 64, 64, 3, 1.00),  #        128                   -      1      1
    "large": Tile(128, 128, 64, 64, 3, 0.95),  #       128                   2      2      2
    "tall": Tile(128, 64, 64, 32, 3, 0.75),  #         192                   2      3      2
    "small": Tile(64, 64, 32, 32, 4, 0.60),  #         256                   4      4      3
    "flat": Tile(32, 128, 32, 32, 4, 0.50),  #         256                   3      4      2
}
# Bytes of shared memory that a warp reads for an mma of 16 x 8 x 16: 4096 (1/warp_m + 1/warp_n).
# Why not less: 96 need 227 registers for the sums alone. Blocks are those that fit one
# multiprocessor, by registers and shared memory; sm_90 is as sm_80, sm_89 and sm_120 as sm_86.

# Of the model: FP16 multiply-adds a multiprocessor makes in a cycle; steps of k that a block could
# make while it starts and ends; cycles that one more kernel takes; bytes a multiprocessor moves in
# a cycle; what four warps alone reach of a tile's rate.
_RATE, _START, _LAUNCH, _BANDWIDTH, _ALONE = 1024, 192, 4000, 12, 0.7
_MOST_SPLITS = 32
_LEAST_SPLIT = 256  # steps of k
_MOST_WORKSPACE = 1 << 26  # bytes; nothing catches an allocation that fails

ROWS_WARPS = 8


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
    partial_sums: int  # of each element of C, of warps that have work: the bound counts them

    @property
    def blocks(self) -> int:
        """Blocks for each product."""
        return self.tiles_m * self.tiles_n * self.splits


@functools.lru_cache(maxsize=4096)
def plan(
    m: int, n: int, k: int, products: int, load_a: int, load_b: int,
    capability: int, multiprocessors: int,
) -> Plan:  # fmt: skip
    """Choose for `products` products (m, k) @ (k, n), none of m, n, products 0.

    load_a, load_b: how a and b lie in memory.
    """
    if m <= FEW_ROWS:
        return _few_rows(n, k, products, load_b, multiprocessors)
    tile, splits = min(
        (
            (tile, splits)
            for tile in _candidates(load_a, load_b, capability)
            for splits in _split_counts(m, n, k, products)
        ),
        key=lambda choice: _cycles(choice[0], choice[1], m, n, k, products, multiprocessors),
    )
    split_k = _split_k(k, splits, BLOCK_K)
    splits = max(1, -(-k // split_k))
    return Plan(
        stem="gemm_f16",
        defines=_defines(tile, load_a, load_b),
        threads=tile.threads,
        shared=tile.shared(capability),
        tiles_m=-(-m // tile.block_m),
        tiles_n=-(-n // tile.block_n),
        splits=splits,
        split_k=split_k,
        partial_sums=splits,
    )


def variants() -> Iterator[tuple[str, Defines]]:
    """Yield the file and the defines of every kernel that a plan can choose."""
    for load in (ALONG, ACROSS, ELEMENTS):
        yield "gemm_f16_rows", {"LOAD": load}
    yield "gemm_f16_sum", {}
    loads = [(a, b) for a in (ALONG, ACROSS, ELEMENTS) for b in (ALONG, ACROSS, ELEMENTS)]
    for a, b in loads:
        for tile in _candidates(a, b, TURING + 5):
            yield "gemm_f16", _defines(tile, a, b)


def _candidates(load_a: int, load_b: int, capability: int) -> list[Tile]:
    if ELEMENTS in (load_a, load_b):
        return [TILES["small"]]  # what is loaded by elements takes many registers
    return [tile for name, tile in TILES.items() if capability > TURING or name != "huge"]


def _defines(tile: Tile, load_a: int, load_b: int) -> Defines:
    return {
        "BLOCK_M": tile.block_m,
        "BLOCK_N": tile.block_n,
        "BLOCK_K": BLOCK_K,
        "WARP_M": tile.warp_m,
        "WARP_N": tile.warp_n,
        "STAGES": tile.stages,
        "A_LOAD": load_a,
        "B_LOAD": load_b,
    }


def _split_counts(m: int, n: int, k: int, products: int) -> range:
    pitch = -(-n // 4) * 4
    fits = _MOST_WORKSPACE // (4 * products * m * pitch)
    return range(1, max(1, min(_MOST_SPLITS, k // _LEAST_SPLIT, fits)) + 1)


def _split_k(k: int, splits: int, unit: int) -> int:
    """Return steps of k of a split, whole units."""
    return max(1, -(-k // (splits * unit))) * unit


def _cycles(
    tile: Tile, splits: int, m: int, n: int, k: int, products: int, multiprocessors: int
) -> float:
    """Model how long a product takes: the multiprocessor with most blocks, then the sums."""
    blocks = -(-m // tile.block_m) * -(-n // tile.block_n) * splits * products
    depth = _split_k(k, splits, BLOCK_K) + _START
    work = tile.block_m * tile.block_n * depth / (_RATE * tile.rate)
    most = -(-blocks // multiprocessors)
    cycles = most * work / (_ALONE if most * tile.threads <= 128 else 1)
    if splits > 1:
        moved = (2 * splits + 1) * 4 * m * n * products
        cycles += _LAUNCH + moved / (_BANDWIDTH * multiprocessors)
    return cycles


def _few_rows(n: int, k: int, products: int, load_b: int, multiprocessors: int) -> Plan:
    """Plan for up to 8 rows: two blocks of 8 warps a multiprocessor keep the memory busy."""
    columns, steps = (64, 16) if load_b == ACROSS else (32, 32)
    tiles = -(-n // columns)
    turn = steps * (1 if load_b == ELEMENTS else 4)  # of one warp
    wanted = -(-2 * multiprocessors // (tiles * products))
    most = max(1, k // (ROWS_WARPS * turn))
    split_k = _split_k(k, min(wanted, most, _MOST_SPLITS), turn)
    splits = max(1, -(-k // split_k))
    last = k - (splits - 1) * split_k
    busy = [min(ROWS_WARPS, -(-depth // turn)) for depth in (split_k, last)]
    return Plan(
        stem="gemm_f16_rows",
        defines={"LOAD": load_b},
        threads=32 * ROWS_WARPS,
        shared=0,
        tiles_m=1,
        tiles_n=tiles,
        splits=splits,
        split_k=split_k,
        partial_sums=(splits - 1) * busy[0] + busy[1],
    )
