// SPDX-License-Identifier: Apache-2.0
// reduce: sums[row] = sum of x[row, 0..n), a block a row and then the next: shuffles within warps,
// shared memory between them.  n <= 4 * blockDim.x, blockDim.x a multiple of 32.

using int32 = int;

__device__ __forceinline__ int32 warp_sum(int32 x) {
#pragma unroll
    for (int d = 16; d; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
    return x;
}

extern "C" __global__ void reduce(const int32* x, int32* sums, int rows, int n) {
    __shared__ int32 parts[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        int32 sum = 0;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int i = k * blockDim.x + threadIdx.x;
            if (i < n)  // plant: bound
                sum += x[row * n + i];
        }
        sum = warp_sum(sum);
        if (lane == 0) parts[warp] = sum;
        __syncthreads();  // plant: barrier
        if (warp == 0) {
            sum = 0;
            if (lane < warps)  // plant: bound
                sum = parts[lane];
            sum = warp_sum(sum);
            if (lane == 0)  // plant: bound
                sums[row] = sum;
        }
        __syncthreads();  // plant: barrier
    }
}
