// SPDX-License-Identifier: Apache-2.0
// elements.cuh: which elements a thread works on, where each is worked on by itself.
//
//                      STEP elements: a unit
//                     |<--->|
//     a row:          | u 0 | u 1 | u 2 | ...  |u n-1|     the last unit may be shorter
//     a block:        THREADS neighbouring units, UNROLL times
//
// Rows are counted over NDIM - 1 dimensions. An operand has a stride for each dimension, and one
// from element to element. Operands of channels (scales, zero points) have an entry for `group`
// elements of a row; where one has a stride of 0, neighbours share it.
//
// VECTOR: 1 where units are contiguous and aligned.  ALIGNED: 0 where an address or a stride is no
// multiple of its item size.  ALONG: with VECTOR, 1 where each element of a unit has an entry of
// its own, and entries are contiguous and aligned.  WIDE: 1 where 32 bits are too few.
//
// elements.py fills in Layout.
#pragma once
#include "ptx.cuh"

constexpr int THREADS = 256;

#if WIDE
using Index = int64;

struct Divisor {
    int64 divisor;

    __device__ __forceinline__ int64 divide(int64 n) const { return n / divisor; }
};
#else
using Index = int32;

// n / divisor for 0 <= n < 2^31, as a product with the reciprocal: with 2^(l - 1) < divisor <= 2^l,
// shift = 31 + l and multiplier = floor(2^shift / divisor) + 1, the product is too large by less
// than n 2^l < 2^shift, which takes no quotient to the next.
struct Divisor {
    uint32 divisor, multiplier, shift;

    __device__ __forceinline__ int32 divide(int32 n) const {
        return static_cast<uint64>(static_cast<uint32>(n)) * multiplier >> shift;
    }
};
#endif

template <int OPERANDS>
struct Layout {
    Divisor shape[NDIM];            // of the last dimension: units
    Divisor group;                  // in elements of a row; with VECTOR, in units
    Index strides[OPERANDS][NDIM];  // bytes; in the last dimension, from unit to unit
    Index steps[OPERANDS];          // bytes from element to element
    Index units;
    Index last;  // elements of a row's last unit
};

struct Place {
    Index at[NDIM];
    int count;  // elements of the unit; 0 beyond the last one
};

// The thread's unit number u.
template <int OPERANDS>
__device__ __forceinline__ Place locate(const Layout<OPERANDS>& layout, int u) {
    const Index first = blockIdx.x * static_cast<Index>(THREADS * UNROLL) + threadIdx.x;
    const Index unit = first + u * THREADS;
    Place place;
    Index rest = unit;
#pragma unroll
    for (int d = NDIM - 1; d > 0; --d) {
        const Index next = layout.shape[d].divide(rest);
        place.at[d] = rest - next * static_cast<Index>(layout.shape[d].divisor);
        rest = next;
    }
    place.at[0] = rest;
    const bool last = place.at[NDIM - 1] == static_cast<Index>(layout.shape[NDIM - 1].divisor) - 1;
    place.count = STEP > 1 && last ? layout.last : STEP;
    if (unit >= layout.units) place.count = 0;  // plant: bound
    return place;
}

// A unit of a row, in which the thread is number `unit`.
template <int OPERANDS>
__device__ __forceinline__ Place locate_in_row(const Layout<OPERANDS>& layout,
                                               const Place& row,
                                               Index unit) {
    Place place = row;
    const Index units = layout.shape[NDIM - 1].divisor;
    place.at[NDIM - 1] = unit;
    place.count = STEP > 1 && unit == units - 1 ? layout.last : STEP;
    if (unit >= units) place.count = 0;  // plant: bound
    return place;
}

// How far the operand's row, or unit, is from its first element.
template <bool ROW, int OPERANDS>
__device__ __forceinline__ int64 offset(const Layout<OPERANDS>& layout,
                                        int operand,
                                        const Place& place) {
    int64 bytes = 0;
#pragma unroll
    for (int d = 0; d < (ROW ? NDIM - 1 : NDIM); ++d)
        bytes += static_cast<int64>(place.at[d]) * layout.strides[operand][d];
    return bytes;
}

// The elements of a unit; those that it does not have are 0.
template <typename T, int OPERANDS>
__device__ __forceinline__ Vector<STEP * sizeof(T)> load_words(const Layout<OPERANDS>& layout,
                                                               int operand,
                                                               const char* p,
                                                               const Place& place) {
    p += offset<false>(layout, operand, place);
    const int64 step = VECTOR ? sizeof(T) : layout.steps[operand];
    Vector<STEP * sizeof(T)> v = {};
    if (VECTOR && place.count == STEP) {
        v.load(p);
        return v;
    }
#pragma unroll
    for (int j = 0; j < STEP; ++j)
        if (j < place.count)  // plant: bound
            v.template put<T>(j, load_element<ALIGNED, T>(p + j * step));
    return v;
}

