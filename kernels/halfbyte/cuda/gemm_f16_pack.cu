// SPDX-License-Identifier: Apache-2.0
// gemm_f16_pack: a matrix of halves, transposed: target[j][i] = source[i][j], source of any strides,
// target in C order, its rows `pitch` halves long, zeros beyond the source.
//
// A block turns 64 x 64 halves in shared memory, so that both sides are read and written in the
// order in which they lie. A row of shared memory is 33 words: one more bank for each.

#include "ptx.cuh"

constexpr int SIZE = 64, THREADS = 256;

struct Matrix {
    uint64 source, target;
    int64 row, column;  // strides of the source in bytes
    int64 rows, columns, pitch;
    int32 tiles;    // along a row of the target
    int32 aligned;  // source and its strides are multiples of 2
    int32 by_rows;  // rows of the source lie closer together than columns
};

extern "C" __global__ void __launch_bounds__(THREADS) gemm_f16_pack(const Matrix x) {
    __shared__ uint16 tile[SIZE][SIZE + 2];
    const int64 i0 = static_cast<int64>(blockIdx.x % x.tiles) * SIZE;
    const int64 j0 = static_cast<int64>(blockIdx.x / x.tiles) * SIZE;
    const int fast = threadIdx.x % SIZE;
#pragma unroll 4
    for (int slow = threadIdx.x / SIZE; slow < SIZE; slow += THREADS / SIZE) {
        const int i = x.by_rows ? fast : slow, j = x.by_rows ? slow : fast;
        uint16 value = 0;
        const char* p = reinterpret_cast<const char*>(x.source) + (i0 + i) * x.row;
        p += (j0 + j) * x.column;
        bool there = true;
        there = there && i0 + i < x.rows;     // plant: bound
        there = there && j0 + j < x.columns;  // plant: bound
        if (there && x.aligned) value = load_element<true, uint16>(p);
        if (there && !x.aligned) value = load_element<false, uint16>(p);
        tile[i][j] = value;
    }
    __syncthreads();  // plant: barrier
    uint16* target = reinterpret_cast<uint16*>(x.target);
#pragma unroll 4
    for (int slow = threadIdx.x / SIZE; slow < SIZE; slow += THREADS / SIZE) {
        bool there = true;
        there = there && i0 + fast < x.pitch;    // plant: bound
        there = there && j0 + slow < x.columns;  // plant: bound
        if (there) target[(j0 + slow) * x.pitch + i0 + fast] = tile[fast][slow];
    }
}
