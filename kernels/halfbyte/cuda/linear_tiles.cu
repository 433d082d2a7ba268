// SPDX-License-Identifier: Apache-2.0
// linear_tiles: a layer of many rows of codes: the loop over k is int_tiles.cuh's, and each group's
// sums are used as soon as they are there.
//
// Both operands are in the layout of linear_layout.cuh, codes signed: A_SIGNED and B_SIGNED are 1.

#include "int_tiles.cuh"

constexpr bool HALVES = false;

#include "linear_part.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, THREADS > 128 ? 1 : 2)
    linear_tiles(const Tiles x) {
    extern __shared__ __align__(1024) unsigned char shared[];
    const Tile tile = tile_of_block(x, BLOCK_M, BLOCK_N);
    Part<int32> part(x, tile);
    const Range range = {reinterpret_cast<const char*>(x.a.start) + tile.row * x.a.row,
                         reinterpret_cast<const char*>(x.b.start) + tile.column * x.b.row,
                         x.end.m - tile.row, x.end.n - tile.column, x.places};
    Accumulators acc = {};
#pragma unroll
    for (int i = 0; i < ROWS_I * COLUMNS_J * 4; ++i)
        acc.c[i / (COLUMNS_J * 4)][i / 4 % COLUMNS_J][i % 4] = START;
    accumulate(acc, x.a, x.b, range, shared, [&] { part.step(acc.c); });
    wait_for_all_but<0>();  // plant: wait
    __syncthreads();        // plant: barrier
    part.finish(acc.c, shared);
}
