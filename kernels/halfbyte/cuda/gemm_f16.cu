// SPDX-License-Identifier: Apache-2.0
// gemm_f16: C[m, n] = A[m, k] B[k, n], float16 in, float32 accumulation, and an epilogue.
//
//                        BLOCK_N
//                   +---------------+
//           BLOCK_K |  B tile, smem |     grid  = tiles of C, in groups of 8 tile rows for L2,
//                   +---------------+             times splits of k, times products of the batch
//   +-------+       +-------+-------+     block = a warp for each WARP_M x WARP_N of C
//   |A tile | BLOCK |warp 0 | warp 1|
//   | smem  |  _M   |-------+-------|     a warp: fragments of 16 x 16 of A and 16 x 8 of B in
//   +-------+       |warp 2 | warp 3|             registers, loaded a step of k ahead
//                   +-------+-------+
//
// STAGES tiles of A and of B are in flight or in use (2 on Turing, whose copies go through
// registers). A_LOAD, B_LOAD: how an operand lies in memory, see tiles.cuh. With more than one split
// a block leaves its sums for gemm_f16_sum, which adds them up in order: the same bits in every run.

#include "tile_order.cuh"
#include "tiles.cuh"

constexpr int WARPS_N = BLOCK_N / WARP_N, WARPS = BLOCK_M / WARP_M * WARPS_N, THREADS = 32 * WARPS;
constexpr int PLACES = ASYNC ? STAGES : 2;
constexpr int ROWS_I = WARP_M / 16, COLUMNS_J = WARP_N / 16, STEPS = BLOCK_K / 16;

using LoaderA = Loader<BLOCK_M, BLOCK_K, THREADS, A_LOAD>;
using LoaderB = Loader<BLOCK_N, BLOCK_K, THREADS, B_LOAD>;
constexpr int PLACE_BYTES = LoaderA::BYTES + LoaderB::BYTES;

// Rows of 16 x WARP_N sums on their way through shared memory; 8 more, and no bank is met twice.
constexpr int SLAB_PITCH = WARP_N + 8, SLAB_FLOATS = 16 * SLAB_PITCH;
static_assert(WARPS * SLAB_FLOATS * 4 <= PLACES * PLACE_BYTES);

template <bool VALUE>
struct Constant {
    static constexpr bool value = VALUE;
};

struct Accumulators {
    float c[ROWS_I][2 * COLUMNS_J][4];

    // Write 16 rows to shared memory, in C order.
    __device__ __forceinline__ void stage(float* slab, int i) const {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
        for (int other = 0; other < ROWS_I; ++other) {
            if (other != i) continue;  // registers cannot be indexed by i
#pragma unroll
            for (int j = 0; j < 2 * COLUMNS_J; ++j)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int at = (g + 8 * half) * SLAB_PITCH + 8 * j + 2 * t;
                    const float* x = c[other][j] + 2 * half;
                    store_shared(shared_address(slab + at), x[0], x[1]);
                }
        }
    }
};

// A warp's 16 x WARP_N sums, from shared memory to where they go.
struct Slab {
    const Product& x;
    const Finish& finish;
    float* sums;

