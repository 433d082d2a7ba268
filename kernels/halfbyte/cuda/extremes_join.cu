// SPDX-License-Identifier: Apache-2.0
// extremes_join: what an observer knows of each channel, after other extremes, a thread a channel.
//
// MOVE 0: the wider ones of both.  1: a part of the way, `momentum`, to the others; where that
// overflows, or a rounding takes it too far, the weighted mean.

#include "ptx.cuh"

__device__ __forceinline__ float moved(float from, float to, float momentum) {
    const float there = from + momentum * (to - from);
    return is_finite(there) ? there : (1.0f - momentum) * from + momentum * to;
}

extern "C" __global__ void __launch_bounds__(256) extremes_join(float* lo,
                                                                float* hi,
                                                                int32* bad,
                                                                const float* other_lo,
                                                                const float* other_hi,
                                                                const int32* other_bad,
                                                                float momentum,
                                                                int64 channels) {
    const int64 i = blockIdx.x * 256ll + threadIdx.x;
    if (i == 0)  // plant: bound
        *bad |= *other_bad;
    if (i >= channels) return;  // plant: bound
    const float low = other_lo[i], high = other_hi[i];
    if (low > high) return;  // no elements, which changes nothing
    lo[i] = MOVE ? moved(lo[i], low, momentum) : fminf(lo[i], low);
    hi[i] = MOVE ? moved(hi[i], high, momentum) : fmaxf(hi[i], high);
}
