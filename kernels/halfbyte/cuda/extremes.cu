// SPDX-License-Identifier: Apache-2.0
// extremes: lo[c] and hi[c], the least and the greatest finite element of each channel, and whether
// any element is not finite.
//
// Where channels have one part, lo and hi are written. Else they hold inf and -inf before, and each
// part joins in by integer atomics: in what order is all the same.
//
// FROM: float32 or uint16, the bits of float16.  STEP and the rest: channels.cuh.

#include "channels.cuh"

constexpr int AHEAD = ACCESS == VECTORS ? 4 : 8;  // steps whose loads are in flight at once

struct Extremes {
    float lo = float_of(INFINITY_BITS), hi = -float_of(INFINITY_BITS);
    bool finite = true;

    __device__ __forceinline__ void look(float x) {
        const bool one = is_finite(x);
        finite = finite && one;
        lo = fminf(lo, one ? x : lo);
        hi = fmaxf(hi, one ? x : hi);
    }
};

// As integers, floats of either sign have an order each. The first of a cell is an infinity.
__device__ __forceinline__ void join_lo(float* cell, float x) {
    if (__float_as_int(x) >= 0)
        atomicMin(reinterpret_cast<int32*>(cell), __float_as_int(x));
    else
        atomicMax(reinterpret_cast<uint32*>(cell), __float_as_uint(x));
}

__device__ __forceinline__ void join_hi(float* cell, float x) {
    if (__float_as_int(x) >= 0)
        atomicMax(reinterpret_cast<int32*>(cell), __float_as_int(x));
    else
        atomicMin(reinterpret_cast<uint32*>(cell), __float_as_uint(x));
}

extern "C" __global__ void __launch_bounds__(256, 4)
    extremes(const char* x, float* lo, float* hi, int32* bad, Channels all, Strides of_x) {
    __shared__ float least[BLOCK], greatest[BLOCK];
    const Share share = share_of(all);
    x += offset_of(share.channel, all.shape, of_x.channel);
    Extremes found;
    for (int64 step = share.first; step < share.end; step += AHEAD * share.team) {
        Step<FROM> values[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            // Past the end the same step again, which changes nothing.
            const int64 at = step + i * share.team < share.end ? step + i * share.team : step;
            values[i].load(x + offset_of(at, all.inner, of_x.step));
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i)
#pragma unroll
            for (int j = 0; j < STEP; ++j) found.look(values[i][j]);
    }
    for (int64 i = share.left; i < share.elements; i += share.team)
        found.look(load_item<FROM>(x + i * sizeof(FROM)));
    if (!found.finite) atomicOr(bad, 1);
    const int teams = 1 << all.teams;
    const auto min = [](float a, float b) { return fminf(a, b); };
    const auto max = [](float a, float b) { return fmaxf(a, b); };
    found.lo = join_team(found.lo, teams, least, min);
    found.hi = join_team(found.hi, teams, greatest, max);
    if (!share.leads) return;  // plant: bound
    if (all.parts == 0) {
        lo[share.channel] = found.lo;
        hi[share.channel] = found.hi;
    } else {
        join_lo(lo + share.channel, found.lo);
        join_hi(hi + share.channel, found.hi);
    }
}
