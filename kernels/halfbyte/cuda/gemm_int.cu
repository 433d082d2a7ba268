// SPDX-License-Identifier: Apache-2.0
// gemm_int: C[m, n] = (A[m, k] - za) (B[k, n] - zb), codes of 8 or 4 bits in, int32 out, exact.
//
//                        BLOCK_N
//                   +---------------+
//           BLOCK_K |  B tile, smem |     grid  = tiles of C, in groups of 8 tile rows for L2,
//                   +---------------+             times splits of k, times products of the batch
//   +-------+       +-------+-------+
//   |A tile | BLOCK |warp 0 | warp 1|     block = a warp for each WARP_M x WARP_N of C
//   | smem  |  _M   |-------+-------|
//   +-------+       |warp 2 | warp 3|     the loop over k: int_tiles.cuh
//                   +-------+-------+
//
// sum (a - za)(b - zb) = sum a b - zb sum a - za sum b + k za zb modulo 2^32, which is exact where
// the result fits int32: zero points cost the loop the two sums, which are those of codes that are
// in registers anyway. With more than one split a block leaves its part, zero points and all, for
// gemm_int_sum. Four lanes store the 32 bytes of a sector at once: no way through shared memory.

#include "int_product.cuh"
#include "int_tiles.cuh"
#include "tile_order.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, THREADS > 128 ? 1 : 2)
    gemm_int(const IntProduct x) {
    extern __shared__ __align__(1024) unsigned char shared[];
    const Tile tile = tile_of_block(x, BLOCK_M, BLOCK_N);
    const Member member(x, x.first + blockIdx.y);

    const int64 k0 = tile.split * x.split_k;
    const int depth = static_cast<int>(min(x.k - k0, x.split_k));
    Range range;
    range.start_a = member.start(x.a) + tile.row * x.a.row + k0;
    range.start_b = member.start(x.b) + tile.column * x.b.row + k0 * B_BITS / 8;
    range.rows = x.m - tile.row, range.columns = x.n - tile.column, range.depth = depth;
    Accumulators acc = {};
    accumulate(acc, x.a, x.b, range, shared, [] {});
    wait_for_all_but<0>();  // no copy of nothing outlives the block

    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int64 row0 = tile.row + warp / WARPS_N * WARP_M + g;
    const int64 column0 = tile.column + warp % WARPS_N * WARP_N + 2 * t;
    const Target target = target_of(x, member, tile.split);
    int32 zero_a[ROWS_I][2], sum_a[ROWS_I][2];
    if constexpr (A_SUMS) {
#pragma unroll
        for (int i = 0; i < ROWS_I; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int64 row = row0 + 16 * i + 8 * half;
                zero_a[i][half] = x.zero_a.get(row);
                sum_a[i][half] = acc.sum_a(i, half);
            }
    }
#pragma unroll
    for (int j = 0; j < COLUMNS_J; ++j) {
        const int64 column = column0 + 8 * j;
        int32 zero_b[2] = {}, sum_b[2] = {};
        if constexpr (B_SUMS) {
            acc.sum_b(j, sum_b);
#pragma unroll
            for (int e = 0; e < 2; ++e) zero_b[e] = x.zero_b.get(column + e);
        }
#pragma unroll
        for (int i = 0; i < ROWS_I; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int64 row = row0 + 16 * i + 8 * half;
                int32 sums[2];
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    sums[e] = acc.sum(i, j, 2 * half + e);
                    if constexpr (A_SUMS && B_SUMS)
                        sums[e] -= zero_b[e] * sum_a[i][half] +
                                   zero_a[i][half] * (sum_b[e] - depth * zero_b[e]);
                }
                if (row >= x.m || column >= x.n) continue;  // plant: bound
                target.two(sums[0], sums[1], row, column, x.n - column);
            }
    }
}
