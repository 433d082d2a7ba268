// SPDX-License-Identifier: Apache-2.0
// Which tile of C, and which split of k, a block works on.
#pragma once

#include "ptx.cuh"

constexpr int GROUP = 8;

struct Tile {
    int64 row, column;
    int split;
};

// Blocks that run together work on GROUP rows of tiles, so that they share what they read. rows,
// columns: of a tile.
template <typename P>
__device__ __forceinline__ Tile tile_of_block(const P& x, int rows, int columns) {
    Tile tile;
    tile.split = blockIdx.x % x.splits;
    const int number = blockIdx.x / x.splits;
    const int group = number / (GROUP * x.tiles_n), rest = number % (GROUP * x.tiles_n);
    const int height = min(GROUP, x.tiles_m - group * GROUP);
    tile.row = static_cast<int64>(group * GROUP + rest % height) * rows;
    tile.column = static_cast<int64>(rest / height) * columns;
    return tile;
}
