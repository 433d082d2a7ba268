// SPDX-License-Identifier: Apache-2.0
// candidates.cuh: the scales of which the best is chosen, from the extremes' own down to 24/64 of it.
#pragma once
#include "ptx.cuh"

constexpr int CANDIDATES = 41;

// Above all sums of squared errors.
constexpr double INFINITE_ERROR = __builtin_bit_cast(double, 0x7ff0000000000000ull);

// The factor has 7 bits, so the product is rounded once.
__device__ __forceinline__ float candidate(float scale, int i) {
    return scale * ((64 - i) * 0x1p-6f);
}
