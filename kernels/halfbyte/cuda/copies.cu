// SPDX-License-Identifier: Apache-2.0
// copies: target[i] = source[i], converted as C converts, a thread an element.
//
// FROM and TO: dtypes.  NDIM: dimensions.  ALIGNED: 0 where an address or a stride is no multiple of
// its item size; such elements are moved byte by byte.

#include "ptx.cuh"

struct Layout {
    int64 shape[NDIM];
    int64 source[NDIM];  // strides in bytes
    int64 target[NDIM];
};

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
    const FROM x = load_element<ALIGNED, FROM>(source);
    store_element<ALIGNED>(target, static_cast<TO>(x));
}
