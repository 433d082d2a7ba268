// SPDX-License-Identifier: Apache-2.0
// gemm_f16_rows: C[m, n] = A[m, k] B[k, n] for m <= 8, which takes as long as B comes from memory.
//
// B goes from global memory to the registers of mma without a detour: it is the operand of 16 rows,
// A, padded to 8 rows, the one of 8 columns. Which steps of k and columns of B a lane's registers
// stand for is free, as long as both operands agree: so every load is of 16 bytes. Lane 4 g + t has
//
//   ALONG, ELEMENTS   columns g, g + 8, g + 16, g + 24; k 8t ... 8t + 7      32 columns, 32 k
//   ACROSS            columns 8g ... 8g + 7; k 4t ... 4t + 3                 64 columns, 16 k
//
// The warps of a block take turns along k and add up their sums in order. With more than one split a
// block leaves its sums for gemm_f16_sum.

#include "mma.cuh"
#include "product.cuh"

constexpr int ALONG = 0, ACROSS = 1, ELEMENTS = 2;
constexpr int WARPS = 8, ROWS = 8;
constexpr int COLUMNS = LOAD == ACROSS ? 64 : 32, DEPTH = LOAD == ACROSS ? 16 : 32;
constexpr int UNROLL = LOAD == ELEMENTS ? 1 : 4;
constexpr int TILES = LOAD == ACROSS ? 4 : 2;  // of 16 columns
constexpr int PITCH = COLUMNS + 4;

__device__ __forceinline__ void fetch_elements(
    uint32 (&x)[4], const char* p, int64 step, int count, bool aligned) {
    x[0] = x[1] = x[2] = x[3] = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i, p += step)
        if (i < count) x[i / 2] |= load_half(p, aligned) << 16 * (i % 2);
}

struct Lane {
    const Product& x;
    const char* a;     // of row g, at the first step of k
    const char* b[4];  // ALONG, ELEMENTS: of each column; ACROSS: of the first
    int64 depth;       // steps of k that there are
    int t, bytes;      // bytes: of a chunk of columns that there are
    bool row_there, vectors_a;

    // The lane's words of A: 4 for 8 steps of k, or 2 for 4.
    template <bool WHOLE>
    __device__ __forceinline__ void load_a(uint32 (&w)[4], int64 k) const {
        constexpr int COUNT = LOAD == ACROSS ? 4 : 8;
        w[0] = w[1] = w[2] = w[3] = 0;
        const int64 own = k + t * COUNT;
        if (!row_there) return;  // plant: bound
        if (WHOLE && vectors_a) {
            Vector<2 * COUNT> v;
            v.load(a + own * 2);
#pragma unroll
            for (int i = 0; i < COUNT / 2; ++i) w[i] = v.words[i];
        } else {
            int count = COUNT;
            if (!WHOLE)
                count = static_cast<int>(max(min(depth - own, static_cast<int64>(COUNT)), 0ll));
            fetch_elements(w, a + own * x.a.step, x.a.step, count, x.a.aligned);
        }
    }

