// SPDX-License-Identifier: Apache-2.0
// amp_sgd: a step of SGD, unless a gradient is not finite; each operation rounded.
//
// Without momentum there is no buffer.

#include "amp_steps.cuh"

struct Numbers {
    float decay, momentum, rate;
    int32 decaying, nesterov;
};

template <int N>
__device__ __forceinline__ void step(const Entry& entry,
                                     const Place<N>& place,
                                     float inverse,
                                     const Numbers& c) {
    const bool buffered = entry.address[FIRST];
    float g[N], p[N], b[N];
    place.template load<float>(entry, MASTER, p);
    if (buffered) place.template load<float>(entry, FIRST, b);
    place.load_any(entry, GRADIENT, g);  // last: it is converted at once
#pragma unroll
    for (int j = 0; j < N; ++j) {
        g[j] = g[j] * inverse;
        if (c.decaying) g[j] = g[j] + c.decay * p[j];
        if (buffered) {
            b[j] = c.momentum * b[j] + g[j];
            g[j] = c.nesterov ? g[j] + c.momentum * b[j] : b[j];
        }
        p[j] = p[j] - c.rate * g[j];
    }
    if (buffered) place.template store<float>(entry, FIRST, b);
    store_parameter(entry, place, p);
}

extern "C" __global__ void __launch_bounds__(THREADS) amp_sgd(const __grid_constant__ Table table,
                                                              int32 entries,
                                                              Numbers numbers,
                                                              const float* inverse,
                                                              const uint8* finite) {
    if (finite && !*finite) return;  // plant: skip
    const Entry& entry = find_entry(table, entries);
    const float unscaling = inverse ? *inverse : 1.0f;
    for_each(entry, chunk_of(entry),
             [&](const auto& place) { step(entry, place, unscaling, numbers); });
}