template <typename T, int OPERANDS>
__device__ __forceinline__ void load_unit(
    const Layout<OPERANDS>& layout, int operand, const char* p, const Place& place, T (&x)[STEP]) {
    const Vector<STEP * sizeof(T)> v = load_words<T>(layout, operand, p, place);
#pragma unroll
    for (int j = 0; j < STEP; ++j) x[j] = v.template get<T>(j);
}

template <typename T, int OPERANDS>
__device__ __forceinline__ void store_unit(
    const Layout<OPERANDS>& layout, int operand, char* p, const Place& place, const T (&x)[STEP]) {
    p += offset<false>(layout, operand, place);
    const int64 step = VECTOR ? sizeof(T) : layout.steps[operand];
    if constexpr (VECTOR) {
        if (place.count == STEP) {
            Vector<STEP * sizeof(T)> v = {};
#pragma unroll
            for (int j = 0; j < STEP; ++j) v.template put<T>(j, x[j]);
            v.store(p);
            return;
        }
    }
#pragma unroll
    for (int j = 0; j < STEP; ++j)
        if (j < place.count)  // plant: bound
            store_element<ALIGNED, T>(p + j * step, x[j]);
}

// The same for two elements a byte, the first in the low nibble. STEP is even; a unit of an odd
// number of elements ends with a high nibble of 0. Of elements only the low 4 bits are stored.
template <typename T, int OPERANDS>
__device__ __forceinline__ void load_nibbles(
    const Layout<OPERANDS>& layout, int operand, const char* p, const Place& place, T (&x)[STEP]) {
    static_assert(STEP % 2 == 0);
    p += offset<false>(layout, operand, place);
    const int64 step = VECTOR ? 1 : layout.steps[operand];
    Vector<STEP / 2> v = {};
    if (VECTOR && place.count == STEP) {
        v.load(p);
    } else {
#pragma unroll
        for (int j = 0; j < STEP; j += 2)
            if (j < place.count)  // plant: bound
                v.template put<uint8>(j / 2, load_element<ALIGNED, uint8>(p + j / 2 * step));
    }
#pragma unroll
    for (int j = 0; j < STEP; ++j) x[j] = v.words[j / 8] >> 4 * (j % 8) & 15;
}

template <int OPERANDS>
__device__ __forceinline__ void store_nibbles(const Layout<OPERANDS>& layout,
                                              int operand,
                                              char* p,
                                              const Place& place,
                                              const uint8 (&x)[STEP]) {
    static_assert(STEP % 2 == 0);
    p += offset<false>(layout, operand, place);
    const int64 step = VECTOR ? 1 : layout.steps[operand];
    Vector<STEP / 2> v = {};
#pragma unroll
    for (int j = 0; j < STEP; ++j) {
        uint32 nibble = x[j] & 15;
        if (j >= place.count) nibble = 0;  // plant: bound
        v.words[j / 8] |= nibble << 4 * (j % 8);
    }
    if (VECTOR && place.count == STEP) {
        v.store(p);
        return;
    }
#pragma unroll
    for (int j = 0; j < STEP; j += 2)
        if (j < place.count)  // plant: bound
            store_element<ALIGNED, uint8>(p + j / 2 * step, v.template get<uint8>(j / 2));
}

// Each element's entry of an operand of channels, whose addresses are always aligned.
template <typename T, int OPERANDS>
__device__ __forceinline__ void load_channel(
    const Layout<OPERANDS>& layout, int operand, const char* p, const Place& place, T (&x)[STEP]) {
    p += offset<true>(layout, operand, place);
    const int64 step = layout.steps[operand];
    const Index unit = place.at[NDIM - 1];
    if constexpr (VECTOR && !ALONG) {
        T entry = T();
        if (place.count)  // plant: bound
            entry = *reinterpret_cast<const T*>(p + layout.group.divide(unit) * step);
#pragma unroll
        for (int j = 0; j < STEP; ++j) x[j] = entry;
        return;
    }
    if constexpr (VECTOR) {
        if (place.count == STEP && step != 0) {
            Vector<STEP * sizeof(T)> v;
            v.load(p + unit * (STEP * step));
#pragma unroll
            for (int j = 0; j < STEP; ++j) x[j] = v.template get<T>(j);
            return;
        }
    }
#pragma unroll
    for (int j = 0; j < STEP; ++j) {
        // Of vectors an Index counts units, of which a row may have 2^31.
        const int64 entry =
            VECTOR ? static_cast<int64>(unit) * STEP + j : layout.group.divide(unit * STEP + j);
        x[j] = T();
        if (j < place.count)  // plant: bound
            x[j] = *reinterpret_cast<const T*>(p + entry * step);
    }
}
