// SPDX-License-Identifier: Apache-2.0
// quantize: codes of x with given scales.
//
// FROM: float32, or uint16 for float16.  NIBBLES: 1 for two codes a byte.  STOCHASTIC: 1 to round
// as the element's number of `seed` says, not to nearest.
#include "philox.cuh"
#include "units.cuh"

constexpr int X = 0, CODES = 1, NUMBER = 4;
using Operands = Layout<4 + STOCHASTIC>;

// Numbers in [0, 1) of a unit's elements, whose places in C order are neighbours in a vector, and
// the first one's a multiple of 4.
__device__ __forceinline__ void draw(const Operands& layout,
                                     const Place& place,
                                     uint64 seed,
                                     float (&uniforms)[STEP]) {
    const int64 first = offset<false>(layout, NUMBER, place);
    if constexpr (VECTOR) {
#pragma unroll
        for (int j = 0; j < STEP; j += 4) {
            uint32 words[4];
            philox(seed, (first + j) >> 2, words);
#pragma unroll
            for (int i = 0; i < 4; ++i) uniforms[j + i] = uniform_of(words[i]);
        }
    } else {
#pragma unroll
        for (int j = 0; j < STEP; ++j)
            uniforms[j] = uniform(seed, first + j * static_cast<int64>(layout.steps[NUMBER]));
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) quantize(const char* x,
                                                               char* codes,
                                                               const char* scales,
                                                               const char* zero_points,
                                                               Operands layout,
                                                               int32 qmin,
                                                               int32 qmax,
                                                               uint64 seed) {
    Place place[UNROLL];
    FROM in[UNROLL][STEP];
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        place[u] = locate(layout, u);
        load_unit(layout, X, x, place[u], in[u]);
    }
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        float scale[STEP];
        int32 zero_point[STEP], steps[STEP];
        uint8 code[STEP];
        load_scales(layout, scales, zero_points, place[u], scale, zero_point);
        if constexpr (STOCHASTIC) {
            float uniforms[STEP];
            draw(layout, place[u], seed, uniforms);
#pragma unroll
            for (int j = 0; j < STEP; ++j)
                steps[j] = stochastic_steps(to_float(in[u][j]), scale[j], uniforms[j],
                                            limits_of(qmin, qmax, zero_point[j]));
        } else {
            find_nearest(in[u], scale, zero_point, qmin, qmax, steps);
        }
#pragma unroll
        for (int j = 0; j < STEP; ++j) code[j] = steps[j] + zero_point[j];
        if constexpr (NIBBLES)
            store_nibbles(layout, CODES, codes, place[u], code);
        else
            store_unit(layout, CODES, codes, place[u], code);
    }
}
