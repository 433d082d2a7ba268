// SPDX-License-Identifier: Apache-2.0
// What is multiplied: C[m, n] = A[m, k] B[k, n], for each index of the leading dimensions; and
// 16-byte chunks and elements of an operand.
#pragma once

#include "epilogue.cuh"

struct Operand {  // a row is one of a, and a column of b. Strides in bytes, `step` from k to k + 1
    uint64 start;
    int64 row, step, batch[BATCH];
    int32 aligned;  // address and strides are multiples of 2
    int32 by_rows;  // rows lie closer together than steps of k
};

struct Product {
    Operand a, b;
    Epilogue epilogue;
    uint64 sums;  // float[splits][products][m][pitch], where there are splits
    int64 m, n, k, pitch, products;
    int64 split_k;   // steps of k of a split
    int64 batch[2];  // sizes of the last two leading dimensions
    int64 first;     // product that the grid begins with
    int32 splits, tiles_m, tiles_n;
    int32 whole;      // no 16-byte chunk is in part beyond a matrix, but for the last ones along k
    int32 vectors_a;  // of few rows: lie along k, at multiples of 16 bytes
};

// One product of a batch, of halves or of integers.
template <typename P>
struct Member {
    const P& x;
    int64 number, index[BATCH];

    __device__ __forceinline__ Member(const P& x, int64 number) : x(x), number(number) {
        const int64 outer = number / x.batch[1];
        index[0] = outer / x.batch[0], index[1] = outer % x.batch[0];
        index[2] = number % x.batch[1];
    }

    __device__ __forceinline__ const char* start(const Operand& operand) const {
        const char* p = reinterpret_cast<const char*>(operand.start);
#pragma unroll
        for (int d = 0; d < BATCH; ++d) p += index[d] * operand.batch[d];
        return p;
    }

    template <typename T = float>
    __device__ __forceinline__ T* sums(int split) const {
        return reinterpret_cast<T*>(x.sums) + (split * x.products + number) * x.m * x.pitch;
    }
};

__device__ __forceinline__ uint32 load_half(const char* p, bool aligned) {
    return aligned ? load_element<true, uint16>(p) : load_element<false, uint16>(p);
}

// Load 16 bytes, of which only the first `bytes` are read; zeros for the rest.
__device__ __forceinline__ void fetch_chunk(uint32 (&x)[4], const char* p, int bytes) {
    x[0] = x[1] = x[2] = x[3] = 0;
    if (bytes == 16) {
        const uint4 v = *reinterpret_cast<const uint4*>(p);
        x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
    } else {
#pragma unroll
        for (int i = 0; i < 7; ++i)
            if (2 * i < bytes) x[i / 2] |= load_element<true, uint16>(p + 2 * i) << 16 * (i % 2);
    }
}
