// SPDX-License-Identifier: Apache-2.0
// amp_norm: sums[b] = the sum of the squares of the block's chunk, in FP64, in one fixed order.

#include "amp_lists.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    amp_norm(const __grid_constant__ Table table, int32 entries, double* sums) {
    __shared__ double parts[BLOCK];
    const Entry& entry = find_entry(table, entries);
    const Chunk chunk = chunk_of(entry);
    double acc = 0;
    // The square of an FP32 number is exact in FP64: one rounding, of the sum, either way.
    const auto add = [&](const auto& x) {
        for (const double one : x) acc = fma(one, one, acc);
    };
    const Units units(entry, chunk, 0);
#pragma unroll
    for (int u = 0; u < UNITS; ++u) {
        float x[STEP];
        units.get(u, x);
        add(x);
    }
    for_rest(entry, chunk, [&](const Place<1>& place) {
        float x[1];
        place.load_any(entry, 0, x);
        add(x);
    });
    acc = join_team(acc, 1, parts, [](double a, double b) { return a + b; });
    if (threadIdx.x == 0) sums[blockIdx.x] = acc;
}
