// SPDX-License-Identifier: Apache-2.0
// codes.cuh: numbers to codes. A code is the zero point and so many steps of the scale.
#pragma once
#include "ptx.cuh"

// The least and the greatest number of steps whose code is in range. Whole numbers.
struct Limits {
    float lo, hi;
};

__device__ __forceinline__ Limits limits_of(int32 qmin, int32 qmax, int32 zero_point) {
    return {static_cast<float>(qmin - zero_point), static_cast<float>(qmax - zero_point)};
}

// A number of at most 2^22 in magnitude to the nearest integer, ties to even: 1.5 * 2^23 has an ulp
// of 1.
__device__ __forceinline__ int32 to_integer(float x) {
    constexpr float MAGIC = 12582912.0f;
    return bits_of(__fadd_rn(x, MAGIC)) - bits_of(MAGIC);
}

// Steps of x quantized; those of a NaN are 0. Since limits are whole numbers, they may clip before
// the rounding.
__device__ __forceinline__ int32 steps_of_quotient(float t, Limits limits) {
    const float number = t == t ? t : 0.0f;
    return to_integer(fminf(fmaxf(number, limits.lo), limits.hi));
}

__device__ __forceinline__ int32 nearest_steps(float x, float scale, Limits limits) {
    return steps_of_quotient(div_rn(x, scale), limits);
}

// Divides many numbers by one scale, where it matters as div_rn does: eight instructions instead of
// twelve with two of the special function unit. After Markstein (Muller et al., Handbook of
// Floating-Point Arithmetic): with the reciprocal correctly rounded and a quotient off by less than
// an ulp, quotient + remainder * reciprocal rounds as the true quotient does. The first product may
// be off by two ulps, so there are two such steps.
//
// Remainders must not underflow. A power of two, by which scale and numbers are multiplied first,
// leaves scales from 2^-61 to 2^64: then they do not unless the quotient is below 2^-10, which is
// no step in any case. Where the power takes a number to infinity, its quotient is above 2^100.
struct Scaling {
    float power, scale, reciprocal;

    __device__ __forceinline__ explicit Scaling(float scale_) {
        const float size = fabsf(scale_);
        power = size < 0x1p-60f ? 0x1p88f : size > 0x1p60f ? 0x1p-64f : 1.0f;
        scale = __fmul_rn(scale_, power);
        reciprocal = __frcp_rn(scale);
    }

    // x / scale where its magnitude is from 2^-10 to 2^10, else a number on the same side of these.
    __device__ __forceinline__ float quotient(float x) const {
        const float number = __fmul_rn(x, power);
        const float rough = __fmul_rn(number, reciprocal);
        float q = __fmaf_rn(__fmaf_rn(-scale, rough, number), reciprocal, rough);
        q = __fmaf_rn(__fmaf_rn(-scale, q, number), reciprocal, q);
        return fabsf(rough) < 1024.0f ? q : rough;  // not infinity minus infinity
    }
};

__device__ __forceinline__ int32 nearest_steps(float x, const Scaling& scaling, Limits limits) {
    return steps_of_quotient(scaling.quotient(x), limits);
}

// Up where `uniform`, in [0, 1), is less than the fraction. `floor` of an infinity is one, and the
// fraction a NaN.
__device__ __forceinline__ int32 stochastic_steps(float x,
                                                  float scale,
                                                  float uniform,
                                                  Limits limits) {
    const float t = div_rn(x, scale);
    const float whole = floorf(t);
    return steps_of_quotient(whole + (uniform < t - whole ? 1.0f : 0.0f), limits);
}

__device__ __forceinline__ float dequantized(int32 steps, float scale) {
    return __fmul_rn(static_cast<float>(steps), scale);
}
