// SPDX-License-Identifier: Apache-2.0
// Words of four codes of 8 bits or eight of 4, in registers.
#pragma once

#include "ptx.cuh"

// A word of 4-bit codes as two of 8 bits: those of the low nibbles and those of the high ones.
// Signed ones come out 16 times as large: that costs three instructions, a sign extension seven, and
// sums are exact as long as 16 times as much fits int32.
template <bool SIGNED>
__device__ __forceinline__ void unpack_nibbles(uint32 word, uint32& low, uint32& high) {
    constexpr uint32 MASK = SIGNED ? 0xf0f0f0f0u : 0x0f0f0f0fu;
    low = (SIGNED ? word << 4 : word) & MASK;
    high = (SIGNED ? word : word >> 4) & MASK;
}

// Four words turned: word i gets byte i of each.
__device__ __forceinline__ void turn(uint32 (&x)[4]) {
    const uint32 low01 = __byte_perm(x[0], x[1], 0x5140), high01 = __byte_perm(x[0], x[1], 0x7362);
    const uint32 low23 = __byte_perm(x[2], x[3], 0x5140), high23 = __byte_perm(x[2], x[3], 0x7362);
    x[0] = __byte_perm(low01, low23, 0x5410), x[1] = __byte_perm(low01, low23, 0x7632);
    x[2] = __byte_perm(high01, high23, 0x5410), x[3] = __byte_perm(high01, high23, 0x7632);
}

// Signed nibbles, one a byte, as signed bytes.
__device__ __forceinline__ uint32 extend_signs(uint32 word) {
    return word | (word & 0x08080808u) * 0x1eu;
}
