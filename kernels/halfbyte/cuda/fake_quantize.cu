// SPDX-License-Identifier: Apache-2.0
// fake_quantize: out[i] = what x[i] is after quantizing and dequantizing.
//
// TYPE: of x and out, float32, or uint16 for float16.
#include "units.cuh"

constexpr int X = 0, OUT = 1;

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
        int32 zero_point[STEP], steps[STEP];
        TYPE result[STEP];
        load_scales(layout, scales, zero_points, place[u], scale, zero_point);
        find_nearest(in[u], scale, zero_point, qmin, qmax, steps);
#pragma unroll
        for (int j = 0; j < STEP; ++j)
            result[j] = from_float<TYPE>(dequantized(steps[j], scale[j]));
        store_unit(layout, OUT, out, place[u], result);
    }
}
