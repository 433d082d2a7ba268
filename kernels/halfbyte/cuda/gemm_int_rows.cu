// SPDX-License-Identifier: Apache-2.0
// gemm_int_rows: C[m, n] = (A[m, k] - za) (B[k, n] - zb) for m <= 8, which takes as long as B comes
// from memory.
//
// B goes from global memory to the registers of mma without a detour: it is the operand of 16 rows,
// A, padded to 8 rows, the one of 8 columns. Which codes a lane's registers stand for is free, as
// long as both operands agree. Of B lane 4 g + t has
//
//   ALONG, 8 bits    columns g, g + 8, g + 16, g + 24; k 16t ... 16t + 15    32 columns, 64 k
//   ALONG, 4 bits    the same columns; a block of k 32t ... 32t + 31         32 columns, 128 k
//   ACROSS           columns 16g ... 16g + 15; k 8t ... 8t + 7               128 columns, 32 k
//
// ALONG: rows of 16-byte chunks along k, 4 bits in blocks. ACROSS: along n, of 4 bits two columns a
// byte; the bytes of four k are turned in registers. The warps of a block take turns along k. With
// more than one split a block leaves its part for gemm_int_sum.
//
// Why not dp4a: 8 rows would take 32 of them a lane for 16 bytes of B, where mma takes one.

#include "int_product.cuh"
#include "mma_int.cuh"

constexpr int ACROSS = 1;  // else LOAD is 0, ALONG
constexpr int WARPS = 8, ROWS = 8;
constexpr bool NIBBLES = B_BITS == 4;
constexpr bool B_AS_SIGNED = NIBBLES || B_SIGNED;  // what unpacked nibbles fit
constexpr int COLUMNS = LOAD == ACROSS ? 128 : 32;
constexpr int TILES = COLUMNS / 16;
constexpr int OWN = LOAD == ACROSS ? 8 : NIBBLES ? 32 : 16;  // k of a lane
constexpr int DEPTH = 4 * OWN;
constexpr int UNROLL = LOAD == ACROSS ? 1 : 2;
constexpr int CHUNKS = LOAD == ACROSS ? 8 : 4;             // loads of a lane
constexpr int BYTES = LOAD == ACROSS && NIBBLES ? 8 : 16;  // of each
constexpr int LANE_COLUMNS = LOAD == ACROSS ? 16 : 4;
constexpr int PITCH = LOAD == ACROSS ? 140 : 36;

struct Sums {
    int32 c[TILES][4];
    int32 of_a, of_b[LANE_COLUMNS];

    // Multiply 16 columns of B, `lower` and `upper` those of a lane, by A.
    __device__ __forceinline__ void add(
        int tile, int lower, int upper, const uint32 (&words)[4], uint32 a0, uint32 a1) {
        multiply<B_AS_SIGNED, A_SIGNED>(c[tile], words, a0, a1);
        if constexpr (SUMS) {
            of_b[lower] = add_codes<B_AS_SIGNED>(words[0], of_b[lower]);
            of_b[upper] = add_codes<B_AS_SIGNED>(words[1], of_b[upper]);
            of_b[lower] = add_codes<B_AS_SIGNED>(words[2], of_b[lower]);
            of_b[upper] = add_codes<B_AS_SIGNED>(words[3], of_b[upper]);
        }
    }
};

struct Lane {
    const char* a;      // of row g, at the lane's first k
    const char* b[4];   // ALONG: of each column; ACROSS: of the first
    int64 depth, step;  // codes that there are, from the lane's first k on; stride along k
    int bytes;          // ACROSS: of a chunk of columns that there are
    bool row_there;

    __device__ __forceinline__ void load_a(uint32 (&w)[OWN / 4], int64 k, bool whole) const {
        constexpr int PART = OWN < 16 ? OWN : 16;
#pragma unroll
        for (int i = 0; i < OWN / PART; ++i) {
            Vector<PART> v = {};
            bool there = row_there;
            there = there && (whole || k + i * PART < depth);  // plant: bound
            if (there) v.load(a + k + i * PART);
#pragma unroll
            for (int j = 0; j < PART / 4; ++j) w[i * PART / 4 + j] = v.words[j];
        }
    }

