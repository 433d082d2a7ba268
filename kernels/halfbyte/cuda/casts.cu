// SPDX-License-Identifier: Apache-2.0
// casts: out[i] = x[i], float32 to float16 or back.
//
// FROM and TO: float32, or uint16 for float16.
#include "elements.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    casts(const char* x, char* out, Layout<2> layout) {
    Place place[UNROLL];
    FROM in[UNROLL][STEP];
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        place[u] = locate(layout, u);
        load_unit(layout, 0, x, place[u], in[u]);
    }
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        TO result[STEP];
#pragma unroll
        for (int j = 0; j < STEP; ++j) result[j] = from_float<TO>(to_float(in[u][j]));
        store_unit(layout, 1, out, place[u], result);
    }
}
