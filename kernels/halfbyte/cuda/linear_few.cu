// SPDX-License-Identifier: Apache-2.0
// linear_few: a layer of few rows, which takes as long as its weights come from memory.
//
// Weights go from global memory to the registers of mma without a detour: they are the operand of 16
// rows, x, 8 rows a tile, the one of 8 columns. Which steps of k a lane's registers stand for is
// free as long as both operands agree: so every load is of 16 bytes. Lane 4 g + t has, of weights
// g, g + 8, g + 16 and g + 24, chunk t of four neighbours along k: a STEP of 64 codes, or 128.
//
//     warp            0      1            7      0      1        a turn: a step a warp, UNROLL times
//     k         | step | step | ...  | step | step | step | ...
//     groups    |   0     |   1     |   2     | ...              GROUPED, PARTS of a step
//
// Where there are groups, each turn's sums go through shared memory to the threads that add groups
// up in their order: a thread has a column, and every WARPS-th row. A group begins where a part of a
// step does; of a part, other lanes' x is zero. Without groups sums meet at the end.
//
// NIBBLES: codes of 4 bits; PLAIN: two neighbours a byte, not as in linear_layout.cuh.  HALVES: x is
// made of halves and codes become halves, minus their zero points; else x is made of codes.

#include "linear_end.cuh"
#include "linear_halves.cuh"

constexpr int COLUMNS = 32, STEP = NIBBLES ? 128 : 64, PITCH = COLUMNS + 4;
constexpr int ROWS = 8 * ROW_TILES, OWN = ROWS / WARPS;
constexpr int SPAN = STEP * UNROLL / PARTS;         // steps of k of a warp's sums
constexpr int CHUNK = NIBBLES ? 32 : 16;            // codes of 16 bytes
constexpr int PRODUCTS = CHUNK / (HALVES ? 4 : 8);  // mma of a chunk
constexpr int X_WORDS = CHUNK * (HALVES ? 2 : 1) / 4;
static_assert(ROWS % WARPS == 0 && (UNROLL == 1 || PARTS == 1));

template <bool VALUE>
struct Choice {
    using Type = int32;
};
template <>
struct Choice<true> {
    using Type = float;
};
using Sum = Choice<HALVES>::Type;

struct Few {
    End end;
    uint64 w, x;
    int64 w_pitch, x_pitch;  // bytes
    int64 chunks;            // of a row of w
    int64 places;            // of a row of x, whole steps
    int64 padded;            // places of a group, whole parts of a step
    int64 row_tiles;
    uint32 flip;  // bits of codes that change, so that they are signed
};

// The registers of a column of w for mma number j of a chunk, lower steps of k first.
__device__ __forceinline__ void unpack(
    uint32& first, uint32& second, const uint32 (&w)[4], int j, uint32 shift) {
    if constexpr (HALVES && NIBBLES) {
        const int i = j % 2 * 2;
        first = halves_of_nibbles(w[j / 2], i, shift);
        second = halves_of_nibbles(w[j / 2], i + 1, shift);
    } else if constexpr (HALVES) {
        first = halves_of_bytes<0x4140>(w[j], shift);
        second = halves_of_bytes<0x4342>(w[j], shift);
    } else if constexpr (NIBBLES) {
        first = w[j] << 4 & 0xf0f0f0f0u;
        second = w[j] & 0xf0f0f0f0u;
    } else {
        first = w[2 * j];
        second = w[2 * j + 1];
    }
}

// The registers of x that belong to them.
__device__ __forceinline__ void arrange(uint32& first,
                                        uint32& second,
                                        const uint32 (&x)[X_WORDS],
                                        int j) {
    if constexpr (HALVES && NIBBLES) {
        // Halves of a pair are of nibbles i and i + 4 of a word.
        const int word = j / 2, odd = j % 2;
        if constexpr (PLAIN) {
            first = __byte_perm(x[4 * word + odd], x[4 * word + odd + 2], 0x5410);
            second = __byte_perm(x[4 * word + odd], x[4 * word + odd + 2], 0x7632);
        } else {
            const int how = odd ? 0x7632 : 0x5410;
            first = __byte_perm(x[2 * word], x[2 * word + 1], how);
            second = __byte_perm(x[8 + 2 * word], x[8 + 2 * word + 1], how);
        }
    } else if constexpr (NIBBLES && PLAIN) {
        first = __byte_perm(x[2 * j], x[2 * j + 1], 0x6420);
        second = __byte_perm(x[2 * j], x[2 * j + 1], 0x7531);
    } else if constexpr (NIBBLES) {
        first = x[j];
        second = x[4 + j];
    } else {
        first = x[2 * j];
        second = x[2 * j + 1];
    }
}