    __device__ __forceinline__ void load_b(uint32 (&w)[CHUNKS][BYTES / 4],
                                           int64 k,
                                           bool whole) const {
#pragma unroll
        for (int i = 0; i < CHUNKS; ++i) {
            Vector<BYTES> v = {};
            if constexpr (LOAD == ACROSS) {
                bool there = true;
                there = whole || k + i < depth;  // plant: bound
                const char* p = b[0] + (k + i) * step;
                if (there && bytes == BYTES) {
                    v.load(p);
                } else if (there) {
#pragma unroll
                    for (int j = 0; j < BYTES - 1; ++j)
                        if (j < bytes) v.put<uint8>(j, p[j]);
                }
            } else {
                bool there = true;
                there = whole || k < depth;  // plant: bound
                if (there) v.load(b[i] + k * B_BITS / 8);
            }
#pragma unroll
            for (int j = 0; j < BYTES / 4; ++j) w[i][j] = v.words[j];
        }
    }

    __device__ __forceinline__ void multiply_steps(Sums& acc, int64 k, bool whole) const {
        uint32 wa[UNROLL][OWN / 4], wb[UNROLL][CHUNKS][BYTES / 4];
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) load_b(wb[u], k + u * DEPTH, whole);
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) load_a(wa[u], k + u * DEPTH, whole);
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) {
            const uint32(&a)[OWN / 4] = wa[u];
            const uint32(&w)[CHUNKS][BYTES / 4] = wb[u];
            if constexpr (LOAD == ACROSS) {
#pragma unroll
                for (int j = 0; j < BYTES / 4; ++j) {
                    uint32 low[4] = {w[0][j], w[1][j], w[2][j], w[3][j]};
                    uint32 high[4] = {w[4][j], w[5][j], w[6][j], w[7][j]};
                    turn(low), turn(high);
#pragma unroll
                    for (int i = 0; i < (NIBBLES ? 4 : 2); ++i) {
                        const int tile = NIBBLES ? 4 * j + i : 2 * j + i;
                        uint32 words[4] = {low[2 * i % 4], low[2 * i % 4 + 1], high[2 * i % 4],
                                           high[2 * i % 4 + 1]};
                        if constexpr (NIBBLES) {
                            unpack_nibbles<B_SIGNED>(low[i], words[0], words[1]);
                            unpack_nibbles<B_SIGNED>(high[i], words[2], words[3]);
                        }
                        acc.add(tile, 2 * tile, 2 * tile + 1, words, a[0], a[1]);
                    }
                }
            } else {
#pragma unroll
                for (int j = 0; j < 2; ++j)
#pragma unroll
                    for (int i = 0; i < (NIBBLES ? 4 : 2); ++i) {
                        const uint32 *x = w[2 * j], *y = w[2 * j + 1];
                        uint32 words[4] = {x[2 * i % 4], y[2 * i % 4], x[2 * i % 4 + 1],
                                           y[2 * i % 4 + 1]};
                        if constexpr (NIBBLES) {
                            unpack_nibbles<B_SIGNED>(x[i], words[0], words[2]);
                            unpack_nibbles<B_SIGNED>(y[i], words[1], words[3]);
                        }
                        const int first = NIBBLES ? i : 2 * i, second = NIBBLES ? 4 + i : first + 1;
                        acc.add(j, 2 * j, 2 * j + 1, words, a[first], a[second]);
                    }
            }
            if constexpr (SUMS) {
#pragma unroll
                for (int i = 0; i < OWN / 4; ++i) acc.of_a = add_codes<A_SIGNED>(a[i], acc.of_a);
            }
        }
    }
};

