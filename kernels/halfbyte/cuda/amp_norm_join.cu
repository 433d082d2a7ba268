// SPDX-License-Identifier: Apache-2.0
// amp_norm_join: the norm of all chunks over the loss scale, and what clips it to a largest norm.
//
// One block. A norm that is infinite or NaN clips nothing: its factor is 1.

#include "ptx.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(BLOCK) amp_norm_join(
    const double* sums, int64 count, double scale, double largest, double* norm, float* factor) {
    __shared__ double parts[BLOCK];
    double acc = 0;
    for (int64 i = threadIdx.x; i < count; i += BLOCK) acc += sums[i];
    acc = join_team(acc, 1, parts, [](double a, double b) { return a + b; });
    if (threadIdx.x != 0) return;  // plant: leader
    const double found = sqrt(acc) / scale;
    const double shrink = largest / (found + 1e-6);
    *norm = found;
    *factor = found - found == 0 && shrink < 1 ? static_cast<float>(shrink) : 1.0f;
}
