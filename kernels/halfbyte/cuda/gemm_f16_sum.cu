// SPDX-License-Identifier: Apache-2.0
// gemm_f16_sum: add up the sums that the splits of k left, in order, and finish the product.
//
// A thread has four columns where they are one access (`vectors`), else one.

#include "product.cuh"

extern "C" __global__ void __launch_bounds__(256) gemm_f16_sum(const Product x) {
    const Member member(x, x.first + blockIdx.y);
    const Finish finish(x.epilogue, member.index);
    // What was split is small: 32 bits count its elements.
    const uint32 number = blockIdx.x * 256 + threadIdx.x;
    const uint32 columns = x.epilogue.vectors ? x.pitch / 4 : x.n;
    const int64 row = number / columns;
    if (row >= x.m) return;  // plant: bound
    const int64 between = x.products * x.m * x.pitch;
    if (x.epilogue.vectors) {
        const int64 column = static_cast<int64>(number % columns) * 4;
        const float* p = member.sums(0) + row * x.pitch + column;
        float sum[4] = {};
        for (int split = 0; split < x.splits; ++split, p += between) {
            const float4 v = *reinterpret_cast<const float4*>(p);
            sum[0] += v.x, sum[1] += v.y, sum[2] += v.z, sum[3] += v.w;
        }
        finish.four(sum, row, column);
    } else {
        const int64 column = number % columns;
        const float* p = member.sums(0) + row * x.pitch + column;
        float sum = 0;
        for (int split = 0; split < x.splits; ++split, p += between) sum += *p;
        finish.one(sum, row, column);
    }
}
