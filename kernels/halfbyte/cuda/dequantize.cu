// SPDX-License-Identifier: Apache-2.0
// dequantize: out[i] = (code - zero point) * scale, each step in float32.
//
// CODE: int8 or uint8; with NIBBLES 1, uint8 and two codes a byte.  TO: float32, or uint16 for
// float16.
#include "units.cuh"

constexpr int CODES = 0, OUT = 1;

extern "C" __global__ void __launch_bounds__(THREADS) dequantize(const char* codes,
                                                                 char* out,
                                                                 const char* scales,
                                                                 const char* zero_points,
                                                                 Layout<4> layout,
                                                                 int32 flip) {
    // flip: 8 for signed nibbles, whose top bit weighs -8, else 0.
    Place place[UNROLL];
    CODE in[UNROLL][STEP];
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        place[u] = locate(layout, u);
        if constexpr (NIBBLES)
            load_nibbles(layout, CODES, codes, place[u], in[u]);
        else
            load_unit(layout, CODES, codes, place[u], in[u]);
    }
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        float scale[STEP];
        int32 zero_point[STEP];
        TO result[STEP];
        load_scales(layout, scales, zero_points, place[u], scale, zero_point);
#pragma unroll
        for (int j = 0; j < STEP; ++j) {
            int32 code = in[u][j];
            if constexpr (NIBBLES) code = (code ^ flip) - flip;
            result[j] = from_float<TO>(dequantized(code - zero_point[j], scale[j]));
        }
        store_unit(layout, OUT, out, place[u], result);
    }
}
