// SPDX-License-Identifier: Apache-2.0
// The main loop of integer products: int32 sums of a block's tile of C over a range of k.
//
// Both operands are contiguous along k, their rows 16-byte aligned. 4-bit codes of b lie in blocks
// of 32, 16 bytes each: byte j has code j in its low and code 16 + j in its high nibble, so that a
// word that ldmatrix loads as it is unpacks to both registers of an mma.
//
//     BLOCK_M, BLOCK_N, WARP_M, WARP_N   sizes of a block's and a warp's part of C
//     STAGES                             tiles in flight or in use; 2 on Turing
//     A_SIGNED, B_SIGNED, B_BITS         what codes are; those of a have 8 bits
//     A_SUMS, B_SUMS                     whether codes of a's rows and b's columns are added up, too
//
// are defined by whoever includes this. Tiles are as many bytes long as those of halves, and all of
// tiles.cuh serves: what is said there of two halves is meant of four codes, or of eight.
#pragma once

#include "mma_int.cuh"
#include "tiles.cuh"

constexpr int BLOCK_K = 64;  // codes
constexpr int STEP_K = 32;   // codes of an mma
constexpr int WARPS_N = BLOCK_N / WARP_N, WARPS = BLOCK_M / WARP_M * WARPS_N, THREADS = 32 * WARPS;
constexpr int PLACES = ASYNC ? STAGES : 2;
constexpr int ROWS_I = WARP_M / 16, COLUMNS_J = WARP_N / 8, STEPS = BLOCK_K / STEP_K;
constexpr bool NIBBLES = B_BITS == 4;
constexpr bool B_AS_SIGNED = NIBBLES || B_SIGNED;  // what unpacked nibbles fit
// Sums and copies through registers leave a large tile none to spare: nothing is loaded ahead then.
// Another block has its turn meanwhile.
constexpr bool SHORT = !ASYNC && (A_SUMS || B_SUMS) && WARP_M * WARP_N >= 64 * 64;
constexpr bool AHEAD = !NIBBLES && !SHORT;  // fragments of b: a step; those of nibbles are a tile's
constexpr int DEPTH_A = BLOCK_K / 2, DEPTH_B = BLOCK_K * B_BITS / 16;  // in halves

using LoaderA = Loader<BLOCK_M, DEPTH_A, THREADS, ALONG>;
using LoaderB = Loader<BLOCK_N, DEPTH_B, THREADS, ALONG>;
constexpr int PLACE_BYTES = LoaderA::BYTES + LoaderB::BYTES;

// A warp's WARP_M x WARP_N sums. Lane 4 g + t has, of c[i][j], rows 16 i + g and + 8 (c[2], c[3]),
// columns 8 j + 2 t and + 1 (c[1], c[3]).
struct Accumulators {
    int32 c[ROWS_I][COLUMNS_J][4];
    int32 of_a[ROWS_I][2], of_b[COLUMNS_J];  // a lane's part of the sums of rows and columns

    __device__ __forceinline__ int32 sum(int i, int j, int e) const {
        return settled<B_BITS, B_SIGNED>(c[i][j][e]);
    }

    // The sum of a row's codes of a; i, half known when this is compiled. All lanes call it.
    __device__ __forceinline__ int32 sum_a(int i, int half) const {
        int32 sum = of_a[i][half];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
    }

    // The sums of codes of b of columns 8 j + 2 t and + 1. All lanes call it.
    __device__ __forceinline__ void sum_b(int j, int32 (&sums)[2]) const {
        int32 sum = of_b[j];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const int lane = (threadIdx.x % 4 * 2 + e) * 4;
            sums[e] = settled<B_BITS, B_SIGNED>(__shfl_sync(0xffffffffu, sum, lane));
        }
    }
};

// What a block multiplies: start_a, start_b are where its first row of a, its first column of b
// begin, at its first step of k; rows, columns, depth are how many there are, depth codes.
struct Range {
    const char *start_a, *start_b;
    int64 rows, columns, depth;
};

