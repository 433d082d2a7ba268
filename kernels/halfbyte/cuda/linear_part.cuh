// SPDX-License-Identifier: Apache-2.0
// A warp's part of a layer's result, and how it ends: sums of groups are scaled and added up in
// registers, and the result goes through shared memory, so that lanes store neighbours.
//
// GROUPED: there are groups, and registers hold both their sums and what those gave.  QUICK: without
// zero points, and sums of a group, as they are multiplied, are at most 2^22 in magnitude.
// Includers define NIBBLES, HALVES, and Pipe: the loop over k, see pipeline.cuh.
#pragma once

#include "linear_end.cuh"
#include "tile_order.cuh"

struct Tiles {
    End end;
    Operand a, b;
    int64 places;       // of a row
    int32 group_steps;  // 32 places each, of a group
    int32 splits, tiles_m, tiles_n;
};

// 16 rows of a warp's part; 8 more, and no bank is met twice.
constexpr int SLAB_PITCH = WARP_N + 8, SLAB_FLOATS = 16 * SLAB_PITCH;
static_assert(WARPS * SLAB_FLOATS * 4 <= PLACES * Pipe::PLACE_BYTES);
static_assert(!GROUPED || (WARP_N == 32 && WARP_M % 32 == 0));

__device__ __forceinline__ float as_float(int32 x) { return __int_as_float(x); }
__device__ __forceinline__ float as_float(float x) { return x; }

// QUICK sums begin at the bits of 1.5 * 2^23, whose ulp is 1, or 1.5 * 2^19, whose ulp is 1/16 as
// nibbles are 16 times what they are: so they are numbers as they are. To convert integers takes
// four times as long as to add.
constexpr float MAGIC = NIBBLES ? 786432.0f : 12582912.0f;
constexpr int32 START = !QUICK ? 0 : NIBBLES ? 0x49400000 : 0x4b400000;

// A warp's WARP_M x WARP_N results. Lane 4 g + t has, of [i][j], rows 16 i + g and + 8 ([2], [3]),
// columns 8 j + 2 t and + 1 ([1], [3]). Sum: int32 of codes, float of halves.
template <typename Sum>
struct Part {
    const Tiles& x;
    int64 row, column;  // the warp's first ones
    int32 group, steps;
    ColumnGroup of_w;  // of the lane's own column: other lanes ask for it
    float f[GROUPED ? ROWS_I : 1][COLUMNS_J][4];

    __device__ __forceinline__ Part(const Tiles& x, const Tile& tile)
        : x(x), group(0), steps(0), f{} {
        const int warp = threadIdx.x / 32;
        row = tile.row + warp / WARPS_N * WARP_M;
        column = tile.column + warp % WARPS_N * WARP_N;
        if (GROUPED) look();
    }

    // Look up what belongs to the group. Rows and columns beyond the result are its last ones: what
    // they give is never stored.
    __device__ __forceinline__ void look() {
        if (group < x.end.groups)
            of_w = ColumnGroup(x.end, min(column + threadIdx.x % 32, x.end.n - 1), group);
    }

    // 32 more places are in the sums. Returns whether a group has ended. All lanes call it.
    __device__ __forceinline__ bool step(Sum (&c)[ROWS_I][COLUMNS_J][4]) {
        if (!GROUPED || ++steps < x.group_steps) return false;
        add_group(c);
        return true;
    }

