// SPDX-License-Identifier: Apache-2.0
// scales: scales and zero points for extremes, a thread a channel. Zero joins in; lo > hi is no
// data.
#include "ranges.cuh"

extern "C" __global__ void __launch_bounds__(256) scales(const float* lo,
                                                         const float* hi,
                                                         float* scale,
                                                         int32* zero_point,
                                                         int64 channels,
                                                         int32 qmin,
                                                         int32 qmax) {
    const int64 i = blockIdx.x * static_cast<int64>(blockDim.x) + threadIdx.x;
    if (i >= channels) return;  // plant: bound
    const float least = fminf(lo[i], 0.0f), most = fmaxf(hi[i], 0.0f);
    if (zero_point) {
        const Scale found = scale_of_range(least, most, qmin, qmax);
        scale[i] = found.scale;
        zero_point[i] = found.zero_point;
    } else {
        scale[i] = scale_of_magnitude(fmaxf(-least, most), qmax).scale;
    }
}
