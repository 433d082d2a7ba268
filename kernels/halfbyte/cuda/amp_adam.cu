// SPDX-License-Identifier: Apache-2.0
// amp_adam: a step of Adam or AdamW, unless a gradient is not finite; each operation rounded.
//
// What an element has is read once and written once: AdamW of FP16 parameters moves 14 bytes in and
// 14 out.

#include "amp_steps.cuh"

struct Numbers {
    float keep, decay, beta1, rest1, beta2, rest2, eps;
    int32 decaying;  // whether weight decay is added to the gradient
};

template <int N>
__device__ __forceinline__ void step(
    const Entry& entry, const Place<N>& place, float inverse, const Numbers& c, float2 own) {
    float g[N], p[N], m[N], v[N];
    place.template load<float>(entry, MASTER, p);
    place.template load<float>(entry, FIRST, m);
    place.template load<float>(entry, SECOND, v);
    place.load_any(entry, GRADIENT, g);  // last: it is converted at once
#pragma unroll
    for (int j = 0; j < N; ++j) {
        g[j] = g[j] * inverse;
        if (c.decaying) g[j] = g[j] + c.decay * p[j];
        p[j] = p[j] * c.keep;
        m[j] = c.beta1 * m[j] + c.rest1 * g[j];
        v[j] = c.beta2 * v[j] + (c.rest2 * g[j]) * g[j];
        p[j] = p[j] - own.x * div_rn(m[j], div_rn(__fsqrt_rn(v[j]), own.y) + c.eps);
    }
    place.template store<float>(entry, FIRST, m);
    place.template store<float>(entry, SECOND, v);
    store_parameter(entry, place, p);
}

// coefficients: two of each parameter, from amp_products.
extern "C" __global__ void __launch_bounds__(THREADS) amp_adam(const __grid_constant__ Table table,
                                                               int32 entries,
                                                               Numbers numbers,
                                                               const float2* coefficients,
                                                               const float* inverse,
                                                               const uint8* finite) {
    if (finite && !*finite) return;  // plant: skip
    const Entry& entry = find_entry(table, entries);
    const float unscaling = inverse ? *inverse : 1.0f;
    const float2 own = coefficients[entry.number];
    for_each(entry, chunk_of(entry),
             [&](const auto& place) { step(entry, place, unscaling, numbers, own); });
}
