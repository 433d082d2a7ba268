// SPDX-License-Identifier: Apache-2.0
// ranges.cuh: scales and zero points for numbers in a range; every step in float32.
#pragma once
#include "ptx.cuh"

struct Scale {
    float scale;
    int32 zero_point;
};

__device__ __forceinline__ float no_subnormal(float scale) {
    return scale < 0x1p-126f ? 1.0f : scale;
}

// For magnitudes up to `most`, a finite number.
__device__ __forceinline__ Scale scale_of_magnitude(float most, int32 qmax) {
    return {no_subnormal(div_rn(most, static_cast<float>(qmax))), 0};
}

// For numbers from lo to hi, both finite, lo <= 0 <= hi.
__device__ __forceinline__ Scale scale_of_range(float lo, float hi, int32 qmin, int32 qmax) {
    const float steps = static_cast<float>(qmax - qmin), span = __fsub_rn(hi, lo);
    float scale = div_rn(span, steps);
    if (!is_finite(span)) scale = __fsub_rn(div_rn(hi, steps), div_rn(lo, steps));
    scale = no_subnormal(scale);
    const float place = rint_rn(__fsub_rn(static_cast<float>(qmin), div_rn(lo, scale)));
    const float least = static_cast<float>(qmin), most = static_cast<float>(qmax);
    return {scale, static_cast<int32>(fminf(fmaxf(place, least), most))};
}
