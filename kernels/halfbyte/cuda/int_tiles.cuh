// SPDX-License-Identifier: Apache-2.0
// The main loop of integer products: int32 sums of a block's tile of C over a range of k.
//
// Both operands are contiguous along k, their rows 16-byte aligned. 4-bit codes of b lie in blocks
// of 32, 16 bytes each: byte j has code j in its low and code 16 + j in its high nibble, so that a
// word that ldmatrix loads as it is unpacks to both registers of an mma.
//
//     A_SIGNED, B_SIGNED, B_BITS   what codes are; those of a have 8 bits
//     A_SUMS, B_SUMS               whether codes of a's rows and b's columns are added up, too
//
// and what pipeline.cuh needs are defined by whoever includes this.
#pragma once

#include "mma_int.cuh"
#include "pipeline.cuh"

constexpr int BLOCK_K = 64;  // codes
constexpr bool NIBBLES = B_BITS == 4;
constexpr bool B_AS_SIGNED = NIBBLES || B_SIGNED;  // what unpacked nibbles fit
// Sums and copies through registers leave a large tile none to spare: nothing is loaded ahead then.
// Another block has its turn meanwhile.
constexpr bool SHORT = !ASYNC && (A_SUMS || B_SUMS) && WARP_M * WARP_N >= 64 * 64;
constexpr bool AHEAD = !NIBBLES && !SHORT;  // fragments of b: a step; those of nibbles are a tile's

using Pipe = Pipeline<BLOCK_K, 8, B_BITS, ALONG, ALONG, SHORT>;
constexpr int STEPS = Pipe::STEPS;

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
// go on with zeros to one (b of 4 bits: of 32). after() is called when each step of 32 codes is in
// acc, and may use and change acc. Copies of nothing may still be on their way to shared memory, and
// other warps at work there: who uses it next waits for both.
template <typename After>
__device__ __forceinline__ void accumulate(Accumulators& acc,
                                           const Operand& a,
                                           const Operand& b,
                                           const Range& range,
                                           unsigned char* shared,
                                           const After& after) {
    Pipe::LoaderA copy_a(a, range.start_a, range.rows);
    Pipe::LoaderB copy_b(b, range.start_b, range.columns);
    Pipe pipe(copy_a, copy_b, range.depth, shared);
    // Nibbles of a whole tile are loaded at once.
    uint32 fa[2][ROWS_I][4], fb[AHEAD ? 2 : 1][COLUMNS_J / 2][4];
    pipe.fill();
    pipe.load_a(fa[0], 0);
    pipe.load_b(fb[0], 0);
    pipe.run(pipe.tiles, [&](int step) {
        const int next = (step + 1) % STEPS;
        pipe.load_a(fa[(step + 1) % 2], next);
        if (AHEAD) pipe.load_b(fb[(step + 1) % 2], next);
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
                acc.of_b[j] = add_codes<B_AS_SIGNED>(b1, add_codes<B_AS_SIGNED>(b0, acc.of_b[j]));
        }
        if constexpr (A_SUMS) {
#pragma unroll
            for (int i = 0; i < ROWS_I; ++i)
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    acc.of_a[i][half] = add_codes<A_SIGNED>(
                        wa[i][2 + half], add_codes<A_SIGNED>(wa[i][half], acc.of_a[i][half]));
        }
        if (!AHEAD && (!NIBBLES || step == STEPS - 1)) pipe.load_b(fb[0], next);
        after();
    });
}
