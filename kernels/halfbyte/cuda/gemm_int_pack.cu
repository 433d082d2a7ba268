// SPDX-License-Identifier: Apache-2.0
// gemm_int_pack: codes of any strides and form, laid out along k for the integer kernels; or back.
//
//     BYTES     a code a byte
//     ALONG     two a byte, of neighbours along k: k even in the low nibble
//     ACROSS    two a byte, of neighbouring rows: row even in the low nibble
//     BLOCKS    32 a 16 bytes: byte j has code j in its low and code 16 + j in its high nibble
//     TURNED    the same along rows
//
// Rows of the target follow each other, `padded` codes long, zeros where the source has none. A block
// turns 64 x 64 codes in shared memory, so that both sides are read and written in the order in which
// they lie.

#include "words.cuh"

constexpr int BYTES = 0, ALONG = 1, ACROSS = 2, BLOCKS = 3, TURNED = 4;
constexpr int SIZE = 64, THREADS = 256, BATCH = 3;

struct Packing {
    uint64 source, target;
    int64 row, step, batch[BATCH];  // strides of the source's bytes
    int64 sizes[2];                 // of the last two leading dimensions
    int64 rows, depth, padded;
    int64 tiles;      // along a row of the target
    int64 first;      // matrix that the grid begins with
    int32 from, to;   // forms
    int32 is_signed;  // nibbles that become bytes
    int32 by_rows;    // rows of the source lie closer together than codes of a row
    int32 words;      // the source is words of four bytes: along rows if by_rows, or k
};

__device__ __forceinline__ uint32 load_code(const Packing& x, const char* p, int64 row, int64 k) {
    int high = 0;
    if (x.from == BYTES) {
        p += row * x.row + k * x.step;
    } else if (x.from == ALONG) {
        p += row * x.row + k / 2 * x.step, high = k % 2;
    } else if (x.from == ACROSS) {
        p += row / 2 * x.row + k * x.step, high = row % 2;
    } else {
        const int64 along = x.from == BLOCKS ? k : row;
        p += (x.from == BLOCKS ? row * x.row : k * x.step) + along / 32 * 16 + along % 16;
        high = along / 16 % 2;
    }
    const uint32 byte = load_element<true, uint8>(p);
    if (x.from == BYTES) return byte;
    const uint32 nibble = high ? byte >> 4 : byte & 15;
    return x.is_signed ? (nibble ^ 8) - 8 & 255 : nibble;
}

struct Line {  // of a row: one more bank for each
    uint8 codes[SIZE + 4];

    __device__ __forceinline__ void put(int word, uint32 value) {
        *reinterpret_cast<uint32*>(codes + 4 * word) = value;
    }
};

// Load a tile of codes one by one.
__device__ __forceinline__ void load_each(
    const Packing& x, const char* source, Line* codes, int64 row0, int64 k0) {
    const int fast = threadIdx.x % SIZE;
#pragma unroll 4
    for (int slow = threadIdx.x / SIZE; slow < SIZE; slow += THREADS / SIZE) {
        const int row = x.by_rows ? fast : slow, place = x.by_rows ? slow : fast;
        const int64 k = k0 + place;
        bool there = true;
        there = there && k < x.depth;          // plant: bound
        there = there && row0 + row < x.rows;  // plant: bound
        codes[row].codes[place] = there ? load_code(x, source, row0 + row, k) : 0;
    }
}

// Words of one code of four rows, or of eight: four such are turned.
__device__ __forceinline__ void load_across(
    const Packing& x, const char* source, Line* codes, int64 row0, int64 k0) {
    const bool nibbles = x.from == ACROSS;
    const int word = threadIdx.x / 8 % 16, four = threadIdx.x % 8 + threadIdx.x / 128 * 8;
    const int row = four * (nibbles ? 8 : 4);
    if (row >= SIZE) return;  // a nibble each takes half the threads
    const char* p = source + (row0 + row) / (nibbles ? 2 : 1);
    uint32 w[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int64 k = k0 + 4 * word + i;
        bool there = true;
        there = there && k < x.depth;          // plant: bound
        there = there && row0 + row < x.rows;  // plant: bound
        w[i] = there ? *reinterpret_cast<const uint32*>(p + k * x.step) : 0;
    }
    turn(w);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (nibbles) {
            const uint32 even = w[i] & 0x0f0f0f0fu, odd = w[i] >> 4 & 0x0f0f0f0fu;
            codes[row + 2 * i].put(word, x.is_signed ? extend_signs(even) : even);
            codes[row + 2 * i + 1].put(word, x.is_signed ? extend_signs(odd) : odd);
        } else {
            codes[row + i].put(word, w[i]);
        }
    }
}

