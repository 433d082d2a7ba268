// SPDX-License-Identifier: Apache-2.0
// channels.cuh: which threads look at which elements of which channel.
//
// A channel is what shares a scale: all elements, an index along an axis, or a group. A team of
// threads (reduce.cuh) looks at a part of one, a step a thread and then the team's next steps; a
// step is STEP neighbours in memory. What is left at the end of a channel, fewer elements than a
// step, is looked at one by one.
//
//   rows      neighbours in memory are of one channel, and so are neighbours in a team
//   columns   neighbours in memory are of different channels, and a step is one element
//
// COLUMNS: 0 or 1.  NDIM: dimensions of channels, and of steps within a channel.  ACCESS: ANYWHERE
// where addresses are no multiples of the item size, ITEMS, or VECTORS of 16 bytes.  STEP: elements.
#pragma once
#include "ptx.cuh"
#include "reduce.cuh"

#define ANYWHERE 0
#define ITEMS 1
#define VECTORS 2

struct Channels {
    int64 shape[NDIM];  // of channels, in C order
    int64 inner[NDIM];  // of steps within a channel
    int64 count;        // channels
    int64 elements;     // of a channel
    int64 groups;       // every one so many has `rest` elements instead
    int64 rest;
    int64 part;   // steps
    int32 parts;  // log2 of how many a channel has
    int32 teams;  // log2 of how many a block has
};

// Of an array, in bytes.
struct Strides {
    int64 channel[NDIM];
    int64 step[NDIM];
};

// What a thread looks at: steps first, first + team, ... below end, and elements `left`,
// left + team, ... below `elements` one by one.
struct Share {
    int64 channel;
    int64 place;  // of the part among those of all channels
    int64 first, end;
    int64 left, elements;
    int team;
    bool leads;  // is to write what the team found
};

__device__ __forceinline__ Share share_of(const Channels& all) {
    const int teams = 1 << all.teams, log_team = 8 - all.teams;
    const int own = COLUMNS ? threadIdx.x & (teams - 1) : threadIdx.x >> log_team;
    const int member = COLUMNS ? threadIdx.x >> all.teams : threadIdx.x & ((1 << log_team) - 1);
    const int64 part = blockIdx.x & ((1u << all.parts) - 1);
    Share share;
    share.team = 1 << log_team;
    share.channel = (static_cast<int64>(blockIdx.x >> all.parts) << all.teams) + own;
    share.place = (share.channel << all.parts) + part;
    share.elements = all.elements;
    if (all.rest != all.elements && share.channel % all.groups == all.groups - 1)
        share.elements = all.rest;
    if (share.channel >= all.count)  // plant: bound
        share.elements = 0;
    const int64 steps = share.elements / STEP, end = (part + 1) * all.part;
    share.first = part * all.part + member;
    share.end = end < steps ? end : steps;
    share.left = part == (1 << all.parts) - 1 ? steps * STEP + member : share.elements;
    share.leads = member == 0 && share.channel < all.count;
    return share;
}

// Where the index'th of so many dimensions lies.
__device__ __forceinline__ int64 offset_of(int64 index,
                                           const int64 (&shape)[NDIM],
                                           const int64 (&strides)[NDIM]) {
    int64 offset = 0;
#pragma unroll
    for (int d = NDIM - 1; d > 0; --d) {
        offset += index % shape[d] * strides[d];
        index /= shape[d];
    }
    return offset + index * strides[0];
}

template <typename T>
__device__ __forceinline__ float load_item(const char* p) {
    return to_float(load_element<ACCESS != ANYWHERE, T>(p));
}

template <typename T>
__device__ __forceinline__ void store_item(char* p, float x) {
    store_element<ACCESS != ANYWHERE>(p, from_float<T>(x));
}

// As they are in memory, which takes the fewest registers.
template <typename T>
struct Step {
    Vector<STEP * sizeof(T)> items;

    __device__ __forceinline__ void load(const char* p) {
        if constexpr (ACCESS == VECTORS) {
            items.load(p);
        } else {
            items = {};
            items.put(0, load_element<ACCESS != ANYWHERE, T>(p));
        }
    }

    __device__ __forceinline__ float operator[](int i) const {
        return to_float(items.template get<T>(i));
    }
};

template <typename T>
__device__ __forceinline__ void store_step(char* p, const float (&x)[STEP]) {
    if constexpr (ACCESS == VECTORS) {
        Vector<STEP * sizeof(T)> vector = {};
#pragma unroll
        for (int i = 0; i < STEP; ++i) vector.put(i, from_float<T>(x[i]));
        vector.store(p);
    } else {
        store_item<T>(p, x[0]);
    }
}
