// SPDX-License-Identifier: Apache-2.0
// histogram_join: counts += other counts, in the wider bins of both; one block of 1024 threads.
//
// Bins twice as wide: bin i of -1024 .. 1023 goes to floor(i / 2). The other counts may be the same.

#include "ptx.cuh"

constexpr int HALF = 1024;

// After ten doublings all is in bins -1 and 0.
__device__ __forceinline__ void widen(uint64 (&counts)[2 * HALF], int doublings) {
    const int i = threadIdx.x;
    for (int k = doublings < 10 ? doublings : 10; k > 0; --k) {
        const uint64 pair = counts[2 * i] + counts[2 * i + 1];
        __syncthreads();  // plant: barrier
        counts[i < HALF / 2 ? i : HALF + i] = 0;
        counts[HALF / 2 + i] = pair;
        __syncthreads();  // plant: barrier
    }
}

extern "C" __global__ void __launch_bounds__(1024) histogram_join(uint64* counts,
                                                                  int32* exponent,
                                                                  const uint64* other,
                                                                  const int32* other_exponent) {
    __shared__ uint64 ours[2 * HALF], theirs[2 * HALF];
    const int32 e = *exponent, f = *other_exponent, common = e > f ? e : f;
    for (int i = threadIdx.x; i < 2 * HALF; i += HALF) {
        ours[i] = counts[i];
        theirs[i] = other[i];
    }
    __syncthreads();  // plant: barrier
    widen(ours, common - e);
    widen(theirs, common - f);
    for (int i = threadIdx.x; i < 2 * HALF; i += HALF) counts[i] = ours[i] + theirs[i];
    if (threadIdx.x == 0)  // plant: bound
        *exponent = common;
}
