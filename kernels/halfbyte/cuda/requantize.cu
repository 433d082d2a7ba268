// SPDX-License-Identifier: Apache-2.0
// requantize: codes = rint(activation(float32(acc) * scale + bias)) + zero point, clipped; float32,
// each step rounded.
#include "codes.cuh"
#include "elements.cuh"

constexpr int ACC = 0, CODES = 1, SCALE = 2, ZERO_POINT = 3, BIAS = 4;

extern "C" __global__ void __launch_bounds__(THREADS) requantize(const char* acc,
                                                                 char* codes,
                                                                 const char* scales,
                                                                 const char* zero_points,
                                                                 const char* biases,
                                                                 Layout<5> layout,
                                                                 int32 qmin,
                                                                 int32 qmax,
                                                                 int32 relu) {
    Place place[UNROLL];
    int32 in[UNROLL][STEP];
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        place[u] = locate(layout, u);
        load_unit(layout, ACC, acc, place[u], in[u]);
    }
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        float scale[STEP], zero_point[STEP], bias[STEP];
        uint8 code[STEP];
        load_channel(layout, SCALE, scales, place[u], scale);
        load_channel(layout, ZERO_POINT, zero_points, place[u], zero_point);
        load_channel(layout, BIAS, biases, place[u], bias);
#pragma unroll
        for (int j = 0; j < STEP; ++j) {
            const int32 zero = to_integer(zero_point[j]);
            float y = __fadd_rn(__fmul_rn(static_cast<float>(in[u][j]), scale[j]), bias[j]);
            if (relu && y < 0.0f) y = 0.0f;
            code[j] = steps_of_quotient(y, limits_of(qmin, qmax, zero)) + zero;
        }
        store_unit(layout, CODES, codes, place[u], code);
    }
}
