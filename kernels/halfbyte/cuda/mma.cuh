// SPDX-License-Identifier: Apache-2.0
// What a matrix product is made of on tensor cores, one named function an instruction: copies from
// global to shared memory, fragments from shared memory to registers, and products of fragments.
//
// Lane 4 g + t of a warp holds, of operands of 16 x 16 and 16 x 8 elements, from the low half up:
//   a[0], a[1]: rows g and g + 8, k 2t and 2t + 1      b[0]: column g, k 2t and 2t + 1
//   a[2], a[3]: the same, k 2t + 8 and 2t + 9          b[1]: column g, k 2t + 8 and 2t + 9
//   c[0], c[1]: row g, columns 2t and 2t + 1           c[2], c[3]: row g + 8
#pragma once

#include "ptx.cuh"

#if __CUDA_ARCH__ >= 800
constexpr bool ASYNC = true;
#else
constexpr bool ASYNC = false;  // Turing has no copies that bypass registers
#endif

// ------------------------------------------------------------------------------------- copies

__device__ __forceinline__ uint32 shared_address(const void* p) {
    return static_cast<uint32>(__cvta_generic_to_shared(p));
}

// Start to copy 16 bytes to shared memory, of which only the first `bytes` are read; zeros for the
// rest. Nothing is read at all for 0.
__device__ __forceinline__ void copy_async(uint32 target, const char* source, int bytes) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source),
                 "r"(bytes)
                 : "memory");
#endif
}

// End a group of copies.
__device__ __forceinline__ void commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait for this thread's groups of copies but the newest ones.
template <int NEWEST>
__device__ __forceinline__ void wait_for_all_but() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(NEWEST) : "memory");
#endif
}

__device__ __forceinline__ void store_shared(uint32 target, const uint32 (&x)[4]) {
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(target), "r"(x[0]), "r"(x[1]),
                 "r"(x[2]), "r"(x[3])
                 : "memory");
}

__device__ __forceinline__ void store_shared(uint32 target, float x0, float x1) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(target), "f"(x0), "f"(x1) : "memory");
}

// ------------------------------------------------------------------------------------- fragments

// Four matrices of 8 x 8 halves; lane L says where row L % 8 of matrix L / 8 is.
__device__ __forceinline__ void load_matrices(uint32 (&d)[4], uint32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(uint32 (&d)[4], uint32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
}

// c += a b, 16 x 8 from 16 x 16 and 16 x 8. Turing takes two steps of k 8.
__device__ __forceinline__ void multiply(float (&c)[4],
                                         const uint32 (&a)[4],
                                         uint32 b0,
                                         uint32 b1) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3},"
        " {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3},"
        " {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3},"
        " {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}