    __device__ __forceinline__ void add_group(Sum (&c)[ROWS_I][COLUMNS_J][4]) {
        if (group >= x.end.groups) return;  // places beyond the last one
        constexpr uint32 ALL = 0xffffffffu;
        const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
        constexpr bool SHIFTED = !HALVES && !QUICK;
        [[maybe_unused]] RowGroup rows[ROWS_I / 2 + 1], of_x[ROWS_I][2];
        if constexpr (SHIFTED) {
#pragma unroll
            for (int r = 0; r < WARP_M / 32; ++r)
                rows[r] = RowGroup(RowEnd(x.end, min(row + 32 * r + lane, x.end.m - 1)), group);
#pragma unroll
            for (int i = 0; i < 2 * ROWS_I; ++i) {
                const RowGroup& from = rows[i / 4];
                of_x[i / 2][i % 2].zero_point = __shfl_sync(ALL, from.zero_point, i % 4 * 8 + g);
                of_x[i / 2][i % 2].sum = __shfl_sync(ALL, from.sum, i % 4 * 8 + g);
            }
        }
#pragma unroll
        for (int j = 0; j < COLUMNS_J; ++j)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                const int from = 8 * j + 2 * t + e;
                ColumnGroup own = {};
                own.scale = __shfl_sync(ALL, of_w.scale, from);
                if constexpr (SHIFTED) {
                    own.zero_point = __shfl_sync(ALL, of_w.zero_point, from);
                    own.sum = __shfl_sync(ALL, of_w.sum, from);
                }
#pragma unroll
                for (int i = 0; i < ROWS_I; ++i)
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        Sum& sum = c[i][j][2 * half + e];
                        const float number = QUICK ? as_float(sum) - MAGIC
                                                   : number_of(x.end, sum, of_x[i][half], own);
                        f[GROUPED ? i : 0][j][2 * half + e] += number * own.scale;
                        sum = START;
                    }
            }
        ++group;
        steps = 0;
        look();
    }

    // Finish and store. Nobody uses shared memory for other things any more.
    __device__ __forceinline__ void finish(Sum (&c)[ROWS_I][COLUMNS_J][4], unsigned char* shared) {
        if (GROUPED) add_group(c);
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        float* slab = reinterpret_cast<float*>(shared) + threadIdx.x / 32 * SLAB_FLOATS;
#pragma unroll 1
        for (int i = 0; i < ROWS_I; ++i) {
#pragma unroll
            for (int other = 0; other < ROWS_I; ++other) {
                if (other != i) continue;  // registers cannot be indexed by i
#pragma unroll
                for (int j = 0; j < COLUMNS_J; ++j)
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        const int at = (g + 8 * half) * SLAB_PITCH + 8 * j + 2 * t;
                        const Sum* sums = c[other][j] + 2 * half;
                        const float* y = f[GROUPED ? other : 0][j] + 2 * half;
                        store_shared(shared_address(slab + at), GROUPED ? y[0] : as_float(sums[0]),
                                     GROUPED ? y[1] : as_float(sums[1]));
                    }
            }
            __syncwarp();
            store_slab(slab, row + 16 * i);
            __syncwarp();
        }
    }

    __device__ __forceinline__ void store_slab(const float* slab, int64 row0) const {
        constexpr int FOURS = WARP_N / 4;
#pragma unroll 1
        for (int i = threadIdx.x % 32; i < 16 * FOURS; i += 32) {
            const int64 own_row = row0 + i / FOURS, own_column = column + i % FOURS * 4;
            const float4 four =
                *reinterpret_cast<const float4*>(slab + i / FOURS * SLAB_PITCH + i % FOURS * 4);
            if (own_row >= x.end.m || own_column >= x.end.n) continue;  // plant: bound
            const RowEnd end(x.end, own_row);
            const int64 left = x.end.n - own_column;
            const int count = static_cast<int>(min(left, static_cast<int64>(4)));
            float y[4] = {four.x, four.y, four.z, four.w}, scale[4];
            if constexpr (!GROUPED) end.load_scales(scale, own_column, count);
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                if constexpr (GROUPED) {
                    y[e] = end.scaled(y[e]);
                } else {
                    RowGroup of_x = {};
                    ColumnGroup of_w = {};
                    if (!HALVES && x.end.affine && e < count) {
                        of_x = RowGroup(end, 0);
                        of_w = ColumnGroup(x.end, own_column + e, 0);
                    }
                    const Sum sum = __builtin_bit_cast(Sum, y[e]);
                    y[e] = end.scaled(number_of(x.end, sum, of_x, of_w)) * scale[e];
                }
            }
            end.store(y, own_column, count);
        }
    }
};
