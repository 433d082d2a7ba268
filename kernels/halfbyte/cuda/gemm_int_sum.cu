// SPDX-License-Identifier: Apache-2.0
// gemm_int_sum: add up what the splits of k left of C. A thread has two columns.

#include "int_product.cuh"

extern "C" __global__ void __launch_bounds__(256) gemm_int_sum(const IntProduct x) {
    const Member member(x, x.first + blockIdx.y);
    const Target target(x, member);
    // What was split is small: 32 bits count its elements.
    const uint32 number = blockIdx.x * 256 + threadIdx.x;
    const uint32 columns = x.pitch / 2;
    const int64 row = number / columns, column = static_cast<int64>(number % columns) * 2;
    if (row >= x.m) return;  // plant: bound
    const int64 between = x.products * x.m * x.pitch;
    const int32* p = member.sums<int32>(0) + row * x.pitch + column;
    int32 sums[2] = {};
    for (int split = 0; split < x.splits; ++split, p += between) {
        const int2 v = *reinterpret_cast<const int2*>(p);
        sums[0] += v.x, sums[1] += v.y;
    }
    target.two(sums[0], sums[1], row, column, x.n - column);
}