struct Lane {
    const Few& x;
    const char* w[4];
    const char* row[ROW_TILES];
    int64 column[4];
    bool there[ROW_TILES];
    int t;

    __device__ __forceinline__ void load_w(uint32 (&words)[UNROLL][4][4], int64 step) const {
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) {
            const int64 chunk = (step + u) * 4 + t;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                Vector<16> v = {};
                if (chunk < x.chunks)  // plant: bound
                    v.load(w[i] + chunk * 16);
#pragma unroll
                for (int e = 0; e < 4; ++e) words[u][i][e] = v.words[e] ^ x.flip;
            }
        }
    }

    __device__ __forceinline__ void load_x(uint32 (&words)[X_WORDS], int r, int64 step) const {
#pragma unroll
        for (int i = 0; i < X_WORDS; ++i) words[i] = 0;
        bool own = there[r];
        if (step * STEP >= x.places) own = false;  // plant: bound
        if (!own) return;                          // zeros
        Vector<4 * X_WORDS> v;
        v.load(row[r] + (step * 4 + t) * 4 * X_WORDS);
#pragma unroll
        for (int i = 0; i < X_WORDS; ++i) words[i] = v.words[i];
    }

    __device__ __forceinline__ void multiply_step(Sum (&acc)[PARTS][2][ROW_TILES][4],
                                                  const uint32 (&words)[4][4],
                                                  int64 step) const {
        uint32 shift[4] = {};
        if constexpr (HALVES) {
            const int64 place = (step * 4 + t) * CHUNK;
            const int64 group = x.end.groups > 1 ? place / x.padded : 0;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                int32 zero_point = 0;
                if (x.end.w_zero.start && group < x.end.groups)
                    zero_point =
                        load_aligned<int32>(x.end.w_zero.at(column[i], group)) - x.end.w_offset;
                shift[i] = NIBBLES ? shift_of_nibbles(zero_point) : shift_of_bytes(zero_point);
            }
        }
        uint32 own[ROW_TILES][X_WORDS];
#pragma unroll
        for (int r = 0; r < ROW_TILES; ++r) load_x(own[r], r, step);
#pragma unroll
        for (int j = 0; j < PRODUCTS; ++j) {
            uint32 a[2][4];
#pragma unroll
            for (int i = 0; i < 4; ++i)
                unpack(a[i / 2][i % 2], a[i / 2][i % 2 + 2], words[i], j, shift[i]);
#pragma unroll
            for (int r = 0; r < ROW_TILES; ++r) {
                uint32 b[2];
                arrange(b[0], b[1], own[r], j);
#pragma unroll
                for (int part = 0; part < PARTS; ++part) {
                    const bool mine = t * PARTS / 4 == part;
#pragma unroll
                    for (int i = 0; i < 2; ++i)
                        multiply_either(acc[part][i][r], a[i], mine ? b[0] : 0, mine ? b[1] : 0);
                }
            }
        }
    }
};

using Slot = Sum[ROWS][PITCH];

// A warp's sums to shared memory.
__device__ __forceinline__ void put(Slot (&slots)[PARTS],
                                    const Sum (&acc)[PARTS][2][ROW_TILES][4]) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int part = 0; part < PARTS; ++part)
