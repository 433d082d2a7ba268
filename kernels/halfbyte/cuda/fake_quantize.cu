// SPDX-License-Identifier: Apache-2.0
// fake_quantize: out[i] = what x[i] is after quantizing and dequantizing.
//
// TYPE: of x and out, float32, or uint16 for float16.
#include "codes.cuh"
#include "elements.cuh"

constexpr int X = 0, OUT = 1, SCALE = 2, ZERO_POINT = 3;

extern "C" __global__ void __launch_bounds__(THREADS) fake_quantize(const char* x,
                                                                    char* out,
                                                                    const char* scales,
                                                                    const char* zero_points,
                                                                    Layout<4> layout,
                                                                    int32 qmin,
                                                                    int32 qmax) {
    Place place[UNROLL];
    TYPE in[UNROLL][STEP];
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        place[u] = locate(layout, u);
        load_unit(layout, X, x, place[u], in[u]);
    }
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        float scale[STEP];
        int32 zero_point[STEP] = {};
        TYPE result[STEP];
        load_channel(layout, SCALE, scales, place[u], scale);
        if (zero_points) load_channel(layout, ZERO_POINT, zero_points, place[u], zero_point);
        [[maybe_unused]] const Scaling scaling(scale[0]);
#pragma unroll
        for (int j = 0; j < STEP; ++j) {
            const Limits limits = limits_of(qmin, qmax, zero_point[j]);
            const float number = to_float(in[u][j]);
            int32 steps;
            if constexpr (VECTOR && !ALONG)
                steps = nearest_steps(number, scaling, limits);
            else
                steps = nearest_steps(number, scale[j], limits);
            result[j] = from_float<TYPE>(dequantized(steps, scale[j]));
        }
        store_unit(layout, OUT, out, place[u], result);
    }
}
