// SPDX-License-Identifier: Apache-2.0
// row_quantize: scales[row] = absmax / 127, codes[row, :] = round(x[row, :] / scale), float32 -> int8.
//
// A block a row and then the next; the row stays in registers between absmax and rounding, four
// times four values a thread.  columns <= 16 * 256, a multiple of 4.

using int8 = signed char;

extern "C" __global__ void __launch_bounds__(256)
    row_quantize(const float* x, int8* codes, float* scales, int rows, int columns) {
    // Two, in turn: a warp may be a row ahead, but not two, for all meet at the barrier of each.
    __shared__ float parts[2][8];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int turn = 0;
    for (int row = blockIdx.x; row < rows; row += gridDim.x, turn ^= 1) {
        float4 v[4];
        float most = 0.0f;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int column = 4 * (threadIdx.x + 256 * k);
            v[k] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (column < columns)  // plant: bound
                v[k] = *reinterpret_cast<const float4*>(x + row * columns + column);
            most = fmaxf(fmaxf(most, fmaxf(fabsf(v[k].x), fabsf(v[k].y))),
                         fmaxf(fabsf(v[k].z), fabsf(v[k].w)));
        }
#pragma unroll
        for (int d = 16; d; d /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, d));
        if (lane == 0) parts[turn][warp] = most;
        __syncthreads();  // plant: barrier
        most = parts[turn][lane % 8];
#pragma unroll
        for (int d = 4; d; d /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, d));
        const float scale = most > 0.0f ? most / 127.0f : 1.0f;
        if (threadIdx.x == 0)  // plant: bound
            scales[row] = scale;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int column = 4 * (threadIdx.x + 256 * k);
            if (column < columns)  // plant: bound
                *reinterpret_cast<char4*>(codes + row * columns + column) =
                    make_char4(__float2int_rn(v[k].x / scale), __float2int_rn(v[k].y / scale),
                               __float2int_rn(v[k].z / scale), __float2int_rn(v[k].w / scale));
        }
    }
}