// acc += products over a range of k. depth: a multiple of 16 but for the end of a matrix, whose rows
// go on with zeros to one (b of 4 bits: of 32). after(step) is called when each step of STEP_K
// codes is in acc, step counted from 0, and may use and change acc. Copies of nothing may still be on
// their way to shared memory, and other warps at work there: who uses it next waits for both.
template <typename After>
__device__ __forceinline__ void accumulate(Accumulators& acc,
                                           const Operand& a,
                                           const Operand& b,
                                           const Range& range,
                                           unsigned char* shared,
                                           const After& after) {
    const int warp = threadIdx.x / 32;
    const int warp_row = warp / WARPS_N * WARP_M, warp_column = warp % WARPS_N * WARP_N;
    LoaderA load_a(a, range.start_a, range.rows);
    LoaderB load_b(b, range.start_b, range.columns);
    const Fragments<BLOCK_M, DEPTH_A, ALONG, false> from_a(warp_row);
    const Fragments<BLOCK_N, DEPTH_B, ALONG, true> from_b(warp_column);

    const int tiles = static_cast<int>((range.depth + BLOCK_K - 1) / BLOCK_K);
    const int last = static_cast<int>(range.depth - static_cast<int64>(tiles - 1) * BLOCK_K);
    const uint32 first = shared_address(shared), end = first + PLACES * PLACE_BYTES;
    // A chunk holds 8 halves: 16 codes, or 32 of b.
    const auto start_copies = [&](uint32 target, int t) {
        const int left = t < tiles - 1 ? BLOCK_K : t == tiles - 1 ? last : 0;
        load_a.template start<false>(target, (left + 15) / 16 * 8);
        load_b.template start<false>(target + LoaderA::BYTES,
                                     NIBBLES ? (left + 31) / 32 * 8 : (left + 15) / 16 * 8);
    };
    const auto finish_copies = [&](uint32 target) {
        load_a.finish(target);
        load_b.finish(target + LoaderA::BYTES);
    };

    // Nibbles of a whole tile are loaded at once.
    uint32 fa[2][ROWS_I][4], fb[AHEAD ? 2 : 1][COLUMNS_J / 2][4];
    const auto load_a_fragments = [&](int buffer, uint32 source, int step) {
#pragma unroll
        for (int i = 0; i < ROWS_I; ++i) from_a.load(fa[buffer][i], source, i, step);
    };
    const auto load_b_fragments = [&](int buffer, uint32 source, int step) {
#pragma unroll
        for (int j = 0; j < COLUMNS_J / 2; ++j)
            from_b.load(fb[buffer][j], source + LoaderA::BYTES, j, step);
    };

#pragma unroll
    for (int t = 0; t < PLACES - 1; ++t) {
        start_copies(first + t * PLACE_BYTES, t);
        finish_copies(first + t * PLACE_BYTES);
        commit();  // plant: commit
    }
    wait_for_all_but<PLACES - 2>();  // plant: wait
    __syncthreads();                 // plant: barrier
    uint32 source = first, target = first + (PLACES - 1) * PLACE_BYTES;
    load_a_fragments(0, source, 0);
    load_b_fragments(0, source, 0);
#pragma unroll 1
    for (int t = 0; t < tiles; ++t) {
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            if (step == (SHORT ? STEPS - 1 : 0)) {
                // The place is free: its last fragments were loaded before the last barrier.
                start_copies(target, t + PLACES - 1);
                commit();  // plant: commit
            }
            if (step == STEPS - 1) {
                finish_copies(target);
                wait_for_all_but<PLACES - 2>();  // plant: wait
                __syncthreads();                 // plant: barrier
                target = source;
                source = source + PLACE_BYTES == end ? first : source + PLACE_BYTES;
            }
            load_a_fragments((step + 1) % 2, source, (step + 1) % STEPS);
            if (AHEAD) load_b_fragments((step + 1) % 2, source, (step + 1) % STEPS);
            const uint32(&wa)[ROWS_I][4] = fa[step % 2];
#pragma unroll
            for (int j = 0; j < COLUMNS_J; ++j) {
                const uint32(&wb)[4] = fb[AHEAD ? step % 2 : 0][j / 2];
                uint32 b0 = wb[j % 2 * 2], b1 = wb[j % 2 * 2 + 1];
                if constexpr (NIBBLES) unpack_nibbles<B_SIGNED>(wb[j % 2 * 2 + step], b0, b1);
#pragma unroll
                for (int i = 0; i < ROWS_I; ++i)
                    multiply<A_SIGNED, B_AS_SIGNED>(acc.c[i][j], wa[i], b0, b1);
                if constexpr (B_SUMS)
                    acc.of_b[j] =
                        add_codes<B_AS_SIGNED>(b1, add_codes<B_AS_SIGNED>(b0, acc.of_b[j]));
            }
            if constexpr (A_SUMS) {
#pragma unroll
                for (int i = 0; i < ROWS_I; ++i)
#pragma unroll
                    for (int half = 0; half < 2; ++half)
                        acc.of_a[i][half] = add_codes<A_SIGNED>(
                            wa[i][2 + half], add_codes<A_SIGNED>(wa[i][half], acc.of_a[i][half]));
            }
            if (!AHEAD && (!NIBBLES || step == STEPS - 1))
                load_b_fragments(0, source, (step + 1) % STEPS);
            after(t * STEPS + step);
        }
    }
}
