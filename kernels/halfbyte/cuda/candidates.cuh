// SPDX-License-Identifier: Apache-2.0
// candidates.cuh: the scales of which the best is chosen, from the extremes' own down to 24/64 of it.
#pragma once
#include "ptx.cuh"

constexpr int CANDIDATES = 41;

// The factor has 7 bits, so the product is rounded once.
__device__ __forceinline__ float candidate(float scale, int i) {
    return scale * ((64 - i) * 0x1p-6f);
}