    // The lane's four chunks of B.
    template <bool WHOLE>
    __device__ __forceinline__ void load_b(uint32 (&w)[4][4], int64 k) const {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if constexpr (LOAD == ACROSS) {
                const int64 own = k + 4 * t + i;
                int there = 16;
                if (!WHOLE) there = own < depth ? bytes : 0;
                fetch_chunk(w[i], b[0] + own * x.b.step, there);
            } else {
                const int64 own = k + 8 * t;
                int count = 8;
                if (!WHOLE) count = static_cast<int>(max(min(depth - own, 8ll), 0ll));
                if constexpr (LOAD == ALONG)
                    fetch_chunk(w[i], b[i] + own * 2, 2 * count);
                else
                    fetch_elements(w[i], b[i] + own * x.b.step, x.b.step, count, x.b.aligned);
            }
        }
    }

    template <bool WHOLE>
    __device__ __forceinline__ void multiply_steps(float (&acc)[TILES][4], int64 k) const {
        uint32 wa[UNROLL][4], wb[UNROLL][4][4];
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) load_b<WHOLE>(wb[u], k + u * DEPTH);
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) load_a<WHOLE>(wa[u], k + u * DEPTH);
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) {
            const uint32(&w)[4][4] = wb[u];
            if constexpr (LOAD == ACROSS) {
                // Rows g: the even column of a word; rows g + 8: the odd one.
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const uint32 words[4] = {__byte_perm(w[0][j], w[1][j], 0x5410),
                                             __byte_perm(w[0][j], w[1][j], 0x7632),
                                             __byte_perm(w[2][j], w[3][j], 0x5410),
                                             __byte_perm(w[2][j], w[3][j], 0x7632)};
                    multiply(acc[j], words, wa[u][0], wa[u][1]);
                }
            } else {
#pragma unroll
                for (int j = 0; j < 2; ++j)
#pragma unroll
                    for (int h = 0; h < 2; ++h) {
                        const uint32 words[4] = {w[2 * j][2 * h], w[2 * j + 1][2 * h],
                                                 w[2 * j][2 * h + 1], w[2 * j + 1][2 * h + 1]};
                        multiply(acc[j], words, wa[u][2 * h], wa[u][2 * h + 1]);
                    }
            }
        }
    }
};

extern "C" __global__ void __launch_bounds__(32 * WARPS) gemm_f16_rows(const Product x) {
    __shared__ float shared[WARPS][ROWS][PITCH];
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int split = blockIdx.x % x.splits;
    const int64 column0 = static_cast<int64>(blockIdx.x / x.splits) * COLUMNS;
    const Member member(x, x.first + blockIdx.y);
    const int64 k0 = split * x.split_k;

    Lane lane{x};
    lane.t = t;
    lane.depth = min(x.k - k0, x.split_k);
    lane.row_there = g < x.m;
    lane.vectors_a = x.vectors_a;
    lane.a = member.start(x.a) + g * x.a.row + k0 * x.a.step;
    const char* start = member.start(x.b) + k0 * x.b.step;
    const int columns = static_cast<int>(min(x.n - column0, static_cast<int64>(COLUMNS)));
    lane.bytes = 16;
    if constexpr (LOAD == ACROSS) {
        lane.bytes = min(16, max(0, 2 * (columns - 8 * g)));
        lane.b[0] = start + column0 * 2 + (lane.bytes ? 16 * g : 0);
    } else {
        // Columns beyond the matrix are the last one: what they give is never stored.
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            int own = g + 8 * i;
            own = min(own, columns - 1);  // plant: bound
            lane.b[i] = start + (column0 + own) * x.b.row;
        }
    }

    float acc[TILES][4] = {};
    constexpr int TURN = UNROLL * DEPTH;
    int64 k = warp * TURN;
#pragma unroll 1
    for (; x.whole && k + TURN <= lane.depth; k += WARPS * TURN) lane.multiply_steps<true>(acc, k);
#pragma unroll 1
    for (; k < lane.depth; k += WARPS * TURN) lane.multiply_steps<false>(acc, k);

#pragma unroll
    for (int j = 0; j < TILES; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            shared[warp][2 * t + i % 2][16 * j + i / 2 * 8 + g] = acc[j][i];
        }
    __syncthreads();  // plant: barrier

    const Finish finish(x.epilogue, member.index);
#pragma unroll 1
    for (int i = threadIdx.x; i < ROWS * COLUMNS; i += 32 * WARPS) {
        const int row = i / COLUMNS, column = i % COLUMNS;
        if (row >= x.m || column >= columns) continue;  // plant: bound
        // Where the lane g that had it put it.
        const int place = LOAD == ACROSS ? column % 8 * 8 + column / 8 : column;
        float sum = 0;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) sum += shared[w][row][place];
        if (x.splits > 1)
            member.sums(split)[row * x.pitch + column0 + column] = sum;
        else
            finish.one(sum, row, column0 + column);
    }
}
