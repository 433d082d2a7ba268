// SPDX-License-Identifier: Apache-2.0
// Tiles of an operand: from global memory to swizzled shared memory, and from there to fragments.
//
// A tile has ROWS rows (of a; columns of b) and DEPTH steps of k, in chunks of 16 bytes:
//
//   ALONG, ELEMENTS    a line a row, DEPTH / 8 chunks of 8 steps of k     ldmatrix
//   ACROSS             a line a step of k, ROWS / 8 chunks of 8 rows        ldmatrix.trans
//
// Chunks of a line change places by its number, so that eight lines' chunks of one number, which an
// ldmatrix phase reads, lie in different banks: chunk ^= line % 8 for lines of 128 bytes and more,
// (line / 2) % 4 for 64, (line / 4) % 2 for 32. Published: without this an A100 fell from 191 to 65 TFLOP/s.
#pragma once

#include "mma.cuh"
#include "product.cuh"

// How an operand lies in global memory: 16-byte chunks along k or across it; or elements at any
// strides, loaded one by one.
constexpr int ALONG = 0, ACROSS = 1, ELEMENTS = 2;

template <int LINE_BYTES>
__device__ __forceinline__ int place(int line, int chunk) {
    constexpr int CHUNKS = LINE_BYTES / 16;
    static_assert(CHUNKS >= 2);
    const int swizzled = CHUNKS >= 8   ? chunk ^ line % 8
                         : CHUNKS == 4 ? chunk ^ line / 2 % 4
                                       : chunk ^ line / 4 % 2;
    return line * LINE_BYTES + swizzled * 16;
}

// ----------------------------------------------------------------------------- to shared memory

// What one thread copies of each tile.
template <int ROWS, int DEPTH, int THREADS, int LOAD>
struct Loader {
    static constexpr int LINES = LOAD == ACROSS ? DEPTH : ROWS;
    static constexpr int LINE_BYTES = (LOAD == ACROSS ? ROWS : DEPTH) * 2;
    static constexpr int CHUNKS = LINE_BYTES / 16;
    static constexpr int BYTES = LINES * LINE_BYTES;
    static constexpr int COUNT = LINES * CHUNKS / THREADS;  // chunks of a thread
    static constexpr int PASS = THREADS / CHUNKS;           // lines that all threads copy at once
    static constexpr bool STAGED = !ASYNC || LOAD == ELEMENTS;  // through registers
    static_assert(COUNT * THREADS == LINES * CHUNKS && PASS % 8 == 0);

    static constexpr int SOURCES = LOAD == ALONG ? COUNT : 1;

    const char* source[SOURCES];
    int64 row, step;  // strides
    int line, chunk;  // of the first chunk; the next ones are PASS lines further
    int rows;         // that there are
    int target;       // in the tile
    int bytes;        // ACROSS: of a chunk that there are
    bool aligned, by_rows;
    uint32 staged[STAGED ? COUNT : 1][4];

