// SPDX-License-Identifier: Apache-2.0
// linear_rows: rows of numbers, as codes of 8 bits or as halves, in the layout of linear_layout.cuh.
//
// Codes are symmetric and narrow, by the largest magnitude of their row, which is read once, as far
// as registers hold it. A row that is not finite has codes 0 and the scale NaN.
//
// FROM: SINGLES or HALVES, of any strides.  TO: BYTES or HALVES.  ORDERED: halves at places 4 t + s
// of 16, t and s from 0 to 3, lie in another order: of s, 0 2 1 3 first, t second, in pairs:
//
//     0 2   4 6   8 10   12 14   1 3   5 7   9 11   13 15

#include "codes.cuh"
#include "linear_layout.cuh"
#include "ranges.cuh"

constexpr int ITEMS = 4;  // units of four that a thread keeps

template <int KIND>
struct Number {
    using Type = float;
};
template <>
struct Number<HALVES> {
    using Type = uint16;
};
using Type = Number<FROM>::Type;

struct Four {
    float x[4];
};

__device__ __forceinline__ Four load_four(const Rows& x, const char* row, int64 place) {
    const Steps steps(x, place);
    const char* p = row + steps.p * x.step;
    Four four = {};
    if (x.vectors && steps.count == 4) {
        Vector<4 * sizeof(Type)> v;
        v.load(p);
#pragma unroll
        for (int j = 0; j < 4; ++j) four.x[j] = to_float(v.get<Type>(j));
        return four;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j, p += x.step)
        if (j < steps.count)  // plant: bound
            four.x[j] =
                to_float(x.aligned ? load_element<true, Type>(p) : load_element<false, Type>(p));
    return four;
}

// The largest of all threads.
__device__ __forceinline__ uint32 largest(uint32 peak) {
    __shared__ uint32 peaks[MOST / 32];
    for (int d = 16; d; d /= 2) peak = max(peak, __shfl_xor_sync(0xffffffffu, peak, d));
    if (threadIdx.x % 32 == 0) peaks[threadIdx.x / 32] = peak;
    __syncthreads();  // plant: barrier
    for (int warp = 0; warp < blockDim.x / 32; ++warp) peak = max(peak, peaks[warp]);
    return peak;
}

__device__ __forceinline__ uint32 peak_of(const Four& four) {
    uint32 peak = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) peak = max(peak, magnitude_bits(four.x[j]));
    return peak;
}

extern "C" __global__ void __launch_bounds__(MOST, 1) linear_rows(const Rows x) {
    const char* row = reinterpret_cast<const char*>(x.source) + blockIdx.x * x.row;
    char* target = reinterpret_cast<char*>(x.target) + blockIdx.x * x.pitch;
    const int64 units = x.pitch / (TO == HALVES ? 8 : 4);
    const auto unit_of = [](int64 i) { return i * blockDim.x + threadIdx.x; };

    Four kept[ITEMS];
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) kept[i] = load_four(x, row, unit_of(i) * 4);
    if constexpr (TO == HALVES) {
        const auto store = [&](const Four& four, int64 unit) {
            Vector<8> v = {};
#pragma unroll
            for (int j = 0; j < 4; ++j)
                v.put(ORDERED ? j / 2 + j % 2 * 2 : j, half_from_float(four.x[j]));
            if constexpr (ORDERED) {
                uint32* p = reinterpret_cast<uint32*>(target + unit / 4 * 32) + unit % 4;
                p[0] = v.words[0], p[4] = v.words[1];
            } else {
                v.store(target + unit * 8);
            }
        };
#pragma unroll
        for (int i = 0; i < ITEMS; ++i)
            if (unit_of(i) < units)  // plant: bound
                store(kept[i], unit_of(i));
        for (int64 i = ITEMS; unit_of(i) < units; ++i)
            store(load_four(x, row, unit_of(i) * 4), unit_of(i));
        return;
    }
    uint32 peak = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) peak = max(peak, peak_of(kept[i]));
    for (int64 i = ITEMS; unit_of(i) < units; ++i)
        peak = max(peak, peak_of(load_four(x, row, unit_of(i) * 4)));
    peak = largest(peak);
    const bool finite = peak < INFINITY_BITS;
    const float scale = scale_of_magnitude(finite ? float_of(peak) : 0.0f, 127).scale;
    if (threadIdx.x == 0)
        reinterpret_cast<float*>(x.scales)[blockIdx.x] = finite ? scale : float_of(0x7fc00000u);
    const Scaling scaling(scale);
    // All lanes of a warp come here, for the sums.
    const auto store = [&](const Four& four, int64 unit) {
        uint32 word = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j)
            word |= (nearest_steps(four.x[j], scaling, {-127.0f, 127.0f}) & 255) << 8 * j;
        if (!finite) word = 0;
        bool there = true;
        if (unit >= units) there = false;  // plant: bound
        if (there) *reinterpret_cast<uint32*>(target + unit * 4) = word;
        if (x.sums) add_block<8>(x, __dp4a(static_cast<int>(word), 0x01010101, 0), unit * 4, there);
    };
#pragma unroll
    for (int i = 0; i < ITEMS; ++i)
        if (unit_of(i) - threadIdx.x < units) store(kept[i], unit_of(i));
    for (int64 i = ITEMS; unit_of(i) - threadIdx.x < units; ++i)
        store(load_four(x, row, unit_of(i) * 4), unit_of(i));
}
