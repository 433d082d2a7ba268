// SPDX-License-Identifier: Apache-2.0
// histogram: adds the finite elements of x to counts of bins i = -1024 .. 1023, [i 2^e, (i + 1) 2^e),
// e the least from -126 on that has room for x's extremes, or -127 where these are zeros.
//
// A block counts in shared memory and then adds that. Zeros, of which there may be many, are counted
// by each thread: additions to one bin wait for each other.
//
// FROM: float32 or uint16, the bits of float16.  STEP and the rest: channels.cuh, with one channel.

#include "channels.cuh"

constexpr int AHEAD = ACCESS == VECTORS ? 4 : 8;  // steps whose loads are in flight at once
constexpr int BINS = 2048;

__device__ __forceinline__ int32 exponent_of(float lo, float hi) {
    const uint32 least = magnitude_bits(lo), greatest = magnitude_bits(hi);
    const uint32 top = least > greatest ? least : greatest;
    if (top == 0 || top >= INFINITY_BITS) return -127;
    const int32 exponent = static_cast<int32>(top >> 23) - 127 - 9;
    return exponent < -126 ? -126 : exponent;
}

__device__ __forceinline__ void look(float x, int32 exponent, uint32& zeros, uint32* counts) {
    if (!is_finite(x)) return;  // flagged, which makes the counts void
    if (x == 0.0f) {
        ++zeros;
        return;
    }
    const int32 word = bits_of(x), field = word >> 23 & 0xff, sign = word >> 31;
    // |x| = integer * 2^(field - 150), below 2^(exponent + 10): the shift is 14 or more. Of a
    // subnormal it should be one less, but all of them lie in bins -1 and 0 either way.
    const int32 integer = (word & 0x7fffff) + ((field ? 1 : 0) << 23);
    const int32 shift = exponent + 150 - field;
    // floor(-n / 2^s) = ~((n - 1) >> s)
    const int32 bin = (integer + sign) >> (shift < 31 ? shift : 31) ^ sign;
    atomicAdd(counts + BINS / 2 + bin, 1u);
}

extern "C" __global__ void __launch_bounds__(256, 4) histogram(const char* x,
                                                               const float* lo,
                                                               const float* hi,
                                                               uint64* counts,
                                                               int32* exponent,
                                                               Channels all,
                                                               Strides of_x) {
    __shared__ uint32 own[BINS];
    for (int i = threadIdx.x; i < BINS; i += BLOCK) own[i] = 0;
    __syncthreads();  // plant: barrier
    const Share share = share_of(all);
    const int32 e = exponent_of(*lo, *hi);
    if (blockIdx.x == 0 && threadIdx.x == 0)  // plant: bound
        *exponent = e;
    uint32 zeros = 0;
    for (int64 step = share.first; step < share.end; step += AHEAD * share.team) {
        Step<FROM> values[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            const int64 at = step + i * share.team;
            if (at < share.end)  // plant: bound
                values[i].load(x + offset_of(at, all.inner, of_x.step));
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            if (step + i * share.team >= share.end) continue;  // plant: bound
#pragma unroll
            for (int j = 0; j < STEP; ++j) look(values[i][j], e, zeros, own);
        }
    }
    for (int64 i = share.left; i < share.elements; i += share.team)
        look(load_item<FROM>(x + i * sizeof(FROM)), e, zeros, own);
    if (zeros) atomicAdd(own + BINS / 2, zeros);
    __syncthreads();  // plant: barrier
    for (int i = threadIdx.x; i < BINS; i += BLOCK)
        if (own[i]) atomicAdd(counts + i, static_cast<uint64>(own[i]));
}
