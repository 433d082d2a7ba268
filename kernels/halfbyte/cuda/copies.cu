// SPDX-License-Identifier: Apache-2.0
// copies: target[i] = source[i], converted as C converts, a thread an element.
//
// FROM and TO: dtypes.  NDIM: dimensions.  ALIGNED: 0 where an address or a stride is no multiple of
// its item size; such elements are moved byte by byte.

using int8 = signed char;
using uint8 = unsigned char;
using int16 = short;
using uint16 = unsigned short;
using int32 = int;
using uint32 = unsigned;
using int64 = long long;
using uint64 = unsigned long long;
using float32 = float;

struct Layout {
    int64 shape[NDIM];
    int64 source[NDIM];  // strides in bytes
    int64 target[NDIM];
};

template <typename T>
__device__ T load(const char* p) {
    if constexpr (ALIGNED) return *reinterpret_cast<const T*>(p);
    T x;
    memcpy(&x, p, sizeof(T));
    return x;
}

template <typename T>
__device__ void store(char* p, T x) {
    if constexpr (ALIGNED)
        *reinterpret_cast<T*>(p) = x;
    else
        memcpy(p, &x, sizeof(T));
}

extern "C" __global__ void __launch_bounds__(256)
    copies(const char* source, char* target, Layout layout, int64 size) {
    int64 rest = blockIdx.x * static_cast<int64>(blockDim.x) + threadIdx.x;
    if (rest >= size) return;  // plant: bound
#pragma unroll
    for (int d = NDIM - 1; d >= 0; --d) {
        const int64 index = d ? rest % layout.shape[d] : rest;
        rest /= layout.shape[d];
        source += index * layout.source[d];
        target += index * layout.target[d];
    }
    store<TO>(target, static_cast<TO>(load<FROM>(source)));
}
