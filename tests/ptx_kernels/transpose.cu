// SPDX-License-Identifier: Apache-2.0
// transpose: out[width, height] = in[height, width]^T, by way of a tile in shared memory.
//
// A block of 32 x 8 threads goes along a row of 32 x 32 tiles. A row of the tile has one word more:
// a column then lies in 32 banks.
//
// Every line that says `plant` is needed: without it there is a bug, which the PTX machine finds.

using uint32 = unsigned;

extern "C" __global__ void __launch_bounds__(256)
    transpose(const uint32* in, uint32* out, int height, int width) {
    __shared__ uint32 tile[32][33];
    const int y0 = blockIdx.x * 32;
    for (int x0 = 0; x0 < width; x0 += 32) {
        for (int r = threadIdx.y; r < 32; r += 8) {
            const int y = y0 + r, x = x0 + threadIdx.x;
            if (y < height)     // plant: bound
                if (x < width)  // plant: bound
                    tile[r][threadIdx.x] = in[y * width + x];
        }
        __syncthreads();  // plant: barrier
        for (int r = threadIdx.y; r < 32; r += 8) {
            const int x = x0 + r, y = y0 + threadIdx.x;
            if (x < width)       // plant: bound
                if (y < height)  // plant: bound
                    out[x * height + y] = tile[threadIdx.x][r];
        }
        __syncthreads();  // plant: barrier
    }
}