    __device__ __forceinline__ void store(const float* slab, int64 row0, int64 column0) const {
        const int lane = threadIdx.x % 32;
        const int rows = static_cast<int>(min(x.m - row0, static_cast<int64>(16)));
        const int columns = static_cast<int>(min(x.n - column0, static_cast<int64>(WARP_N)));
        if (sums || x.epilogue.vectors) {
            constexpr int FOURS = WARP_N / 4;
#pragma unroll 1
            for (int i = lane; i < 16 * FOURS; i += 32) {
                const int row = i / FOURS, column = i % FOURS * 4;
                if (row >= rows || column >= columns) continue;  // plant: bound
                const float4 v = *reinterpret_cast<const float4*>(slab + row * SLAB_PITCH + column);
                if (sums) {
                    float* p = sums + (row0 + row) * x.pitch + column0 + column;
                    *reinterpret_cast<float4*>(p) = v;
                } else {
                    float four[4] = {v.x, v.y, v.z, v.w};
                    finish.four(four, row0 + row, column0 + column);
                }
            }
        } else {
#pragma unroll 1
            for (int i = lane; i < 16 * WARP_N; i += 32) {
                const int row = i / WARP_N, column = i % WARP_N;
                if (row >= rows || column >= columns) continue;  // plant: bound
                finish.one(slab[row * SLAB_PITCH + column], row0 + row, column0 + column);
            }
        }
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, THREADS > 128 ? 1 : 2)
    gemm_f16(const Product x) {
    extern __shared__ __align__(1024) unsigned char shared[];
    const int warp = threadIdx.x / 32;
    const int warp_row = warp / WARPS_N * WARP_M, warp_column = warp % WARPS_N * WARP_N;
    const Tile tile = tile_of_block(x, BLOCK_M, BLOCK_N);
    const Member member(x, x.first + blockIdx.y);

    const int64 k0 = tile.split * x.split_k;
    const int64 depth = min(x.k - k0, x.split_k);
    const int tiles = static_cast<int>((depth + BLOCK_K - 1) / BLOCK_K);
    const int last = static_cast<int>(depth - static_cast<int64>(tiles - 1) * BLOCK_K);

    const char* start_a = member.start(x.a) + tile.row * x.a.row + k0 * x.a.step;
    const char* start_b = member.start(x.b) + tile.column * x.b.row + k0 * x.b.step;
    LoaderA load_a(x.a, start_a, x.m - tile.row);
    LoaderB load_b(x.b, start_b, x.n - tile.column);
    const Fragments<BLOCK_M, BLOCK_K, A_LOAD, false> from_a(warp_row);
    const Fragments<BLOCK_N, BLOCK_K, B_LOAD, true> from_b(warp_column);

    const uint32 first = shared_address(shared), end = first + PLACES * PLACE_BYTES;
    // Steps of k that there are of a tile.
    const auto left_of = [&](int t) { return t < tiles - 1 ? BLOCK_K : t == tiles - 1 ? last : 0; };
    const auto start_copies = [&](auto whole, uint32 target, int t) {
        constexpr bool WHOLE = decltype(whole)::value;
        const int left = WHOLE ? BLOCK_K : left_of(t);
        load_a.template start<WHOLE>(target, left);
        load_b.template start<WHOLE>(target + LoaderA::BYTES, left);
    };
    const auto finish_copies = [&](uint32 target) {
        load_a.finish(target);
        load_b.finish(target + LoaderA::BYTES);
    };

    uint32 a[2][ROWS_I][4], b[2][COLUMNS_J][4];
    Accumulators acc = {};
    const auto load_fragments = [&](int buffer, uint32 source, int step) {
#pragma unroll
        for (int i = 0; i < ROWS_I; ++i) from_a.load(a[buffer][i], source, i, step);
#pragma unroll
        for (int j = 0; j < COLUMNS_J; ++j)
            from_b.load(b[buffer][j], source + LoaderA::BYTES, j, step);
    };

#pragma unroll
    for (int t = 0; t < PLACES - 1; ++t) {
        start_copies(Constant<false>(), first + t * PLACE_BYTES, t);
        finish_copies(first + t * PLACE_BYTES);
        commit();  // plant: commit
    }
    wait_for_all_but<PLACES - 2>();  // plant: wait
    __syncthreads();                 // plant: barrier
    uint32 source = first, target = first + (PLACES - 1) * PLACE_BYTES;
    load_fragments(0, source, 0);
    const auto multiply_tile = [&](auto whole, int t) {
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            if (step == 0) {
                // The place is free: its last fragments were loaded before the last barrier.
                start_copies(whole, target, t + PLACES - 1);
                commit();  // plant: commit
            }
            if (step == STEPS - 1) {
                finish_copies(target);
                wait_for_all_but<PLACES - 2>();  // plant: wait
                __syncthreads();                 // plant: barrier
                target = source;
                source = source + PLACE_BYTES == end ? first : source + PLACE_BYTES;
            }
            load_fragments((step + 1) % 2, source, (step + 1) % STEPS);
#pragma unroll
            for (int i = 0; i < ROWS_I; ++i)
#pragma unroll
                for (int j = 0; j < 2 * COLUMNS_J; ++j)
                    multiply(acc.c[i][j], a[step % 2][i], b[step % 2][j / 2][j % 2 * 2],
                             b[step % 2][j / 2][j % 2 * 2 + 1]);
        }
    };
    // As long as the tile to copy is whole; then with bounds, to the end.
    const int whole_tiles = x.whole ? tiles - (last < BLOCK_K) - (PLACES - 1) : 0;
    int t = 0;
#pragma unroll 1
    for (; t < whole_tiles; ++t) multiply_tile(Constant<true>(), t);
#pragma unroll 1
    for (; t < tiles; ++t) multiply_tile(Constant<false>(), t);
    wait_for_all_but<0>();  // plant: wait
    __syncthreads();        // plant: barrier

    const Finish finish(x.epilogue, member.index);
    float* sums = x.splits > 1 ? member.sums(tile.split) : nullptr;
    const Slab to{x, finish, sums};
    float* slab = reinterpret_cast<float*>(shared) + warp * SLAB_FLOATS;
#pragma unroll 1
    for (int i = 0; i < ROWS_I; ++i) {
        const int64 row = tile.row + warp_row + 16 * i;
        acc.stage(slab, i);
        __syncwarp();
        to.store(slab, row, tile.column + warp_column);
        __syncwarp();
    }
}
