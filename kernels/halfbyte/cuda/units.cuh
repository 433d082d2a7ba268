// SPDX-License-Identifier: Apache-2.0
// units.cuh: units of elements, each with its scale and its zero point.
#pragma once
#include "codes.cuh"
#include "elements.cuh"

constexpr int SCALE = 2, ZERO_POINT = 3;  // operands: after two by element

// Without zero points they are 0.
template <int OPERANDS>
__device__ __forceinline__ void load_scales(const Layout<OPERANDS>& layout,
                                            const char* scales,
                                            const char* zero_points,
                                            const Place& place,
                                            float (&scale)[STEP],
                                            int32 (&zero_point)[STEP]) {
    load_channel(layout, SCALE, scales, place, scale);
#pragma unroll
    for (int j = 0; j < STEP; ++j) zero_point[j] = 0;
    if (zero_points) load_channel(layout, ZERO_POINT, zero_points, place, zero_point);
}

template <typename T>
__device__ __forceinline__ void find_nearest(const T (&x)[STEP],
                                             const float (&scale)[STEP],
                                             const int32 (&zero_point)[STEP],
                                             int32 qmin,
                                             int32 qmax,
                                             int32 (&steps)[STEP]) {
    [[maybe_unused]] const Scaling scaling(scale[0]);
#pragma unroll
    for (int j = 0; j < STEP; ++j) {
        const Limits limits = limits_of(qmin, qmax, zero_point[j]);
        if constexpr (VECTOR && !ALONG)
            steps[j] = nearest_steps(to_float(x[j]), scaling, limits);
        else
            steps[j] = nearest_steps(to_float(x[j]), scale[j], limits);
    }
}
