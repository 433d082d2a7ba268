// SPDX-License-Identifier: Apache-2.0
// quantize_rows: a scale for each row from the row itself, and its codes. A row is read once, and
// stays in registers between the look for its extremes and the rounding.
//
// A team of threads has a row, ITEMS units a thread. WARPS 0: 2^shift threads of a warp, several
// rows a block. WARPS 1: the block.
//
//     unit of a row:   0     1     2   ...  team - 1 | team  team + 1 ...
//     thread:          0     1     2   ...  team - 1 |  0      1
//
// FROM: float32, or uint16 for float16.  NIBBLES: 1 for two codes a byte.  AFFINE: 1 where there
// are zero points.  MOST: threads a block, at most.
#include "codes.cuh"
#include "elements.cuh"
#include "ranges.cuh"

constexpr int X = 0, CODES = 1, SCALE = 2, ZERO_POINT = 3;

// What is finite lies from lo to hi, and so does 0. Without zero points lo stays 0, and hi is the
// largest magnitude.
struct Extremes {
    float lo, hi;

    __device__ __forceinline__ void take(float lo_, float hi_) {
        if constexpr (AFFINE) lo = fminf(lo, lo_);
        hi = fmaxf(hi, hi_);
    }

    __device__ __forceinline__ void take(float x) { take(x, AFFINE ? x : fabsf(x)); }

    __device__ __forceinline__ void take_neighbours(int team) {
        for (int d = team / 2; d; d /= 2) {
            const float other = AFFINE ? __shfl_xor_sync(0xffffffffu, lo, d) : 0.0f;
            take(other, __shfl_xor_sync(0xffffffffu, hi, d));
        }
    }
};

// Every warp gets what all warps of the block have.
__device__ __forceinline__ void join_warps(Extremes& own) {
    __shared__ float lows[32], highs[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    if (lane == 0) {
        if constexpr (AFFINE) lows[warp] = own.lo;
        highs[warp] = own.hi;
    }
    __syncthreads();   // plant: barrier
    if (lane < warps)  // plant: bound
        own.take(AFFINE ? lows[lane] : 0.0f, highs[lane]);
    own.take_neighbours(32);
}

extern "C" __global__ void __launch_bounds__(MOST) quantize_rows(const char* x,
                                                                 char* codes,
                                                                 char* scales,
                                                                 char* zero_points,
                                                                 int32* bad,
                                                                 Layout<4> layout,
                                                                 int32 rows,
                                                                 int32 shift,
                                                                 int32 qmin,
                                                                 int32 qmax) {
    const int team = WARPS ? blockDim.x : 1 << shift;
    const int thread = WARPS ? threadIdx.x : threadIdx.x & (team - 1);
    const Index row = WARPS ? blockIdx.x : blockIdx.x * blockDim.x + threadIdx.x >> shift;
    Place first;
    Index rest = row;
#pragma unroll
    for (int d = NDIM - 2; d >= 0; --d) {
        const Index next = layout.shape[d].divide(rest);
        first.at[d] = rest - next * static_cast<Index>(layout.shape[d].divisor);
        rest = next;
    }

    Place place[ITEMS];
    Vector<STEP * sizeof(FROM)> in[ITEMS];
    uint32 peak = 0;
    Extremes found = {0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
        place[i] = locate_in_row(layout, first, thread + i * team);
        if (row >= rows) place[i].count = 0;  // plant: bound
        in[i] = load_words<FROM>(layout, X, x, place[i]);
    }
#pragma unroll
    for (int i = 0; i < ITEMS; ++i)
#pragma unroll
        for (int j = 0; j < STEP; ++j) {
            const float value = to_float(in[i].get<FROM>(j));
            peak = max(peak, magnitude_bits(value));
            if constexpr (AFFINE) found.take(value);
        }
    if constexpr (!AFFINE) found.hi = float_of(peak);
    if (peak >= INFINITY_BITS) {
        atomicOr(bad, 1);
        found = {0.0f, 0.0f};
#pragma unroll
        for (int i = 0; i < ITEMS; ++i)
#pragma unroll
            for (int j = 0; j < STEP; ++j) {
                const float value = to_float(in[i].get<FROM>(j));
                if (is_finite(value)) found.take(value);
            }
    }
    found.take_neighbours(WARPS ? 32 : team);
    if constexpr (WARPS) join_warps(found);

    const Scale own = AFFINE ? scale_of_range(found.lo, found.hi, qmin, qmax)
                             : scale_of_magnitude(found.hi, qmax);
    bool writes = place[0].count > 0;
    if (thread) writes = false;  // plant: bound
    if (writes) {
        *reinterpret_cast<float*>(scales + offset<true>(layout, SCALE, first)) = own.scale;
        if constexpr (AFFINE)
            *reinterpret_cast<int32*>(zero_points + offset<true>(layout, ZERO_POINT, first)) =
                own.zero_point;
    }
    const Limits limits = limits_of(qmin, qmax, own.zero_point);
    const Scaling scaling(own.scale);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
        uint8 code[STEP];
#pragma unroll
        for (int j = 0; j < STEP; ++j)
            code[j] = nearest_steps(to_float(in[i].get<FROM>(j)), scaling, limits) + own.zero_point;
        if constexpr (NIBBLES)
            store_nibbles(layout, CODES, codes, place[i], code);
        else
            store_unit(layout, CODES, codes, place[i], code);
    }
}
