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

#include "pipeline.cuh"
#include "tile_order.cuh"

using Pipe = Pipeline<BLOCK_K, 16, 16, A_LOAD, B_LOAD>;

// Rows of 16 x WARP_N sums on their way through shared memory; 8 more, and no bank is met twice.
constexpr int SLAB_PITCH = WARP_N + 8, SLAB_FLOATS = 16 * SLAB_PITCH;
static_assert(WARPS * SLAB_FLOATS * 4 <= PLACES * Pipe::PLACE_BYTES);

struct Accumulators {
    float c[ROWS_I][COLUMNS_J][4];

    // Write 16 rows to shared memory, in C order.
    __device__ __forceinline__ void stage(float* slab, int i) const {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
        for (int other = 0; other < ROWS_I; ++other) {
            if (other != i) continue;  // registers cannot be indexed by i
#pragma unroll
            for (int j = 0; j < COLUMNS_J; ++j)
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
    const Tile tile = tile_of_block(x, BLOCK_M, BLOCK_N);
    const Member member(x, x.first + blockIdx.y);
    const int64 k0 = tile.split * x.split_k;
    const char* start_a = member.start(x.a) + tile.row * x.a.row + k0 * x.a.step;
    const char* start_b = member.start(x.b) + tile.column * x.b.row + k0 * x.b.step;
    Pipe::LoaderA copy_a(x.a, start_a, x.m - tile.row);
    Pipe::LoaderB copy_b(x.b, start_b, x.n - tile.column);
    Pipe pipe(copy_a, copy_b, min(x.k - k0, x.split_k), shared);
    uint32 a[2][ROWS_I][4], b[2][COLUMNS_J / 2][4];
    Accumulators acc = {};
    const auto load_fragments = [&](int step) {
        pipe.load_a(a[step % 2], step % Pipe::STEPS);
        pipe.load_b(b[step % 2], step % Pipe::STEPS);
    };
    const auto multiply_step = [&](int step) {
        load_fragments(step + 1);
#pragma unroll
        for (int i = 0; i < ROWS_I; ++i)
#pragma unroll
            for (int j = 0; j < COLUMNS_J; ++j)
                multiply(acc.c[i][j], a[step % 2][i], b[step % 2][j / 2][j % 2 * 2],
                         b[step % 2][j / 2][j % 2 * 2 + 1]);
    };
    pipe.fill();
    load_fragments(0);
    // As long as the tile to copy is whole; then with bounds, to the end.
    const int whole = pipe.tiles - (pipe.last < BLOCK_K) - (PLACES - 1);
    pipe.run<true>(x.whole ? whole : 0, multiply_step);
    pipe.run(pipe.tiles, multiply_step);
    wait_for_all_but<0>();  // plant: wait
    __syncthreads();        // plant: barrier

    const Finish finish(x.epilogue, member.index);
    float* sums = x.splits > 1 ? member.sums(tile.split) : nullptr;
    const Slab to{x, finish, sums};
    const int warp = threadIdx.x / 32;
    const int64 row = tile.row + warp / WARPS_N * WARP_M;
    const int64 column = tile.column + warp % WARPS_N * WARP_N;
    float* slab = reinterpret_cast<float*>(shared) + warp * SLAB_FLOATS;
#pragma unroll 1
    for (int i = 0; i < ROWS_I; ++i) {
        acc.stage(slab, i);
        __syncwarp();
        to.store(slab, row + 16 * i, column);
        __syncwarp();
    }
}
