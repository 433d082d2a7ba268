// SPDX-License-Identifier: Apache-2.0
// What every kernel shares: names of integers, conversions and divisions with the rounding spelled
// out, and loads and stores of elements. float16 is its bits, an uint16: no CUDA header is needed.
#pragma once

using int8 = signed char;
using uint8 = unsigned char;
using int16 = short;
using uint16 = unsigned short;
using int32 = int;
using uint32 = unsigned;
using int64 = long long;
using uint64 = unsigned long long;
using float32 = float;

// ------------------------------------------------------------------------------------- numbers

// To nearest, ties to even; subnormals stay, beyond 65504 by half a unit or more is infinity.
__device__ __forceinline__ uint16 half_from_float(float x) {
    uint16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

__device__ __forceinline__ float float_from_half(uint16 bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}

// The overloads let a kernel name an element's type once.
__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(uint16 bits) { return float_from_half(bits); }

template <typename T>
__device__ __forceinline__ T from_float(float x) {
    if constexpr (sizeof(T) == 2)
        return half_from_float(x);
    else
        return x;
}

// Correctly rounded, subnormals kept.
__device__ __forceinline__ float div_rn(float x, float y) {
    float quotient;
    asm("div.rn.f32 %0, %1, %2;" : "=f"(quotient) : "f"(x), "f"(y));
    return quotient;
}

// To the nearest whole number, ties to even.
__device__ __forceinline__ float rint_rn(float x) {
    float whole;
    asm("cvt.rni.f32.f32 %0, %1;" : "=f"(whole) : "f"(x));
    return whole;
}

__device__ __forceinline__ uint32 bits_of(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float float_of(uint32 bits) { return __uint_as_float(bits); }

constexpr uint32 INFINITY_BITS = 0x7f800000u;

__device__ __forceinline__ uint32 magnitude_bits(float x) { return bits_of(x) & 0x7fffffffu; }
__device__ __forceinline__ bool is_finite(float x) { return magnitude_bits(x) < INFINITY_BITS; }

// ------------------------------------------------------------------------------------- elements

// An element at an address that is a multiple of its size, or at any address.
template <bool ALIGNED_, typename T>
__device__ __forceinline__ T load_element(const char* p) {
    if constexpr (ALIGNED_ || sizeof(T) == 1) return *reinterpret_cast<const T*>(p);
    T x;
    memcpy(&x, p, sizeof(T));
    return x;
}

template <bool ALIGNED_, typename T>
__device__ __forceinline__ void store_element(char* p, T x) {
    if constexpr (ALIGNED_ || sizeof(T) == 1)
        *reinterpret_cast<T*>(p) = x;
    else
        memcpy(p, &x, sizeof(T));
}

// ------------------------------------------------------------------------------------- vectors

// Words of BYTES bytes, 1 to 64: as many 16-byte accesses as they take, or a shorter one. The
// address is a multiple of BYTES, or of 16. Bytes fill a word from its low end.
template <int BYTES>
struct Vector {
    static_assert(BYTES == 1 || BYTES == 2 || BYTES == 4 || BYTES == 8 || BYTES % 16 == 0);
    uint32 words[(BYTES + 3) / 4];

    __device__ __forceinline__ void load(const char* p) {
        if constexpr (BYTES == 1) {
            words[0] = *reinterpret_cast<const uint8*>(p);
        } else if constexpr (BYTES == 2) {
            words[0] = *reinterpret_cast<const uint16*>(p);
        } else if constexpr (BYTES == 4) {
            words[0] = *reinterpret_cast<const uint32*>(p);
        } else if constexpr (BYTES == 8) {
            const uint2 v = *reinterpret_cast<const uint2*>(p);
            words[0] = v.x, words[1] = v.y;
        } else {
#pragma unroll
            for (int i = 0; i < BYTES / 16; ++i) {
                const uint4 v = reinterpret_cast<const uint4*>(p)[i];
                words[4 * i] = v.x, words[4 * i + 1] = v.y;
                words[4 * i + 2] = v.z, words[4 * i + 3] = v.w;
            }
        }
    }

    __device__ __forceinline__ void store(char* p) const {
        if constexpr (BYTES == 1) {
            *reinterpret_cast<uint8*>(p) = words[0];
        } else if constexpr (BYTES == 2) {
            *reinterpret_cast<uint16*>(p) = words[0];
        } else if constexpr (BYTES == 4) {
            *reinterpret_cast<uint32*>(p) = words[0];
        } else if constexpr (BYTES == 8) {
            *reinterpret_cast<uint2*>(p) = make_uint2(words[0], words[1]);
        } else {
#pragma unroll
            for (int i = 0; i < BYTES / 16; ++i)
                reinterpret_cast<uint4*>(p)[i] =
                    make_uint4(words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
        }
    }

    // Element i of type T (float, uint16, int8 ...), i known when this is compiled.
    template <typename T>
    __device__ __forceinline__ T get(int i) const {
        if constexpr (sizeof(T) == 4) {
            return __builtin_bit_cast(T, words[i]);
        } else {
            constexpr int EACH = 4 / sizeof(T);
            return static_cast<T>(words[i / EACH] >> 8 * sizeof(T) * (i % EACH));
        }
    }

    // The same elements as set once each, in any order, on words that begin as zeros.
    template <typename T>
    __device__ __forceinline__ void put(int i, T x) {
        if constexpr (sizeof(T) == 4) {
            words[i] = __builtin_bit_cast(uint32, x);
        } else {
            constexpr int EACH = 4 / sizeof(T);
            const uint32 low = x & ((1u << 8 * sizeof(T)) - 1u);
            words[i / EACH] |= low << 8 * sizeof(T) * (i % EACH);
        }
    }
};