// A lane's columns of the tile.
__device__ __forceinline__ int column_of(int of_lane, int g) {
    return LOAD == ACROSS ? 16 * g + of_lane : 8 * of_lane + g;
}

// Where a column lies in shared memory: so that what lanes write at once, and what they read at
// once, is in different banks.
__device__ __forceinline__ int place(int column) {
    return LOAD == ACROSS ? column % 16 * 2 + column / 16 % 2 + column / 32 * 34 : column;
}

__device__ __forceinline__ int32 quad_sum(int32 x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, 1) gemm_int_rows(const IntProduct x) {
    // Of each warp: sums of each row, and of codes of b; of codes of a.
    __shared__ int32 shared[WARPS][ROWS + SUMS][PITCH];
    __shared__ int32 sums_a[WARPS][ROWS];
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int split = blockIdx.x % x.splits;
    const int64 column0 = static_cast<int64>(blockIdx.x / x.splits) * COLUMNS;
    const int columns = static_cast<int>(min(x.n - column0, static_cast<int64>(COLUMNS)));
    const Member member(x, x.first + blockIdx.y);
    const int64 k0 = split * x.split_k;
    const int depth = static_cast<int>(min(x.k - k0, x.split_k));

    Lane lane;
    lane.depth = depth - t * OWN;
    lane.step = x.b.step;
    lane.row_there = g < x.m;
    lane.a = member.start(x.a) + k0 + t * OWN;
    if (lane.row_there) lane.a += g * x.a.row;
    const char* b = member.start(x.b);
    if constexpr (LOAD == ACROSS) {
        const int left = max(0, columns - 16 * g);
        lane.bytes = min(BYTES, NIBBLES ? (left + 1) / 2 : left);
        lane.b[0] = b + (column0 / (NIBBLES ? 2 : 1)) + (k0 + t * OWN) * lane.step;
        if (left) lane.b[0] += g * BYTES;
    } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            int column = g + 8 * i;
            column = min(column, columns - 1);  // plant: bound
            lane.b[i] = b + (column0 + column) * x.b.row + (k0 + t * OWN) * B_BITS / 8;
        }
    }

    Sums acc = {};
    constexpr int TURN = UNROLL * DEPTH;
    int64 k = static_cast<int64>(warp) * TURN;
#pragma unroll 1
    for (; k + TURN <= depth; k += WARPS * TURN) lane.multiply_steps(acc, k, true);
    if (k < depth) lane.multiply_steps(acc, k, false);

#pragma unroll
    for (int j = 0; j < TILES; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            shared[warp][2 * t + i % 2][place(column_of(2 * j + i / 2, g))] =
                settled<B_BITS, B_SIGNED>(acc.c[j][i]);
    if constexpr (SUMS) {
#pragma unroll
        for (int j = 0; j < LANE_COLUMNS; ++j) {
            const int32 sum = settled<B_BITS, B_SIGNED>(quad_sum(acc.of_b[j]));
            if (t == 0) shared[warp][ROWS][place(column_of(j, g))] = sum;
        }
        const int32 sum = quad_sum(acc.of_a);
        if (t == 0) sums_a[warp][g] = sum;
    }
    __syncthreads();  // plant: barrier

    const Target target = target_of(x, member, split);
#pragma unroll 1
    for (int i = threadIdx.x; i < ROWS * COLUMNS; i += 32 * WARPS) {
        const int row = i / COLUMNS, column = i % COLUMNS;
        if (row >= x.m || column >= columns) continue;  // plant: bound
        const int at = place(column);
        int32 sum = 0, sum_a = 0, sum_b = 0;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) {
            sum += shared[w][row][at];
            if constexpr (SUMS) sum_a += sums_a[w][row], sum_b += shared[w][ROWS][at];
        }
        if constexpr (SUMS) {
            const int32 zero_a = x.zero_a.get(row), zero_b = x.zero_b.get(column0 + column);
            sum -= zero_b * sum_a + zero_a * (sum_b - depth * zero_b);
        }
        target.one(sum, row, column0 + column);
    }
}
