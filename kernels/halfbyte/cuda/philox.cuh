// SPDX-License-Identifier: Apache-2.0
// philox.cuh: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011): a bijection of counters, so that
// an element's number needs no other's.
#pragma once
#include "ptx.cuh"

// Four words for elements 4 * block .. 4 * block + 3.
__device__ __forceinline__ void philox(uint64 seed, uint64 block, uint32 (&words)[4]) {
    uint32 c0 = block, c1 = block >> 32, c2 = 0, c3 = 0;
    uint32 k0 = seed, k1 = seed >> 32;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const uint64 left = static_cast<uint64>(0xd2511f53u) * c0;
        const uint64 right = static_cast<uint64>(0xcd9e8d57u) * c2;
        c0 = static_cast<uint32>(right >> 32) ^ c1 ^ k0, c1 = right;
        c2 = static_cast<uint32>(left >> 32) ^ c3 ^ k1, c3 = left;
        k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
    }
    words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

// A multiple of 2^-24 in [0, 1).
__device__ __forceinline__ float uniform_of(uint32 word) { return (word >> 8) * 0x1p-24f; }

// That of element number i.
__device__ __forceinline__ float uniform(uint64 seed, int64 i) {
    uint32 words[4];
    philox(seed, static_cast<uint64>(i) >> 2, words);
    const uint32 low = i & 1 ? words[1] : words[0], high = i & 1 ? words[3] : words[2];
    return uniform_of(i & 2 ? high : low);
}
