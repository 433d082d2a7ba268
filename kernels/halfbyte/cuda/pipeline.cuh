// SPDX-License-Identifier: Apache-2.0
// The loop over k of a block: tiles of both operands go to shared memory while those before them are
// multiplied.
//
//     PLACES = 3    | tile t | tile t + 1 |        |
//                     source   on its way   target
//
// Of each tile, the first step starts to copy tile t + 2 to the target. Each step loads fragments of
// the next one while it multiplies its own. So the last step waits for tile t + 1 before: this is
// now the source, and tile t, of which all fragments are in registers, the target.
//
//     BLOCK_M, BLOCK_N, WARP_M, WARP_N   sizes of a block's and a warp's part of C
//     STAGES                             tiles in flight or in use; 2 on Turing, whose copies go
//                                        through registers
//
// are defined by whoever includes this.
#pragma once

#include "tiles.cuh"

constexpr int WARPS_N = BLOCK_N / WARP_N, WARPS = BLOCK_M / WARP_M * WARPS_N, THREADS = 32 * WARPS;
constexpr int PLACES = ASYNC ? STAGES : 2;
constexpr int ROWS_I = WARP_M / 16, COLUMNS_J = WARP_N / 8;  // mma of a warp

// DEPTH: elements along k of a tile. BITS_A, BITS_B: of an element; what tiles.cuh says of two halves
// is meant of four codes of 8 bits, or of eight of 4.  LATE: copies start at the last step, so that
// less is in registers on Turing.
template <int DEPTH,
          int BITS_A,
          int BITS_B,
          int LOAD_A = ALONG,
          int LOAD_B = ALONG,
          bool LATE = false>
struct Pipeline {
    static constexpr int DEPTH_A = DEPTH * BITS_A / 16, DEPTH_B = DEPTH * BITS_B / 16;  // in halves
    static constexpr int STEPS = DEPTH_A / 16;
    using LoaderA = Loader<BLOCK_M, DEPTH_A, THREADS, LOAD_A>;
    using LoaderB = Loader<BLOCK_N, DEPTH_B, THREADS, LOAD_B>;
    static constexpr int PLACE_BYTES = LoaderA::BYTES + LoaderB::BYTES;

    // Why not members: they have arrays, and until loops over these are unrolled, the compiler would
    // leave all of the pipeline in memory. Two more instructions of a tile came of it.
    LoaderA& copy_a;
    LoaderB& copy_b;
    const Fragments<BLOCK_M, DEPTH_A, LOAD_A, false> from_a;
    const Fragments<BLOCK_N, DEPTH_B, LOAD_B, true> from_b;
    const int tiles, last;  // the last one's elements along k
    const uint32 first, end;
    uint32 source, target;
    int t = 0;  // the tile at the source

    __device__ __forceinline__
    Pipeline(LoaderA& copy_a, LoaderB& copy_b, int64 depth, unsigned char* shared)
        : copy_a(copy_a),
          copy_b(copy_b),
          from_a(threadIdx.x / 32 / WARPS_N * WARP_M),
          from_b(threadIdx.x / 32 % WARPS_N * WARP_N),
          tiles(static_cast<int>((depth + DEPTH - 1) / DEPTH)),
          last(static_cast<int>(depth - static_cast<int64>(tiles - 1) * DEPTH)),
          first(shared_address(shared)),
          end(first + PLACES * PLACE_BYTES),
          source(first),
          target(first) {}

    // Start to copy tiles to all places but one, and wait for the first.
    __device__ __forceinline__ void fill() {
#pragma unroll
        for (int i = 0; i < PLACES - 1; ++i) {
            start<false>(i);
            finish();
            target += PLACE_BYTES;
        }
        wait_for_all_but<PLACES - 2>();  // plant: wait
        __syncthreads();                 // plant: barrier
    }

    // Go on to the tile of this number. body(step) loads fragments of the next step and multiplies.
    // WHOLE: what is copied meanwhile is whole, see tiles.cuh.
    template <bool WHOLE = false, typename Body>
    __device__ __forceinline__ void run(int number, const Body& body) {
#pragma unroll 1
        for (; t < number; ++t)
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                // The target is free: its last fragments were loaded before the last barrier.
                if (step == (LATE ? STEPS - 1 : 0)) start<WHOLE>(t + PLACES - 1);
                if (step == STEPS - 1) turn();
                body(step);
            }
    }

    // A warp's fragments of a step of the tile at the source.
    __device__ __forceinline__ void load_a(uint32 (&a)[ROWS_I][4], int step) const {
#pragma unroll
        for (int i = 0; i < ROWS_I; ++i) from_a.load(a[i], source, i, step);
    }
    __device__ __forceinline__ void load_b(uint32 (&b)[COLUMNS_J / 2][4], int step) const {
#pragma unroll
        for (int j = 0; j < COLUMNS_J / 2; ++j) from_b.load(b[j], source + LoaderA::BYTES, j, step);
    }

    template <bool WHOLE>
    __device__ __forceinline__ void start(int number) {
        const int left = WHOLE || number + 1 < tiles ? DEPTH : number < tiles ? last : 0;
        copy_a.template start<WHOLE>(target, halves<BITS_A>(left));
        copy_b.template start<WHOLE>(target + LoaderA::BYTES, halves<BITS_B>(left));
        commit();  // plant: commit
    }

    __device__ __forceinline__ void finish() {
        copy_a.finish(target);
        copy_b.finish(target + LoaderA::BYTES);
    }

    __device__ __forceinline__ void turn() {
        finish();
        wait_for_all_but<PLACES - 2>();  // plant: wait
        __syncthreads();                 // plant: barrier
        target = source;
        source = source + PLACE_BYTES == end ? first : source + PLACE_BYTES;
    }

    // Elements in halves; of 4 bits, whole chunks, through which their order goes. Unsigned divisions
    // are of fewer instructions.
    template <int BITS>
    static __device__ __forceinline__ int halves(uint32 elements) {
        if (BITS == 16) return elements;
        return BITS == 4 ? (elements + 31) / 32 * 8 : (elements * BITS + 15) / 16;
    }
};