#pragma unroll
        for (int r = 0; r < ROW_TILES; ++r)
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    slots[part][8 * r + 2 * t + e % 2][16 * i + e / 2 * 8 + g] = acc[part][i][r][e];
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, 1) linear_few(const Few x) {
    __shared__ Slot slots[WARPS][PARTS];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4;
    const int64 row0 = blockIdx.x % x.row_tiles * ROWS;
    const int64 column0 = blockIdx.x / x.row_tiles * COLUMNS;
    Lane own{x};
    own.t = lane % 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        // Columns beyond the last are the last one: what they give is never stored.
        own.column[i] = column0 + g + 8 * i;
        own.column[i] = min(own.column[i], x.end.n - 1);  // plant: bound
        own.w[i] = reinterpret_cast<const char*>(x.w) + own.column[i] * x.w_pitch;
    }
#pragma unroll
    for (int r = 0; r < ROW_TILES; ++r) {
        own.there[r] = row0 + 8 * r + g < x.end.m;
        own.row[r] = reinterpret_cast<const char*>(x.x) + (row0 + 8 * r + g) * x.x_pitch;
    }

    const int64 column = column0 + lane;
    Sum sums[OWN] = {};
    float f[OWN] = {};
    int64 position = 0;  // in the group
    int32 group = 0;
    // A sum of codes as a number, scaled where there are groups. Rows and columns beyond the result
    // are its last ones: what they give is never stored.
    const int64 last = min(column, x.end.n - 1);
    const auto row_of = [&](int o) {
        return RowEnd(x.end, min(row0 + warp + o * WARPS, x.end.m - 1));
    };
    const auto part = [&](int o, int32 group_) {
        const RowEnd row = row_of(o);
        const ColumnGroup of_w(x.end, last, group_);
        RowGroup of_x = {};
        if (x.end.affine) of_x = RowGroup(row, group_);
        const float number = number_of(x.end, sums[o], of_x, of_w);
        return (GROUPED ? number : row.scaled(number)) * of_w.scale;
    };
    // What this turn's warps left, in their order along k.
    const auto take = [&] {
        __syncthreads();  // plant: barrier
#pragma unroll 1
        for (int i = 0; i < WARPS * PARTS; ++i) {
#pragma unroll
            for (int o = 0; o < OWN; ++o)
                sums[o] += slots[i / PARTS][i % PARTS][warp + o * WARPS][lane];
            if constexpr (GROUPED) {
                position += SPAN;
                if (position < x.padded || group >= x.end.groups) continue;  // it goes on
#pragma unroll
                for (int o = 0; o < OWN; ++o) {
                    if (row0 + warp + o * WARPS < x.end.m) f[o] = f[o] + part(o, group);
                    sums[o] = 0;
                }
                position = 0;
                ++group;
            }
        }
        if (GROUPED) __syncthreads();  // plant: barrier
    };

    Sum acc[PARTS][2][ROW_TILES][4] = {};
    uint32 words[UNROLL][4][4], next[UNROLL][4][4];
    constexpr int TURN = WARPS * UNROLL;
    own.load_w(words, warp * UNROLL);
#pragma unroll 1
    for (int64 turn = 0; turn * STEP < x.places; turn += TURN) {
        const int64 step = turn + warp * UNROLL;
        own.load_w(next, step + TURN);
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) own.multiply_step(acc, words[u], step + u);
        if constexpr (GROUPED) {
            put(slots[warp], acc);
            take();
#pragma unroll
            for (int i = 0; i < PARTS * 8 * ROW_TILES; ++i)
                acc[i / (8 * ROW_TILES)][i / (4 * ROW_TILES) % 2][i / 4 % ROW_TILES][i % 4] = 0;
        }
#pragma unroll
        for (int i = 0; i < UNROLL * 16; ++i)
            words[i / 16][i / 4 % 4][i % 4] = next[i / 16][i / 4 % 4][i % 4];
    }
    if constexpr (!GROUPED) {
        put(slots[warp], acc);
        take();
    }
#pragma unroll
    for (int o = 0; o < OWN; ++o) {
        if (row0 + warp + o * WARPS >= x.end.m || column >= x.end.n) continue;  // plant: bound
        if (GROUPED && group < x.end.groups) f[o] = f[o] + part(o, group);
        float y[1] = {GROUPED ? row_of(o).scaled(f[o]) : part(o, 0)};
        row_of(o).store(y, column, 1);
    }
}
