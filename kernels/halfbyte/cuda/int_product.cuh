// SPDX-License-Identifier: Apache-2.0
// What integer matrices are multiplied: C[m, n] = (A[m, k] - za) (B[k, n] - zb) modulo 2^32, for each
// index of the leading dimensions; and where C goes.
#pragma once

#include "product.cuh"

struct ZeroPoints {  // of rows of an operand: one value, or numbers in memory
    uint64 start;
    int64 stride, period;  // row r has number r % period, be it beyond the matrix
    int32 value, bytes;    // bytes of a number whose low 32 bits count; 0: all are `value`
    int32 is_signed;

    __device__ __forceinline__ int32 get(int64 row) const {
        if (!bytes) return value;
        if (row >= period) row %= period;
        const char* p = reinterpret_cast<const char*>(start) + row * stride;
        if (bytes == 1) {
            const uint8 x = load_element<true, uint8>(p);
            return is_signed ? static_cast<int8>(x) : x;
        }
        if (bytes == 2) {
            const uint16 x = load_element<false, uint16>(p);
            return is_signed ? static_cast<int16>(x) : x;
        }
        return load_element<false, int32>(p);
    }
};

struct IntProduct {
    Operand a, b;
    Strided out;
    ZeroPoints zero_a, zero_b;
    uint64 sums;  // int32[splits][products][m][pitch], where there are splits
    int64 m, n, k, pitch, products;
    int64 split_k;   // codes of a split
    int64 batch[2];  // sizes of the last two leading dimensions
    int64 first;     // product that the grid begins with
    int32 splits, tiles_m, tiles_n;
    int32 pairs;    // two columns, of which the first is even, are one access of out
    int32 aligned;  // out and its strides are multiples of 4
};

// Where sums of one product of a batch go: to the workspace of a split, or to C.
struct Target {
    char* start;
    int64 row, column;
    bool pairs, aligned;

    __device__ __forceinline__ Target(const IntProduct& x, const Member<IntProduct>& member)
        : start(reinterpret_cast<char*>(x.out.start) + batch_offset(x.out, member.index)),
          row(x.out.row),
          column(x.out.column),
          pairs(x.pairs),
          aligned(x.aligned) {}

    __device__ __forceinline__ Target(const IntProduct& x, int32* sums)
        : start(reinterpret_cast<char*>(sums)),
          row(4 * x.pitch),
          column(4),
          pairs(true),
          aligned(true) {}

    __device__ __forceinline__ void one(int32 sum, int64 i, int64 j) const {
        char* p = start + i * row + j * column;
        if (aligned)
            store_element<true>(p, sum);
        else
            store_element<false>(p, sum);
    }

    // Columns j and j + 1, j even, of which `there` are there; where pairs are one access, both are.
    __device__ __forceinline__ void two(int32 x, int32 y, int64 i, int64 j, int64 there) const {
        if (pairs) {
            *reinterpret_cast<int2*>(start + i * row + j * 4) = make_int2(x, y);
        } else {
            one(x, i, j);
            if (there > 1) one(y, i, j + 1);
        }
    }
};

__device__ __forceinline__ Target target_of(const IntProduct& x,
                                            const Member<IntProduct>& member,
                                            int split) {
    if (x.splits > 1) return Target(x, member.template sums<int32>(split));
    return Target(x, member);
}
