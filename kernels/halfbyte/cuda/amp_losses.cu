// SPDX-License-Identifier: Apache-2.0
// amp_losses: FP64 losses times the loss scale, in place, a thread an element.

#include "ptx.cuh"

extern "C" __global__ void __launch_bounds__(256)
    amp_losses(double* losses, const float* scale, int64 size) {
    const int64 i = blockIdx.x * static_cast<int64>(blockDim.x) + threadIdx.x;
    if (i < size) losses[i] *= *scale;  // plant: bound
}
