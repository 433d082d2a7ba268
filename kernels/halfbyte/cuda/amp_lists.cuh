// SPDX-License-Identifier: Apache-2.0
// amp_lists.cuh: one launch for many arrays, of any dtypes and strides.
//
//     entries:   |    0    |1|     2     | 3 | ...    an array each, or a part of one
//     blocks:    |0|1|2|3|4|5|6|7|8|9|...             a chunk of an entry's elements each
//
// An entry says where each operand's elements are. They are taken by units of STEP where those of
// all operands lie side by side and are aligned, and one by one elsewhere.
//
// OPERANDS: of an entry.  STEP: elements of a unit.  UNITS: of a thread, so that a block has a chunk.
// INLINE: how many entries are passed by value; 0: they are in memory.
//
// amp_lists.py fills in Table.
#pragma once
#include "ptx.cuh"

constexpr int THREADS = 256, DIMS = 3;
constexpr int CHUNK = THREADS * STEP * UNITS;

constexpr int32 IN_UNITS = 1, IS_ALIGNED = 2, IS_FIRST = 4, IS_HALF = 8;

struct Entry {
    int64 first;                    // chunks of the entries before
    int64 shape[DIMS];              // its elements, in C order
    char* address[OPERANDS];        // null: the array does not have this operand
    int64 strides[OPERANDS][DIMS];  // bytes
    int32 number;                   // of the array
    int32 form;                     // bits: as above, IS_HALF for each operand
};

struct Table {
#if INLINE
    Entry entries[INLINE];
#else
    const Entry* entries;
#endif
};

// What a block works on.
struct Chunk {
    int64 first;
    int32 count;
    int32 units;  // the first of its elements, in units
};

// The last entry that begins with the block's chunk or before it has that chunk.
__device__ __forceinline__ const Entry& find_entry(const Table& table, int32 entries) {
    int32 low = 0, high = entries;
    while (high - low > 1) {
        const int32 middle = (low + high) / 2;
        if (table.entries[middle].first <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    return table.entries[low];
}

__device__ __forceinline__ Chunk chunk_of(const Entry& entry) {
    Chunk chunk;
    chunk.first = (blockIdx.x - entry.first) * CHUNK;
    const int64 left = entry.shape[0] * entry.shape[1] * entry.shape[2] - chunk.first;
    chunk.count = left < CHUNK ? left : CHUNK;
    chunk.units = entry.form & IN_UNITS ? chunk.count / STEP : 0;
    return chunk;
}

// N neighbours: a unit, or one element.
template <int N>
struct Place {
    int64 at[DIMS];

    __device__ __forceinline__ Place(const Entry& entry, int64 index) {
        at[0] = at[1] = 0, at[2] = index;
        if (N > 1 || index < entry.shape[2]) return;  // in the first row
        at[1] = index / entry.shape[2], at[2] = index % entry.shape[2];
        at[0] = at[1] / entry.shape[1], at[1] = at[1] % entry.shape[1];
    }

    template <typename T>
    __device__ __forceinline__ char* in(const Entry& entry, int operand) const {
        if (N > 1) return entry.address[operand] + at[2] * sizeof(T);  // side by side
        char* p = entry.address[operand];
#pragma unroll
        for (int d = 0; d < DIMS; ++d) p += at[d] * entry.strides[operand][d];
        return p;
    }

    template <typename T>
    __device__ __forceinline__ void load(const Entry& entry, int operand, float (&x)[N]) const {
        const char* p = in<T>(entry, operand);
        if constexpr (N > 1) {
            Vector<N * sizeof(T)> v;
            v.load(p);
#pragma unroll
            for (int j = 0; j < N; ++j) x[j] = to_float(v.template get<T>(j));
        } else {
            x[0] = to_float(entry.form & IS_ALIGNED ? load_element<true, T>(p)
                                                    : load_element<false, T>(p));
        }
    }

    template <typename T>
    __device__ __forceinline__ void store(const Entry& entry,
                                          int operand,
                                          const float (&x)[N]) const {
        char* p = in<T>(entry, operand);
        if constexpr (N > 1) {
            Vector<N * sizeof(T)> v = {};
#pragma unroll
            for (int j = 0; j < N; ++j) v.template put<T>(j, from_float<T>(x[j]));
            v.store(p);
        } else if (entry.form & IS_ALIGNED) {
            store_element<true>(p, from_float<T>(x[0]));
        } else {
            store_element<false>(p, from_float<T>(x[0]));
        }
    }

    // Of an operand that is float16 in some entries and float32 in others.
    __device__ __forceinline__ void load_any(const Entry& entry, int operand, float (&x)[N]) const {
        if (entry.form & IS_HALF << operand)
            load<uint16>(entry, operand, x);
        else
            load<float>(entry, operand, x);
    }

    __device__ __forceinline__ void store_any(const Entry& entry,
                                              int operand,
                                              const float (&x)[N]) const {
        if (entry.form & IS_HALF << operand)
            store<uint16>(entry, operand, x);
        else
            store<float>(entry, operand, x);
    }
};

// work(Place) for the thread's part of what is not in units.
template <typename Work>
__device__ __forceinline__ void for_rest(const Entry& entry, const Chunk& chunk, Work work) {
    for (int32 i = chunk.units * STEP + threadIdx.x; i < chunk.count; i += THREADS)
        work(Place<1>(entry, chunk.first + i));
}

// The thread's units of an operand, as they are in memory: nothing waits for the first before the
// last is on its way. Those that it does not have are zeros.
struct Units {
    Vector<STEP * sizeof(float)> words[UNITS] = {};
    bool half;

    __device__ __forceinline__ Units(const Entry& entry, const Chunk& chunk, int operand)
        : half(entry.form & IS_HALF << operand) {
#pragma unroll
        for (int u = 0; u < UNITS; ++u) {
            const int32 unit = threadIdx.x + u * THREADS;
            if (unit >= chunk.units) continue;  // plant: bound
            const Place<STEP> place(entry, chunk.first + unit * STEP);
            if (half) {
                Vector<STEP * sizeof(uint16)> v;
                v.load(place.template in<uint16>(entry, operand));
#pragma unroll
                for (int i = 0; i < STEP / 2; ++i) words[u].words[i] = v.words[i];
            } else {
                words[u].load(place.template in<float>(entry, operand));
            }
        }
    }

    __device__ __forceinline__ void get(int u, float (&x)[STEP]) const {
#pragma unroll
        for (int j = 0; j < STEP; ++j)
            x[j] =
                half ? to_float(words[u].template get<uint16>(j)) : words[u].template get<float>(j);
    }
};

// work(Place) for the thread's units, and for its part of what is left of the chunk.
template <typename Work>
__device__ __forceinline__ void for_each(const Entry& entry, const Chunk& chunk, Work work) {
#pragma unroll
    for (int u = 0; u < UNITS; ++u) {
        const int32 unit = threadIdx.x + u * THREADS;
        if (unit < chunk.units)  // plant: bound
            work(Place<STEP>(entry, chunk.first + unit * STEP));
    }
    for_rest(entry, chunk, work);
}
