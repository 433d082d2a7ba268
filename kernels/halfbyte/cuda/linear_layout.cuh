// SPDX-License-Identifier: Apache-2.0
// linear_layout: where a layer's products find step p of k of an operand's row.
//
//     |<------ group ------>|zeros|<------ group ------>|zeros| ...      whole blocks of 32 places
//
// A place has a byte, a half, or, of codes of 4 bits, half a byte: a block is 16 bytes then, and
// byte j has place j in its low half and place 16 + j in its high half.
#pragma once

#include "ptx.cuh"

constexpr int BYTES = 0, NIBBLES = 1, HALVES = 2, SINGLES = 3;
constexpr int MOST = 256;  // threads of a block, which has a row

struct Rows {
    uint64 source, target;
    uint64 scales, sums;  // float[rows]; int32[rows][groups], zeros; 0: not wanted
    int64 row, step;      // strides of the source in bytes
    int64 pitch;          // bytes of a row of the target
    int64 k;
    int64 group, padded;  // steps of k, and places
    int32 groups;
    int32 flip;       // bits of a code that change
    int32 is_signed;  // codes of 4 bits that become bytes
    int32 vectors;    // four numbers or codes are one access
    int32 aligned;
};

__device__ __forceinline__ int64 group_of(const Rows& x, int64 place) {
    return x.groups > 1 ? place / x.padded : 0;
}

// Four places: how many of them there are, and the step of k of the first.
struct Steps {
    int64 p;
    int count;

    __device__ __forceinline__ Steps(const Rows& x, int64 place) {
        const int64 group = group_of(x, place), within = place - group * x.padded;
        p = group * x.group + within;
        const int64 left = min(x.group - within, x.k - p);
        count = static_cast<int>(max(0ll, min(4ll, left)));
    }
};

// The sum of a block of 32 codes, of which LANES neighbouring lanes have parts, joins its group's.
template <int LANES>
__device__ __forceinline__ void add_block(const Rows& x, int32 sum, int64 place, bool there) {
    for (int d = 1; d < LANES; d *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    const int64 group = group_of(x, place);
    if (group >= x.groups) there = false;       // plant: bound
    if (!there || threadIdx.x % LANES) return;  // one lane adds
    int32* sums = reinterpret_cast<int32*>(x.sums) + static_cast<int64>(blockIdx.x) * x.groups;
    atomicAdd(sums + group, sum);
}
