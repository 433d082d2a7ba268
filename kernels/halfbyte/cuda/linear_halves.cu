// SPDX-License-Identifier: Apache-2.0
// linear_halves: a layer of many rows of halves. Codes of weights become halves, minus their zero
// points, in registers: exactly, on the way from shared memory to the tensor cores.
//
// Both operands are in the layout of linear_layout.cuh, x ORDERED: of 16 neighbours, a lane's
// fragment has those whose codes one word of weights holds. Codes are loaded when those before them
// are used up.

#include "linear_halves.cuh"
#include "pipeline.cuh"

constexpr int BLOCK_K = 64;
constexpr bool NIBBLES = B_BITS == 4, HALVES = true;

using Pipe = Pipeline<BLOCK_K, 16, B_BITS>;
constexpr int STEPS = Pipe::STEPS;
constexpr int CODES_STEPS = NIBBLES ? STEPS : STEPS / 2;  // that one load of codes is for

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
    const char* start_a = reinterpret_cast<const char*>(x.a.start) + tile.row * x.a.row;
    const char* start_b = reinterpret_cast<const char*>(x.b.start) + tile.column * x.b.row;
    Pipe::LoaderA copy_a(x.a, start_a, x.end.m - tile.row);
    Pipe::LoaderB copy_b(x.b, start_b, x.end.n - tile.column);
    Pipe pipe(copy_a, copy_b, x.places, shared);
    uint32 a[2][ROWS_I][4], codes[COLUMNS_J / 2][4];
    Shifts shifts;
    float acc[ROWS_I][COLUMNS_J][4] = {};
    shifts.load(x, part.column, 0);
    pipe.fill();
    pipe.load_a(a[0], 0);
    pipe.load_b(codes, 0);
    pipe.run(pipe.tiles, [&](int step) {
        const int next = (step + 1) % STEPS;
        pipe.load_a(a[next % 2], next);
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
        if (next % CODES_STEPS == 0) pipe.load_b(codes, next / CODES_STEPS);
        if (step % 2 && part.step(acc)) shifts.load(x, part.column, part.group);
    });
    wait_for_all_but<0>();  // plant: wait
    __syncthreads();        // plant: barrier
    part.finish(acc, shared);
}
