// SPDX-License-Identifier: Apache-2.0
// linear_codes: rows of codes, of any strides, in the layout of linear_layout.cuh, and back (BACK).
//
// FROM: BYTES or NIBBLES, of which two lie in a byte, the first in the low half.  TO: BYTES or
// NIBBLES. Codes of the layout are signed: `flip` makes those of unsigned ones.  BACK: from the
// layout, whose codes are of FROM, to codes in C order, of TO.

#include "linear_layout.cuh"

__device__ __forceinline__ uint32 code_at(const Rows& x, const char* row, int64 p) {
    if constexpr (FROM == BYTES) return *reinterpret_cast<const uint8*>(row + p * x.step) ^ x.flip;
    uint32 code = *reinterpret_cast<const uint8*>(row + p / 2 * x.step) >> 4 * (p % 2) & 15;
    if (TO == NIBBLES) return code ^ x.flip;
    return x.is_signed ? ((code ^ 8) - 8) & 255 : code;
}

// Four codes as bytes.
__device__ __forceinline__ uint32 load_four(const Rows& x, const char* row, int64 place) {
    const Steps steps(x, place);
    if (FROM == BYTES && x.vectors && steps.count == 4)
        return *reinterpret_cast<const uint32*>(row + steps.p) ^ x.flip * 0x01010101u;
    uint32 four = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j)
        if (j < steps.count)  // plant: bound
            four |= code_at(x, row, steps.p + j) << 8 * j;
    return four;
}

__device__ __forceinline__ int32 sum_of(uint32 four) {
    return __dp4a(static_cast<int>(four), 0x01010101, 0);
}

// Codes of 4 bits, each in a byte, with their signs.
__device__ __forceinline__ uint32 with_signs(uint32 four) {
    const uint32 flipped = four ^ 0x08080808u;  // code + 8
    return ((flipped | 0x80808080u) - 0x08080808u) ^ 0x80808080u;
}

__device__ __forceinline__ void pack_row(const Rows& x, const char* row, char* target) {
    const int64 units = x.pitch / 4;
    for (int64 base = 0; base < units; base += blockDim.x) {
        const int64 unit = base + threadIdx.x;
        bool there = true;
        if (unit >= units) there = false;  // plant: bound
        uint32 word = 0;
        int32 sum = 0;
        int64 place = unit * 4;
        if constexpr (TO == NIBBLES) place = unit / 4 * 32 + unit % 4 * 4;
        if (there) {
            word = load_four(x, row, place);
            if constexpr (TO == NIBBLES) {
                const uint32 high = load_four(x, row, place + 16);
                sum = sum_of(with_signs(word)) + sum_of(with_signs(high));
                word |= high << 4;
            } else {
                sum = sum_of(word);
            }
            *reinterpret_cast<uint32*>(target + unit * 4) = word;
        }
        if (x.sums) add_block<TO == NIBBLES ? 4 : 8>(x, sum, place, there);
    }
}

// The code of step p of k.
__device__ __forceinline__ uint32 stored_code(const Rows& x, const char* row, int64 p) {
    const int64 group = p / x.group, place = group * x.padded + p - group * x.group;
    if constexpr (FROM == BYTES) return *reinterpret_cast<const uint8*>(row + place) ^ x.flip;
    const uint8 two = *reinterpret_cast<const uint8*>(row + place / 32 * 16 + place % 16);
    return (two >> place % 32 / 16 * 4 & 15) ^ x.flip;
}

__device__ __forceinline__ void unpack_row(const Rows& x, const char* row, char* target) {
    for (int64 i = threadIdx.x; i < x.pitch; i += blockDim.x) {
        uint32 code = 0;
        if constexpr (TO == BYTES) {
            code = stored_code(x, row, i);
        } else {
            code = stored_code(x, row, 2 * i) & 15;
            if (2 * i + 1 < x.k)  // plant: bound
                code |= (stored_code(x, row, 2 * i + 1) & 15) << 4;
        }
        target[i] = code;
    }
}

extern "C" __global__ void __launch_bounds__(MOST, 1) linear_codes(const Rows x) {
    const char* row = reinterpret_cast<const char*>(x.source) + blockIdx.x * x.row;
    char* target = reinterpret_cast<char*>(x.target) + blockIdx.x * x.pitch;
    if constexpr (BACK)
        unpack_row(x, row, target);
    else
        pack_row(x, row, target);
}
