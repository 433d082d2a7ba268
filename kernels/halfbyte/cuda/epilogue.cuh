// SPDX-License-Identifier: Apache-2.0
// How a matrix product ends: activation(alpha * sum + beta * c + bias), cast and stored. Each step
// is rounded. What there is to do is known when the kernel runs: it is little beside the product.
#pragma once

#include "activations.cuh"

constexpr int NONE = 0, SINGLE = 1, HALF = 2;  // what an operand is
constexpr int BATCH = 3;                       // leading dimensions

struct Strided {  // strides in bytes
    uint64 start;
    int64 row, column, batch[BATCH];
};

struct Epilogue {
    Strided out, c;
    uint64 bias;
    int64 bias_row, bias_column;  // one of them is 0
    float alpha, beta;
    int32 out_kind, c_kind, bias_kind, activation;
    int32 vectors;  // four columns are one access of out and c, and of a bias along columns
    int32 aligned;  // all addresses and strides are multiples of the item sizes
};

__device__ __forceinline__ int64 batch_offset(const Strided& x, const int64 (&index)[BATCH]) {
    int64 offset = 0;
#pragma unroll
    for (int d = 0; d < BATCH; ++d) offset += index[d] * x.batch[d];
    return offset;
}

__device__ __forceinline__ float load_number(const char* p, int kind, bool aligned) {
    if (kind == SINGLE)
        return aligned ? load_element<true, float>(p) : load_element<false, float>(p);
    return to_float(aligned ? load_element<true, uint16>(p) : load_element<false, uint16>(p));
}

__device__ __forceinline__ void load_four(float (&x)[4], const char* p, int kind) {
    if (kind == SINGLE) {
        Vector<16> v;
        v.load(p);
#pragma unroll
        for (int i = 0; i < 4; ++i) x[i] = v.get<float>(i);
    } else {
        Vector<8> v;
        v.load(p);
#pragma unroll
        for (int i = 0; i < 4; ++i) x[i] = to_float(v.get<uint16>(i));
    }
}

// Where the results of one product of a batch go.
struct Finish {
    const Epilogue& e;
    char* out;
    const char* c;

    __device__ __forceinline__ Finish(const Epilogue& e, const int64 (&index)[BATCH])
        : e(e),
          out(reinterpret_cast<char*>(e.out.start) + batch_offset(e.out, index)),
          c(reinterpret_cast<const char*>(e.c.start) + batch_offset(e.c, index)) {}

    __device__ __forceinline__ const char* bias(int64 row, int64 column) const {
        return reinterpret_cast<const char*>(e.bias) + row * e.bias_row + column * e.bias_column;
    }

    // Finish and store one element.
    __device__ __forceinline__ void one(float x, int64 row, int64 column) const {
        x = e.alpha * x;
        if (e.c_kind) {
            const char* p = c + row * e.c.row + column * e.c.column;
            x = x + e.beta * load_number(p, e.c_kind, e.aligned);
        }
        if (e.bias_kind) x = x + load_number(bias(row, column), e.bias_kind, e.aligned);
        x = activate(x, e.activation);
        char* target = out + row * e.out.row + column * e.out.column;
        if (e.out_kind == SINGLE) {
            if (e.aligned)
                store_element<true>(target, x);
            else
                store_element<false>(target, x);
        } else {
            if (e.aligned)
                store_element<true>(target, half_from_float(x));
            else
                store_element<false>(target, half_from_float(x));
        }
    }

    // Finish and store four elements of a row; `vectors` is set.
    __device__ __forceinline__ void four(float (&x)[4], int64 row, int64 column) const {
        float y[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) x[i] = e.alpha * x[i];
        if (e.c_kind) {
            load_four(y, c + row * e.c.row + column * e.c.column, e.c_kind);
#pragma unroll
            for (int i = 0; i < 4; ++i) x[i] = x[i] + e.beta * y[i];
        }
        if (e.bias_kind) {
            if (e.bias_column)
                load_four(y, bias(row, column), e.bias_kind);
            else
                y[0] = y[1] = y[2] = y[3] = load_number(bias(row, 0), e.bias_kind, true);
#pragma unroll
            for (int i = 0; i < 4; ++i) x[i] = x[i] + y[i];
        }
        if (e.activation) {
#pragma unroll
            for (int i = 0; i < 4; ++i) x[i] = activate(x[i], e.activation);
        }
        char* target = out + row * e.out.row + column * e.out.column;
        if (e.out_kind == SINGLE) {
            Vector<16> v;
#pragma unroll
            for (int i = 0; i < 4; ++i) v.put(i, x[i]);
            v.store(target);
        } else {
            Vector<8> v = {};
#pragma unroll
            for (int i = 0; i < 4; ++i) v.put(i, half_from_float(x[i]));
            v.store(target);
        }
    }
};
