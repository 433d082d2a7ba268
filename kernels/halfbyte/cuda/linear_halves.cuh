// SPDX-License-Identifier: Apache-2.0
// Codes as halves, and products of either.
#pragma once

#include "mma_int.cuh"

// c += a b, 16 x 8 from 16 x 32 and 32 x 8 signed codes, or from 16 x 16 and 16 x 8 halves.
__device__ __forceinline__ void multiply_either(int32 (&c)[4],
                                                const uint32 (&a)[4],
                                                uint32 b0,
                                                uint32 b1) {
    multiply<true, true>(c, a, b0, b1);
}
__device__ __forceinline__ void multiply_either(float (&c)[4],
                                                const uint32 (&a)[4],
                                                uint32 b0,
                                                uint32 b1) {
    multiply(c, a, b0, b1);
}

__device__ __forceinline__ uint32 subtract_halves(uint32 x, uint32 y) {
    uint32 difference;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(difference) : "r"(x), "r"(y));
    return difference;
}

// (x & mask) ^ other, one instruction.
__device__ __forceinline__ uint32 and_xor(uint32 x, uint32 mask, uint32 other) {
    uint32 bits;
    asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(bits) : "r"(x), "r"(mask), "r"(other));
    return bits;
}

// 1024 and a code that is not negative: two halves, exact. What is subtracted is 1024, what was
// added to the code, and the zero point; both terms are whole numbers below 2048, so the difference
// is exact, too.
constexpr uint32 TWICE = 0x00010001u;

__device__ __forceinline__ uint32 shift_of_bytes(int32 zero_point) {
    return (0x6480 + zero_point) * TWICE;  // 1024 + 128 + zero point
}

__device__ __forceinline__ uint32 shift_of_nibbles(int32 zero_point) {
    return (0x6408 + zero_point) * TWICE;  // 1024 + 8 + zero point
}

// Two bytes, codes of 8 bits, minus the zero point: those that ORDER names, with bytes 4 above them.
template <int ORDER>
__device__ __forceinline__ uint32 halves_of_bytes(uint32 x, uint32 shift) {
    return subtract_halves(__byte_perm(x ^ 0x80808080u, 0x64646464u, ORDER), shift);
}

// Nibbles i and i + 4, minus the zero point.
__device__ __forceinline__ uint32 halves_of_nibbles(uint32 x, int i, uint32 shift) {
    return subtract_halves(and_xor(x >> 4 * i, 0x000f000fu, 0x64086408u), shift);
}
