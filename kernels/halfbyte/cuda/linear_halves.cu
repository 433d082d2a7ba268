// SPDX-License-Identifier: Apache-2.0
// linear_halves: a layer of many rows of halves. Codes of weights become halves, minus their zero
// points, in registers: exactly, on the way from shared memory to the tensor cores.
//
// Both operands are in the layout of linear_layout.cuh, x ORDERED: of 16 neighbours, a lane's
// fragment has those whose codes one word of weights holds. Copies, tiles and the order of the loop
// are gemm_f16.cu's; codes are loaded when those before them are used up.

#include "linear_halves.cuh"
#include "tiles.cuh"

constexpr int BLOCK_K = 64, STEPS = BLOCK_K / 16;
constexpr int WARPS_N = BLOCK_N / WARP_N, WARPS = BLOCK_M / WARP_M * WARPS_N, THREADS = 32 * WARPS;
constexpr int PLACES = ASYNC ? STAGES : 2;
constexpr int ROWS_I = WARP_M / 16, COLUMNS_J = WARP_N / 8;
constexpr bool NIBBLES = B_BITS == 4, HALVES = true;
constexpr int DEPTH_B = BLOCK_K * B_BITS / 16;            // in halves, which tiles.cuh counts
constexpr int CODES_STEPS = NIBBLES ? STEPS : STEPS / 2;  // that one load of codes is for

using LoaderA = Loader<BLOCK_M, BLOCK_K, THREADS, ALONG>;
using LoaderB = Loader<BLOCK_N, DEPTH_B, THREADS, ALONG>;
constexpr int PLACE_BYTES = LoaderA::BYTES + LoaderB::BYTES;

#include "linear_part.cuh"

// What a lane subtracts from the codes of its columns.
struct Shifts {
    uint32 of[COLUMNS_J];

    __device__ __forceinline__ void load(const Tiles& x, int64 column, int32 group) {
#pragma unroll
        for (int j = 0; j < COLUMNS_J; ++j) {
            int32 zero_point = 0;
            if (x.end.w_zero.start && group < x.end.groups) {
                const int64 own = min(column + 8 * j + threadIdx.x % 32 / 4, x.end.n - 1);
                zero_point = load_aligned<int32>(x.end.w_zero.at(own, group)) - x.end.w_offset;
            }
            of[j] = NIBBLES ? shift_of_nibbles(zero_point) : shift_of_bytes(zero_point);
        }
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, THREADS > 128 ? 1 : 2)
    linear_halves(const Tiles x) {
    extern __shared__ __align__(1024) unsigned char shared[];
    const Tile tile = tile_of_block(x, BLOCK_M, BLOCK_N);
    Part<float> part(x, tile);
    const int warp = threadIdx.x / 32;
    LoaderA load_a(x.a, reinterpret_cast<const char*>(x.a.start) + tile.row * x.a.row,
                   x.end.m - tile.row);
    LoaderB load_b(x.b, reinterpret_cast<const char*>(x.b.start) + tile.column * x.b.row,
                   x.end.n - tile.column);
    const Fragments<BLOCK_M, BLOCK_K, ALONG, false> from_a(warp / WARPS_N * WARP_M);
    const Fragments<BLOCK_N, DEPTH_B, ALONG, true> from_b(warp % WARPS_N * WARP_N);

    const int tiles = static_cast<int>((x.places + BLOCK_K - 1) / BLOCK_K);
    const uint32 first = shared_address(shared), end = first + PLACES * PLACE_BYTES;
    const auto start_copies = [&](uint32 target, int t) {
        const int64 left = x.places - static_cast<int64>(t) * BLOCK_K;
        const int places = static_cast<int>(max(0ll, min(left, static_cast<int64>(BLOCK_K))));
        load_a.template start<false>(target, places);
        load_b.template start<false>(target + LoaderA::BYTES, places * B_BITS / 16);
    };
    const auto finish_copies = [&](uint32 target) {
        load_a.finish(target);
        load_b.finish(target + LoaderA::BYTES);
    };

    uint32 a[2][ROWS_I][4], codes[COLUMNS_J / 2][4];
    Shifts shifts;
    float acc[ROWS_I][COLUMNS_J][4] = {};
    const auto load_fragments = [&](int buffer, uint32 source, int step) {
#pragma unroll
        for (int i = 0; i < ROWS_I; ++i) from_a.load(a[buffer][i], source, i, step);
    };
    const auto load_codes = [&](uint32 source, int step) {
#pragma unroll
        for (int j = 0; j < COLUMNS_J / 2; ++j)
            from_b.load(codes[j], source + LoaderA::BYTES, j, step / CODES_STEPS);
    };

    shifts.load(x, part.column, 0);
#pragma unroll
    for (int t = 0; t < PLACES - 1; ++t) {
        start_copies(first + t * PLACE_BYTES, t);
        finish_copies(first + t * PLACE_BYTES);
        commit();  // plant: commit
    }
    wait_for_all_but<PLACES - 2>();  // plant: wait
    __syncthreads();                 // plant: barrier
    uint32 source = first, target = first + (PLACES - 1) * PLACE_BYTES;
    load_fragments(0, source, 0);
    load_codes(source, 0);
#pragma unroll 1
    for (int t = 0; t < tiles; ++t) {
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            if (step == 0) {
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
            load_fragments((step + 1) % 2, source, (step + 1) % STEPS);
#pragma unroll
            for (int j = 0; j < COLUMNS_J; ++j) {
                // Words of a column: two of 32 bytes, or two blocks of nibbles.
                const uint32* words = codes[j / 2] + j % 2 * 2;
                uint32 b0, b1;
                if constexpr (NIBBLES) {
                    b0 = halves_of_nibbles(words[step / 2], step % 2, shifts.of[j]);
                    b1 = halves_of_nibbles(words[step / 2], step % 2 + 2, shifts.of[j]);
                } else {
                    b0 = halves_of_bytes<0x4240>(words[step % 2], shifts.of[j]);
                    b1 = halves_of_bytes<0x4341>(words[step % 2], shifts.of[j]);
                }
#pragma unroll
                for (int i = 0; i < ROWS_I; ++i) multiply(acc[i][j], a[step % 2][i], b0, b1);
            }
            if ((step + 1) % CODES_STEPS == 0) load_codes(source, (step + 1) % STEPS);
            if (step % 2 && part.step(acc)) shifts.load(x, part.column, part.group);
        }
    }
    wait_for_all_but<0>();  // plant: wait
    __syncthreads();        // plant: barrier
    part.finish(acc, shared);
}
