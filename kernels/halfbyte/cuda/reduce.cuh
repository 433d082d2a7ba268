// SPDX-License-Identifier: Apache-2.0
// reduce.cuh: joins what the threads of a team have, in an order that depends on the team alone.
//
// A block of 256 threads has `teams` teams, powers of two both. Either neighbours are of one team,
// which has at most a warp or is the block, or (COLUMNS) neighbours are of different teams and a
// team is every teams'th thread, teams <= 32:
//
//   rows,    teams = 64:  0 0 0 0 1 1 1 1 2 2 2 2 ...     shuffles alone
//   rows,    teams = 1:   0 0 0 0 0 0 0 0 0 0 0 0 ...     shuffles, then 8 warps in shared memory
//   columns, teams = 4:   0 1 2 3 0 1 2 3 0 1 2 3 ...     the same
#pragma once

constexpr int BLOCK = 256;
constexpr int WARPS = BLOCK / 32;

// Every thread of a team gets join of all that its threads have. `parts` is free again after another
// barrier.
template <typename T, typename Join>
__device__ __forceinline__ T join_team(T x, int teams, T (&parts)[BLOCK], Join join) {
    const int lane = threadIdx.x % 32, team = BLOCK / teams;
    const int end = COLUMNS || team > 32 ? 32 : team;
    for (int d = COLUMNS ? teams : 1; d < end; d *= 2)
        x = join(x, __shfl_xor_sync(0xffffffffu, x, d));
    if (COLUMNS || teams == 1) {
        const int own = lane & (teams - 1);
        parts[threadIdx.x] = x;
        __syncthreads();  // plant: barrier
        x = parts[own];
#pragma unroll
        for (int warp = 1; warp < WARPS; ++warp) x = join(x, parts[32 * warp + own]);
    }
    return x;
}
