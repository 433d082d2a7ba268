// SPDX-License-Identifier: Apache-2.0
// channel_sums: out[c] = sum of parts[c, 0 .. n), in FP64 and in an order that depends on n alone,
// rounded to float32; a warp a channel.

#include "ptx.cuh"

extern "C" __global__ void __launch_bounds__(256)
    channel_sums(const double* parts, float* out, int64 channels, int32 n) {
    const int lane = threadIdx.x % 32;
    const int64 channel = blockIdx.x * 8ll + threadIdx.x / 32;
    if (channel >= channels) return;  // plant: bound
    double sum = 0.0;
    for (int i = lane; i < n; i += 32) sum += parts[channel * n + i];
    for (int d = 16; d; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    if (lane == 0)  // plant: bound
        out[channel] = static_cast<float>(sum);
}
