// SPDX-License-Identifier: Apache-2.0
// errors: sums of squared errors, in FP64, of each channel's finite elements with each candidate for
// its scale.
//
// Where channels have one part, the scale becomes the first candidate of the least error. Else each
// part's sums are kept for best_scale. Elements are read anew for every TOGETHER candidates: most
// come from a cache, and 41 sums a thread would need too many registers.
//
// FROM: float32, or uint16 for float16.  The rest: channels.cuh.
#include "candidates.cuh"
#include "channels.cuh"
#include "codes.cuh"

constexpr int AHEAD = ACCESS == VECTORS ? 1 : 4;  // steps whose loads are in flight at once
constexpr int TOGETHER = 4;

__device__ __forceinline__ void look(float x,
                                     const Scaling (&scalings)[TOGETHER],
                                     const float (&scales)[TOGETHER],
                                     Limits limits,
                                     double (&sums)[TOGETHER]) {
    const float number = is_finite(x) ? x : 0.0f;  // whose error is 0
#pragma unroll
    for (int i = 0; i < TOGETHER; ++i) {
        const float back = dequantized(nearest_steps(number, scalings[i], limits), scales[i]);
        const double error = static_cast<double>(number) - static_cast<double>(back);
        sums[i] += error * error;
    }
}

extern "C" __global__ void __launch_bounds__(256, 3) errors(const char* x,
                                                            float* scales,
                                                            const int32* zero_points,
                                                            double* sums,
                                                            Channels all,
                                                            Strides of_x,
                                                            int32 qmin,
                                                            int32 qmax) {
    // In turn: when a warp writes the one, all have passed the other's barrier, and read this one.
    __shared__ double parts[2][BLOCK];
    const Share share = share_of(all);
    x += offset_of(share.channel, all.shape, of_x.channel);
    float scale = 1.0f;
    int32 zero_point = 0;
    if (share.channel < all.count)  // plant: bound
        scale = scales[share.channel];
    if (zero_points && share.channel < all.count) zero_point = zero_points[share.channel];
    const Limits limits = limits_of(qmin, qmax, zero_point);
    double least = INFINITE_ERROR;
    int best = 0;
    for (int first = 0; first < CANDIDATES; first += TOGETHER) {
        const float own[TOGETHER] = {candidate(scale, first), candidate(scale, first + 1),
                                     candidate(scale, first + 2), candidate(scale, first + 3)};
        const Scaling scalings[TOGETHER] = {Scaling(own[0]), Scaling(own[1]), Scaling(own[2]),
                                            Scaling(own[3])};
        double found[TOGETHER] = {};
        for (int64 step = share.first; step < share.end; step += AHEAD * share.team) {
            Step<FROM> values[AHEAD] = {};
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                const int64 at = step + i * share.team;
                if (at < share.end)  // plant: bound
                    values[i].load(x + offset_of(at, all.inner, of_x.step));
            }
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
#pragma unroll
                for (int j = 0; j < STEP; ++j) look(values[i][j], scalings, own, limits, found);
        }
        for (int64 i = share.left; i < share.elements; i += share.team)
            look(load_item<FROM>(x + i * sizeof(FROM)), scalings, own, limits, found);
        const auto add = [](double a, double b) { return a + b; };
#pragma unroll
        for (int i = 0; i < TOGETHER; ++i) {
            found[i] = join_team(found[i], 1 << all.teams, parts[i % 2], add);
            if (first + i >= CANDIDATES) continue;  // plant: bound
            if (found[i] < least) least = found[i], best = first + i;
            if (all.parts != 0 && share.leads)
                sums[share.place * CANDIDATES + first + i] = found[i];
        }
    }
    if (all.parts == 0 && share.leads)  // plant: bound
        scales[share.channel] = candidate(scale, best);
}
