// SPDX-License-Identifier: Apache-2.0
// How a layer with quantized weights ends: sums of codes are corrected for zero points and scaled,
// groups added up in their order; then bias, activation, and the cast or the codes of the result.
// Each step is rounded. What there is to do is known when the kernel runs.
#pragma once

#include "codes.cuh"
#include "epilogue.cuh"

constexpr int CODES = 3;  // what results are, beside SINGLE and HALF

struct Channel {  // numbers of rows of x, or of rows and groups of w. Strides in bytes
    uint64 start;
    int64 row, group;

    __device__ __forceinline__ const char* at(int64 own, int64 group_) const {
        return reinterpret_cast<const char*>(start) + own * row + group_ * group;
    }
};

struct End {
    uint64 out, bias;
    int64 out_row, out_column, bias_step;
    Channel x_scale, x_zero, w_scale, w_zero;  // w's row is a column of the result
    uint64 x_sums, w_sums;                     // int32[rows][groups], of codes
    int64 inner, entries;                      // row i of x has entry (i / inner) % entries
    int64 m, n, k, group;                      // group: steps of k, k where there are no groups
    uint64 code_scale, code_zero;              // where they are
    int32 code_min, code_max;
    int32 groups;
    int32 x_offset, w_offset;  // what was subtracted from codes
    int32 nibbles, out_kind, bias_kind, activation, aligned;
    int32 affine;   // there are zero points to correct sums of codes for
    int32 vectors;  // four columns are one access of out, bias and, without groups, w's scales
};

template <typename T>
__device__ __forceinline__ T load_aligned(const char* p) {
    return *reinterpret_cast<const T*>(p);
}

// Where one row of the result ends.
struct RowEnd {
    const End& e;
    int64 row, entry;

    __device__ __forceinline__ RowEnd(const End& e, int64 row) : e(e), row(row), entry(row) {
        if (e.entries == 1)
            entry = 0;
        else if (e.inner > 1 || e.entries < e.m)
            entry = row / e.inner % e.entries;
    }

    __device__ __forceinline__ int32 x_zero() const {
        return e.x_zero.start ? load_aligned<int32>(e.x_zero.at(entry, 0)) - e.x_offset : 0;
    }

    // The sum of a group's codes in this row.
    __device__ __forceinline__ int32 x_sum(int32 group) const {
        return load_aligned<int32>(reinterpret_cast<const char*>(e.x_sums) +
                                   4 * (row * e.groups + group));
    }

    // What all groups were added up to, or the one sum where there are none, scaled.
    __device__ __forceinline__ float scaled(float f) const {
        return e.x_scale.start ? f * load_aligned<float>(e.x_scale.at(entry, 0)) : f;
    }

