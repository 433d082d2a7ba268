// SPDX-License-Identifier: Apache-2.0
// Products of integer fragments, and their sums.
//
// A word is four codes of 8 bits, k 4t ... 4t + 3, where halves are k 2t and 2t + 1: a fragment of
// 16 x 32 codes lies in registers as one of 16 x 16 halves (mma.cuh), and is loaded as one.
#pragma once

#include "mma.cuh"
#include "words.cuh"

#if __CUDA_ARCH__ >= 800
#define HALFBYTE_MULTIPLY(A, B)                          \
    asm("mma.sync.aligned.m16n8k32.row.col.s32." A "." B \
        ".s32 {%0, %1, %2, %3},"                         \
        " {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]) \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
#else  // Turing takes quarters: 8 rows and k 16
#define HALFBYTE_QUARTER(A, B, ROW, X, Y)               \
    asm("mma.sync.aligned.m8n8k16.row.col.s32." A "." B \
        ".s32 {%0, %1}, {%2}, {%3}, "                   \
        "{%0, %1};"                                     \
        : "+r"(c[ROW]), "+r"(c[ROW + 1])                \
        : "r"(X), "r"(Y))
#define HALFBYTE_MULTIPLY(A, B)          \
    HALFBYTE_QUARTER(A, B, 0, a[0], b0); \
    HALFBYTE_QUARTER(A, B, 2, a[1], b0); \
    HALFBYTE_QUARTER(A, B, 0, a[2], b1); \
    HALFBYTE_QUARTER(A, B, 2, a[3], b1)
#endif

// c += a b, 16 x 8 from 16 x 32 and 32 x 8, modulo 2^32.
template <bool A_SIGNED_, bool B_SIGNED_>
__device__ __forceinline__ void multiply(int32 (&c)[4],
                                         const uint32 (&a)[4],
                                         uint32 b0,
                                         uint32 b1) {
    if constexpr (A_SIGNED_ && B_SIGNED_) {
        HALFBYTE_MULTIPLY("s8", "s8");
    } else if constexpr (A_SIGNED_) {
        HALFBYTE_MULTIPLY("s8", "u8");
    } else if constexpr (B_SIGNED_) {
        HALFBYTE_MULTIPLY("u8", "s8");
    } else {
        HALFBYTE_MULTIPLY("u8", "u8");
    }
}

// sum + the four codes of a word.
template <bool SIGNED>
__device__ __forceinline__ int32 add_codes(uint32 codes, int32 sum) {
    int32 result;
    if constexpr (SIGNED)
        asm("dp4a.s32.u32 %0, %1, %2, %3;" : "=r"(result) : "r"(codes), "r"(0x01010101u), "r"(sum));
    else
        asm("dp4a.u32.u32 %0, %1, %2, %3;" : "=r"(result) : "r"(codes), "r"(0x01010101u), "r"(sum));
    return result;
}

// What a sum was meant to be whose codes of b came from unpack_nibbles, where they had 4 bits.
template <int BITS, bool SIGNED>
__device__ __forceinline__ int32 settled(int32 sum) {
    return BITS == 4 && SIGNED ? sum >> 4 : sum;
}