// Words of four codes of a row, or of eight.
__device__ __forceinline__ void load_along(
    const Packing& x, const char* source, Line* codes, int64 row0, int64 k0) {
    const bool nibbles = x.from == ALONG;
    const int words = nibbles ? SIZE / 8 : SIZE / 4;
#pragma unroll 4
    for (int i = threadIdx.x; i < SIZE * words; i += THREADS) {
        const int row = i / words, word = i % words;
        const int64 k = k0 + word * (nibbles ? 8 : 4);
        bool there = true;
        there = there && k < x.depth;          // plant: bound
        there = there && row0 + row < x.rows;  // plant: bound
        const char* p = source + (row0 + row) * x.row + k / (nibbles ? 2 : 1);
        const uint32 w = there ? *reinterpret_cast<const uint32*>(p) : 0;
        if (nibbles) {
            const uint32 even = w & 0x0f0f0f0fu, odd = w >> 4 & 0x0f0f0f0fu;
            const uint32 low = __byte_perm(even, odd, 0x5140),
                         high = __byte_perm(even, odd, 0x7362);
            codes[row].put(2 * word, x.is_signed ? extend_signs(low) : low);
            codes[row].put(2 * word + 1, x.is_signed ? extend_signs(high) : high);
        } else {
            codes[row].put(word, w);
        }
    }
}

// Word `word` of a row of the target; zeros where there are no codes.
__device__ __forceinline__ uint32 word_of(const Packing& x, const uint8* codes, int word) {
    if (x.to == BYTES) return *reinterpret_cast<const uint32*>(codes + 4 * word);
    if (x.to == BLOCKS) {
        const uint8* block = codes + word / 4 * 32 + word % 4 * 4;
        const uint32 low = *reinterpret_cast<const uint32*>(block);
        const uint32 high = *reinterpret_cast<const uint32*>(block + 16);
        return (low & 0x0f0f0f0fu) | (high & 0x0f0f0f0fu) << 4;
    }
    const uint32 first = *reinterpret_cast<const uint32*>(codes + 8 * word);
    const uint32 second = *reinterpret_cast<const uint32*>(codes + 8 * word + 4);
    const uint32 even = __byte_perm(first, second, 0x6420),
                 odd = __byte_perm(first, second, 0x7531);
    return (even & 0x0f0f0f0fu) | (odd & 0x0f0f0f0fu) << 4;
}

extern "C" __global__ void __launch_bounds__(THREADS) gemm_int_pack(const Packing x) {
    __shared__ __align__(4) Line codes[SIZE];
    const int64 k0 = blockIdx.x % x.tiles * SIZE, row0 = blockIdx.x / x.tiles * SIZE;
    const int64 number = x.first + blockIdx.y, outer = number / x.sizes[1];
    const char* source = reinterpret_cast<const char*>(x.source) + number % x.sizes[1] * x.batch[2];
    source += outer % x.sizes[0] * x.batch[1] + outer / x.sizes[0] * x.batch[0];
    if (x.words && x.by_rows)
        load_across(x, source, codes, row0, k0);
    else if (x.words)
        load_along(x, source, codes, row0, k0);
    else
        load_each(x, source, codes, row0, k0);
    __syncthreads();  // plant: barrier
    const int64 pitch = x.to == BYTES ? x.padded : (x.padded + 1) / 2;
    const int words = x.to == BYTES ? SIZE / 4 : SIZE / 8;
    char* target = reinterpret_cast<char*>(x.target) + number * x.rows * pitch;
    for (int i = threadIdx.x; i < SIZE * words; i += THREADS) {
        const int row = i / words, word = i % words;
        const int64 at = k0 / SIZE * words * 4 + 4 * word;
        if (row0 + row >= x.rows) continue;  // plant: bound
        const uint32 value = word_of(x, codes[row].codes, word);
        char* p = target + (row0 + row) * pitch + at;
        int left = 4;
        left = static_cast<int>(min(pitch - at, static_cast<int64>(left)));  // plant: bound
        if (pitch % 4 == 0) {
            if (left > 0) *reinterpret_cast<uint32*>(p) = value;
        } else {
#pragma unroll
            for (int byte = 0; byte < 4; ++byte)
                if (byte < left) p[byte] = value >> 8 * byte;
        }
    }
}
