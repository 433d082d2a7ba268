// SPDX-License-Identifier: Apache-2.0
// fake_quantize_backward: dx[i] = dy[i] where the code of x[i] is in range before clipping, else 0; and
// the channel's gradient, sums of dy[i] * slope in FP64.
//
// Where channels have one part, the sum is rounded to dscale. Else each part's is kept for
// channel_sums.
//
// UPSTREAM, FROM: of dy and dx, of x: float32, or uint16 for float16.  The rest: channels.cuh.
#include "channels.cuh"
#include "codes.cuh"

constexpr int AHEAD = ACCESS == VECTORS ? 2 : 4;  // steps whose loads are in flight at once

struct Slope {
    float scale;
    Limits limits;

    // What dx is, and what x adds to the gradient of the scale.
    __device__ __forceinline__ float look(float dy, float x, double& sum) const {
        const float t = div_rn(x, scale), whole = rint_rn(t);
        const bool inside = whole >= limits.lo && whole <= limits.hi;
        const float slope = inside ? whole - t : whole < limits.lo ? limits.lo : limits.hi;
        if (x == x) sum += static_cast<double>(dy) * static_cast<double>(slope);
        return inside ? dy : 0.0f;
    }
};

extern "C" __global__ void __launch_bounds__(256, 2)
    fake_quantize_backward(const char* dy,
                           const char* x,
                           char* dx,
                           const float* scales,
                           const int32* zero_points,
                           double* sums,
                           float* dscale,
                           Channels all,
                           Strides of_x,
                           Strides of_dy,
                           Strides of_dx,
                           int32 qmin,
                           int32 qmax) {
    __shared__ double parts[BLOCK];
    const Share share = share_of(all);
    x += offset_of(share.channel, all.shape, of_x.channel);
    dy += offset_of(share.channel, all.shape, of_dy.channel);
    dx += offset_of(share.channel, all.shape, of_dx.channel);
    float scale = 1.0f;
    int32 zero_point = 0;
    if (share.channel < all.count)  // plant: bound
        scale = scales[share.channel];
    if (zero_points && share.channel < all.count) zero_point = zero_points[share.channel];
    const Slope slope = {scale, limits_of(qmin, qmax, zero_point)};
    double sum = 0.0;
    for (int64 step = share.first; step < share.end; step += AHEAD * share.team) {
        Step<UPSTREAM> upstream[AHEAD];
        Step<FROM> values[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            const int64 at = step + i * share.team;
            if (at >= share.end) continue;  // plant: bound
            upstream[i].load(dy + offset_of(at, all.inner, of_dy.step));
            values[i].load(x + offset_of(at, all.inner, of_x.step));
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            const int64 at = step + i * share.team;
            if (at >= share.end) continue;  // plant: bound
            float result[STEP];
#pragma unroll
            for (int j = 0; j < STEP; ++j)
                result[j] = slope.look(upstream[i][j], values[i][j], sum);
            store_step<UPSTREAM>(dx + offset_of(at, all.inner, of_dx.step), result);
        }
    }
    for (int64 i = share.left; i < share.elements; i += share.team) {
        const float upstream = load_item<UPSTREAM>(dy + i * sizeof(UPSTREAM));
        const float value = load_item<FROM>(x + i * sizeof(FROM));
        store_item<UPSTREAM>(dx + i * sizeof(UPSTREAM), slope.look(upstream, value, sum));
    }
    const auto add = [](double a, double b) { return a + b; };
    sum = join_team(sum, 1 << all.teams, parts, add);
    if (!share.leads) return;  // plant: bound
    if (all.parts == 0)
        dscale[share.channel] = static_cast<float>(sum);
    else
        sums[share.place] = sum;
}
