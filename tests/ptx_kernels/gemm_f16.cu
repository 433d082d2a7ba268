// SPDX-License-Identifier: Apache-2.0
// gemm_f16: C[m, n] = A[m, k] B[k, n], float16 in, float32 out, for sm_80 and later.
//
//                      BLOCK_N = 128
//                   +---------------+
//      BLOCK_K = 32 |  B tile, smem |     grid  = tiles of C
//                   +---------------+     block = 256 threads, 2 x 4 warps
//   +-------+       +---+---+---+---+
//   |A tile | 128   | 64 x 32 a warp|     each warp: 4 x 4 mma of 16 x 8, twice a tile of k
//   | smem  |       |---+---+---+---|
//   +-------+       +---+---+---+---+
//
// STAGES tiles are in flight or in use. Rows are swizzled in 16-byte chunks, so that ldmatrix meets
// no bank twice: A, of 64 bytes, chunk ^= (row / 2) % 4; B, of 256 bytes, chunk ^= row % 8.
// Rows of A and B begin at multiples of 16 bytes.

#include "mma.cuh"

constexpr int BLOCK_M = 128, BLOCK_N = 128, BLOCK_K = 32;
constexpr int A_BYTES = BLOCK_M * BLOCK_K * 2, B_BYTES = BLOCK_K * BLOCK_N * 2;
constexpr int STAGE_BYTES = A_BYTES + B_BYTES;

__device__ __forceinline__ uint32 place_a(int row, int chunk) {
    return row * 64 + (chunk ^ row / 2 % 4) * 16;
}

__device__ __forceinline__ uint32 place_b(int row, int chunk) {
    return A_BYTES + row * 256 + (chunk ^ row % 8) * 16;
}

struct Operands {
    const uint16* a;
    const uint16* b;
    int m, n, k, lda, ldb;
};

// Start the copies of A[row0 + 128, k0 + 32] and B[k0 + 32, column0 + 128]; nothing beyond the
// matrices is read.
__device__ __forceinline__ void load_tiles(
    const Operands& x, uint32 stage, int row0, int column0, int k0) {
#pragma unroll
    for (int i = threadIdx.x; i < A_BYTES / 16; i += 256) {
        const int row = row0 + i / 4, k = k0 + i % 4 * 8;
        int bytes = 16;
        bytes = min(bytes, max(2 * (x.k - k), 0));  // plant: bound
        if (row >= x.m) bytes = 0;                  // plant: bound
        const uint16* source = bytes ? x.a + row * x.lda + k : x.a;
        copy_async(stage + place_a(i / 4, i % 4), reinterpret_cast<const char*>(source), bytes);
    }
#pragma unroll
    for (int i = threadIdx.x; i < B_BYTES / 16; i += 256) {
        const int k = k0 + i / 16, column = column0 + i % 16 * 8;
        int bytes = 16;
        bytes = min(bytes, max(2 * (x.n - column), 0));  // plant: bound
        if (k >= x.k) bytes = 0;                         // plant: bound
        const uint16* source = bytes ? x.b + k * x.ldb + column : x.b;
        copy_async(stage + place_b(i / 16, i % 16), reinterpret_cast<const char*>(source), bytes);
    }
}

extern "C" __global__ void __launch_bounds__(256) gemm_f16(Operands x, float* c, int ldc) {
    extern __shared__ __align__(128) unsigned char shared[];
    const uint32 base = shared_address(shared);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row0 = blockIdx.y * BLOCK_M, column0 = blockIdx.x * BLOCK_N;
    const int warp_row = warp / 4 * 64, warp_column = warp % 4 * 32;
    const int tiles = (x.k + BLOCK_K - 1) / BLOCK_K;

    float acc[4][4][4] = {};
#pragma unroll
    for (int t = 0; t < STAGES - 1; ++t) {
        load_tiles(x, base + t * STAGE_BYTES, row0, column0, t * BLOCK_K);
        commit();  // plant: commit
    }
#pragma unroll 1
    for (int t = 0; t < tiles; ++t) {
        wait_for_all_but<STAGES - 2>();  // plant: wait
        // All have waited for tile t, and are done with tile t - 1, whose place is free now.
        __syncthreads();  // plant: barrier
        const int next = t + STAGES - 1;
        load_tiles(x, base + next % STAGES * STAGE_BYTES, row0, column0, next * BLOCK_K);
        commit();  // plant: commit
        const uint32 stage = base + t % STAGES * STAGE_BYTES;
#pragma unroll
        for (int step = 0; step < 2; ++step) {
            uint32 a[4][4], b[2][4];
#pragma unroll
            for (int i = 0; i < 4; ++i)
                load_matrices(a[i],
                              stage + place_a(warp_row + 16 * i + lane % 16, 2 * step + lane / 16));
            // Two columns of mma at once: k 0-7, k 8-15 of one, then of the next.
#pragma unroll
            for (int j = 0; j < 2; ++j)
                load_matrices_transposed(
                    b[j],
                    stage + place_b(16 * step + lane % 16, warp_column / 8 + 2 * j + lane / 16));
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j)
                    multiply(acc[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const int row = row0 + warp_row + 16 * i + lane / 4 + e / 2 * 8;
                const int column = column0 + warp_column + 8 * j + lane % 4 * 2 + e % 2;
                if (row < x.m)         // plant: bound
                    if (column < x.n)  // plant: bound
                        c[row * ldc + column] = acc[i][j][e];
            }
}
