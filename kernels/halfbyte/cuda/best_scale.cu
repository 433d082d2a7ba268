// SPDX-License-Identifier: Apache-2.0
// best_scale: scales[c] becomes the first candidate of the least error, the sum of errors[c, 0 .. n, i]
// in FP64 and in order; a warp a channel, a lane a candidate or two.

#include "candidates.cuh"

extern "C" __global__ void __launch_bounds__(256)
    best_scale(const double* errors, float* scales, int64 channels, int32 n) {
    const int lane = threadIdx.x % 32;
    const int64 channel = blockIdx.x * 8ll + threadIdx.x / 32;
    if (channel >= channels) return;  // plant: bound
    double least = INFINITE_ERROR;
    int best = 0;
    for (int i = lane; i < CANDIDATES; i += 32) {
        double sum = 0.0;
        for (int part = 0; part < n; ++part) sum += errors[(channel * n + part) * CANDIDATES + i];
        if (sum < least) least = sum, best = i;
    }
    for (int d = 16; d; d /= 2) {
        const double other = __shfl_xor_sync(0xffffffffu, least, d);
        const int its = __shfl_xor_sync(0xffffffffu, best, d);
        if (other < least || (other == least && its < best)) least = other, best = its;
    }
    if (lane == 0)  // plant: bound
        scales[channel] = candidate(scales[channel], best);
}
