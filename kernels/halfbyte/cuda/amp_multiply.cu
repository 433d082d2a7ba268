// SPDX-License-Identifier: Apache-2.0
// amp_multiply: targets = sources * factor, in FP32, and whether all products are finite.
//
// WRITES: 0 where products are only looked at, and other operands than the first mean nothing.

#include "amp_lists.cuh"

constexpr int SOURCE = 0, TARGET = 1;

// known: the factor where there is none in memory. found, finite: words whose first byte becomes 1,
// or 0, where a product is infinite or NaN; null where nobody asks. clips: a factor of 1 leaves all.
extern "C" __global__ void __launch_bounds__(THREADS, 4)
    amp_multiply(const __grid_constant__ Table table,
                 int32 entries,
                 const float* in_memory,
                 float known,
                 uint32* found,
                 uint32* finite,
                 int32 clips) {
    const float factor = in_memory ? *in_memory : known;
    if (clips && factor == 1) return;  // nothing to do
    const Entry& entry = find_entry(table, entries);
    const Chunk chunk = chunk_of(entry);
    uint32 largest = 0;
    const auto product = [&](auto& x) {
        for (float& one : x) {
            one *= factor;
            largest = max(largest, magnitude_bits(one));
        }
    };
    const Units units(entry, chunk, SOURCE);
#pragma unroll
    for (int u = 0; u < UNITS; ++u) {
        const int32 unit = threadIdx.x + u * THREADS;
        if (unit >= chunk.units) continue;  // plant: bound
        float x[STEP];
        units.get(u, x);
        product(x);
        const Place<STEP> place(entry, chunk.first + unit * STEP);
        if (WRITES) place.store_any(entry, TARGET, x);
    }
    for_rest(entry, chunk, [&](const Place<1>& place) {
        float x[1];
        place.load_any(entry, SOURCE, x);
        product(x);
        if (WRITES) place.store_any(entry, TARGET, x);
    });
    if (largest < INFINITY_BITS) return;  // as nearly always
    // Once a word is written, nobody need write it again.
    if (found && *static_cast<volatile uint32*>(found) == 0) atomicOr(found, 1u);
    if (finite && *static_cast<volatile uint32*>(finite) & 255u) atomicAnd(finite, ~255u);
}
