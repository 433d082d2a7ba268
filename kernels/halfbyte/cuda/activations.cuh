// SPDX-License-Identifier: Apache-2.0
// relu, gelu and silu in FP32: the operations of cpu/activations.py, one by one, so that the errors
// are the same: at most 2.2 (gelu) and 2.0 (silu) units of 2^-24 |x|.
#pragma once

#include "ptx.cuh"

constexpr int RELU = 1, GELU = 2, SILU = 3;

// 2^n for a whole number n, -126 <= n <= 127.
__device__ __forceinline__ float power_of_two(float n) {
    return float_of(static_cast<uint32>(static_cast<int>(n) + 127) << 23);
}

// e^y; 0 below -104, inf above 89, NaN stays. Cody and Waite's reduction y = n ln 2 + r.
__device__ __forceinline__ float exp_rn(float y) {
    y = y < -104.0f ? -104.0f : y;
    y = y >= 89.0f ? 89.0f : y;
    const float to_integer = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const float n = (y * 1.44269502f + to_integer) - to_integer;
    const float r = (y - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.3949069e-3f;
    p = p * r + 8.3682551e-3f;
    p = p * r + 4.1666234e-2f;
    p = p * r + 1.6666526e-1f;
    p = p * r + 5.0000001e-1f;
    const float value = (p * (r * r) + r) + 1.0f;
    // 2^n in two factors: n reaches -150 and 128.
    const float half = (n * 0.5f + to_integer) - to_integer;
    return (value * power_of_two(half)) * power_of_two(n - half);
}

// x / (1 + exp(-x)); -0 at -inf.
__device__ __forceinline__ float silu(float x) {
    const float value = div_rn(x, 1.0f + exp_rn(-0.0f - x));
    return bits_of(x) == 0xff800000u ? -0.0f : value;
}

// The normal distribution function, by two minimax fits.
__device__ __forceinline__ float normal_cdf(float x) {
    const float square = x * x;
    float p = -6.8094923e-6f;
    p = p * square + 1.1104113e-4f;
    p = p * square + -1.1838372e-3f;
    p = p * square + 9.9722827e-3f;
    p = p * square + -6.6490208e-2f;
    p = p * square + 3.9894228e-1f;
    const float center = 0.5f + x * p;
    const float magnitude = float_of(magnitude_bits(x));
    const float t = div_rn(1.0f, 1.0f + magnitude * 0.25f);
    float q = 2.5418627e-1f;
    q = q * t + -1.3343261e-1f;
    q = q * t + 2.0502969e-1f;
    q = q * t + 7.2015128e-2f;
    q = q * t + 1.0234454e-1f;
    const float tail = exp_rn(-0.5f * square) * (t * q);
    const float outside = x < 0.0f ? tail : 1.0f - tail;
    return magnitude < 1.25f ? center : outside;
}

// x Phi(x); -0 at -inf.
__device__ __forceinline__ float gelu(float x) {
    const float value = x * normal_cdf(x);
    return bits_of(x) == 0xff800000u ? -0.0f : value;
}

// x where x > 0 or NaN, else +0.
__device__ __forceinline__ float relu(float x) { return x <= 0.0f ? 0.0f : x; }

__device__ __forceinline__ float activate(float x, int activation) {
    if (activation == RELU) return relu(x);
    if (activation == GELU) return gelu(x);
    if (activation == SILU) return silu(x);
    return x;
}