    // start: of the first row and step of k. rows: how many there are, 1 or more.
    __device__ __forceinline__ Loader(const Operand& x, const char* start, int64 rows_left)
        : row(x.row), step(x.step), aligned(x.aligned), by_rows(x.by_rows) {
        line = threadIdx.x / CHUNKS;
        chunk = threadIdx.x % CHUNKS;
        rows = rows_left < ROWS ? static_cast<int>(rows_left) : ROWS;
        if constexpr (LOAD == ELEMENTS) {
            source[0] = start;
        } else if constexpr (LOAD == ALONG) {
            // Rows beyond the matrix are the last one: what they give is never stored.
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                int own = line + i * PASS;
                own = min(own, rows - 1);  // plant: bound
                source[i] = start + own * row + chunk * 16;
            }
        } else {
            bytes = 16;
            bytes = min(bytes, max(0, 2 * (rows - 8 * chunk)));  // plant: bound
            source[0] = start + line * step + (bytes ? chunk * 16 : 0);
        }
        target = place<LINE_BYTES>(line, chunk);
    }

    // Start to copy a tile of which `left` steps of k are there, and go on to the next. WHOLE: all
    // steps are, and no chunk across them is in part beyond the matrix; one that is altogether
    // copies another, and what it gives is never stored.
    template <bool WHOLE>
    __device__ __forceinline__ void start(uint32 tile, int left) {
        if constexpr (LOAD == ELEMENTS) {
            fetch_elements(left);
        } else {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                const char* p;
                int there = 16;
                if constexpr (WHOLE) {
                    p = LOAD == ALONG ? source[i % SOURCES] : source[0] + i * PASS * step;
                } else if constexpr (LOAD == ALONG) {
                    p = source[i];
                    there = min(there, max(0, 2 * (left - 8 * chunk)));  // plant: bound
                } else {
                    p = source[0] + i * PASS * step;
                    there = bytes;
                    if (line + i * PASS >= left) there = 0;  // plant: bound
                }
                if constexpr (STAGED)
                    fetch_chunk(staged[i], p, WHOLE ? 16 : there);
                else
                    copy_async(tile + target + i * PASS * LINE_BYTES, p, there);
            }
            advance();
        }
    }

    // Store what came through registers.
    __device__ __forceinline__ void finish(uint32 tile) {
        if constexpr (STAGED) {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                int at = target + i * PASS * LINE_BYTES;
                if constexpr (LOAD == ELEMENTS) at = place<LINE_BYTES>(line_of(i), chunk_of(i));
                store_shared(tile + at, staged[i]);
            }
        }
    }

    __device__ __forceinline__ void advance() {
        if constexpr (LOAD == ALONG) {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) source[i] += DEPTH * 2;
        } else {
            source[0] += DEPTH * step;
        }
    }

    // Neighbouring threads take what lies close together.
    __device__ __forceinline__ int line_of(int i) const {
        const int number = threadIdx.x + i * THREADS;
        return by_rows ? number % LINES : number / CHUNKS;
    }
    __device__ __forceinline__ int chunk_of(int i) const {
        const int number = threadIdx.x + i * THREADS;
        return by_rows ? number / LINES : number % CHUNKS;
    }

    __device__ __forceinline__ void fetch_elements(int left) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const int k = 8 * chunk_of(i);
            int own = line_of(i);
            own = min(own, rows - 1);  // plant: bound
            const char* p = source[0] + own * row + k * step;
#pragma unroll
            for (int e = 0; e < 8; ++e) {
                bool there = true;
                there = k + e < left;  // plant: bound
                const uint32 x = there ? load_half(p, aligned) : 0;
                staged[i][e / 2] = e % 2 ? staged[i][e / 2] | x << 16 : x;
                p += step;
            }
        }
        advance();
    }
};

// --------------------------------------------------------------------------------- to fragments

// Where this lane's rows of the matrices are that one load_matrices takes: 16 rows, 16 steps of k.
// B: the order is that of two fragments of b of 8 columns, (column, k) (0, 0), (0, 8), (8, 0),
// (8, 8); else that of a fragment of a, (row, k) (0, 0), (8, 0), (0, 8), (8, 8).
template <int ROWS, int DEPTH, int LOAD, bool B>
struct Fragments {
    static constexpr int LINE_BYTES = (LOAD == ACROSS ? ROWS : DEPTH) * 2;
    int first;

    __device__ __forceinline__ explicit Fragments(int row) {
        const int lane = threadIdx.x % 32;
        // Of the two bits above the lowest three one goes along rows, the other along k.
        const int up = (B ? lane / 16 : lane / 8 % 2), on = (B ? lane / 8 % 2 : lane / 16);
        const int own = lane % 8;
        first = LOAD == ACROSS ? place<LINE_BYTES>(own + 8 * on, row / 8 + up)
                               : place<LINE_BYTES>(row + own + 8 * up, on);
    }

    // 16 rows from row 16 i on, at k 16 step. i and step are known when this is compiled: an
    // exclusive or moves by chunks, which the swizzle allows; 16 lines further is a sum.
    __device__ __forceinline__ void load(uint32 (&d)[4], uint32 tile, int i, int step) const {
        const int chunks = LOAD == ACROSS ? i : step, lines = LOAD == ACROSS ? step : i;
        const uint32 address = tile + (first ^ 32 * chunks) + lines * 16 * LINE_BYTES;
        if constexpr (LOAD == ACROSS)
            load_matrices_transposed(d, address);
        else
            load_matrices(d, address);
    }
};