    // Of some neighbours of which so many are there; e.vectors: all are or none.
    template <int COUNT>
    __device__ __forceinline__ void load_scales(float (&scale)[COUNT],
                                                int64 column,
                                                int count) const {
        if (COUNT == 4 && e.vectors && e.w_scale.row) {
            const float4 v = load_aligned<float4>(e.w_scale.at(column, 0));
            scale[0] = v.x, scale[1] = v.y, scale[2] = v.z, scale[3] = v.w;
            return;
        }
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (i >= count) continue;  // plant: bound
            scale[i] = load_aligned<float>(e.w_scale.at(column + i, 0));
        }
    }

    template <int COUNT>
    __device__ __forceinline__ void load_bias(float (&bias)[COUNT], int64 column, int count) const {
        const char* p = reinterpret_cast<const char*>(e.bias) + column * e.bias_step;
        if constexpr (COUNT == 4)
            if (e.vectors) return load_four(bias, p, e.bias_kind);
#pragma unroll
        for (int i = 0; i < COUNT; ++i, p += e.bias_step) {
            if (i >= count) continue;  // plant: bound
            bias[i] = load_number(p, e.bias_kind, e.aligned);
        }
    }

    // Finish and store some neighbours.
    template <int COUNT>
    __device__ __forceinline__ void store(float (&y)[COUNT], int64 column, int count) const {
        float bias[COUNT];
        if (e.bias_kind) load_bias(bias, column, count);
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (e.bias_kind) y[i] = y[i] + bias[i];
            y[i] = activate(y[i], e.activation);
        }
        char* p = reinterpret_cast<char*>(e.out) + row * e.out_row + column * e.out_column;
        if (e.out_kind == CODES) {
            const float scale = *reinterpret_cast<const float*>(e.code_scale);
            const int32* at = reinterpret_cast<const int32*>(e.code_zero);
            const int32 zero_point = at ? *at : 0;
            const Limits limits = limits_of(e.code_min, e.code_max, zero_point);
            const Scaling scaling(scale);
            uint8 codes[COUNT];
#pragma unroll
            for (int i = 0; i < COUNT; ++i)
                codes[i] = nearest_steps(y[i], scaling, limits) + zero_point;
            put(p, codes, count);
        } else if (e.out_kind == SINGLE) {
            put(p, y, count);
        } else {
            uint16 halves[COUNT];
#pragma unroll
            for (int i = 0; i < COUNT; ++i) halves[i] = half_from_float(y[i]);
            put(p, halves, count);
        }
    }

    template <int COUNT, typename T>
    __device__ __forceinline__ void put(char* p, const T (&x)[COUNT], int count) const {
        if (COUNT > 1 && e.vectors) {
            Vector<COUNT * sizeof(T)> v = {};
#pragma unroll
            for (int i = 0; i < COUNT; ++i) v.put(i, x[i]);
            v.store(p);
            return;
        }
#pragma unroll
        for (int i = 0; i < COUNT; ++i, p += e.out_column) {
            if (i >= count) continue;  // plant: bound
            if (e.aligned)
                store_element<true>(p, x[i]);
            else
                store_element<false>(p, x[i]);
        }
    }
};

// What belongs to a column of the result in a group.
struct ColumnGroup {
    float scale;
    int32 zero_point, sum;  // zeros where they do not matter

    ColumnGroup() = default;
    __device__ __forceinline__ ColumnGroup(const End& e, int64 column, int32 group)
        : scale(load_aligned<float>(e.w_scale.at(column, group))), zero_point(0), sum(0) {
        if (e.w_zero.start)
            zero_point = load_aligned<int32>(e.w_zero.at(column, group)) - e.w_offset;
        if (e.x_zero.start)
            sum = load_aligned<int32>(reinterpret_cast<const char*>(e.w_sums) +
                                      4 * (column * e.groups + group));
    }
};

// What belongs to a row of x in a group: sum (x - zx)(w - zw) = sum x w - zx sum w - zw sum (x - zx).
struct RowGroup {
    int32 zero_point, sum;  // sum: of x - zx

    RowGroup() = default;
    __device__ __forceinline__ RowGroup(const RowEnd& row, int32 group)
        : zero_point(row.x_zero()), sum(0) {
        const int64 steps = min(row.e.group, row.e.k - group * row.e.group);
        if (row.e.w_zero.start) sum = row.x_sum(group) - zero_point * static_cast<int32>(steps);
    }
};

// The sum of (x - zx)(w - zw) from that of codes, modulo 2^32. Codes of 4 bits are multiplied as 16
// times what they are.
__device__ __forceinline__ float number_of(const End& e,
                                           int32 codes,
                                           const RowGroup& x,
                                           const ColumnGroup& w) {
    uint32 sum = e.nibbles ? codes >> 4 : codes;
    if (e.affine)
        sum -= static_cast<uint32>(x.zero_point) * static_cast<uint32>(w.sum) +
               static_cast<uint32>(w.zero_point) * static_cast<uint32>(x.sum);
    return static_cast<float>(static_cast<int32>(sum));
}

// Halves are multiplied with codes minus zero points.
__device__ __forceinline__ float number_of(const End&,
                                           float sum,
                                           const RowGroup&,
                                           const ColumnGroup&) {
    return sum;
}
