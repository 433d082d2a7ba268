# SPDX-License-Identifier: Apache-2.0
"""The PTX machine condemns barriers that not all reach, and half warps where whole ones belong."""

import pytest

from ptx_kernels import ARCHITECTURES
from ptx_kernels.planted import Case, Planted

pytestmark = pytest.mark.usefixtures("nvrtc")

LDMATRIX = """
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"  // here
                     : "=r"(d) : "r"(on_chip(s + i % 8 * 4)));  // here"""
MMA = """
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3},"  // here
                     " {%4, %5}, {%6}, {%0, %1, %2, %3};"  // here
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])  // here
                     : "r"(0), "r"(0), "r"(0));  // here"""

BARRIERS = [
    Case(
        "half a warp at a barrier",
        "barrier divergence",
        """    if (!WRONG || i < 16) __syncthreads();  // here
    out[i] = i;""",
        block=32,
    ),
    Case(
        "one warp of two at a barrier",
        "barrier divergence",
        """    if (!WRONG || i < 32) __syncthreads();  // here
    out[i] = i;""",
    ),
    Case(
        "early exit before a barrier",
        "barrier divergence",
        """    if (WRONG && a[i] > 50) return;
    out[i] = i;
    __syncthreads();  // here""",
    ),
    Case(
        "barriers in both branches",
        "barrier divergence",
        """    if (WRONG && i % 2) {
        out[i] = 1;
        __syncthreads();  // here
        out[i + 64] = a[i];
    } else {
        __syncthreads();  // here
        out[i] = a[i + 1];
    }""",
    ),
    Case(
        "barrier in a loop of unequal length",
        "barrier divergence",
        """#pragma unroll 1
    for (int k = 0; k < (WRONG ? 1 + i / 32 : 2); ++k) {
        out[i + 64 * k] = k;
        __syncthreads();  // here
    }""",
    ),
]

WARP_WIDE = [
    Case(
        "shuffle of all by half",
        "warp divergence",
        """    uint32 x = i;
    if (!WRONG || i % 32 < 16) x = __shfl_xor_sync(0xffffffffu, x, 1);  // here
    out[i] = x;""",
    ),
    Case(
        "shuffle after some have left",
        "warp divergence",
        """    if (WRONG && i % 32 == 7) return;
    out[i] = __shfl_xor_sync(0xffffffffu, a[i], 1);  // here""",
    ),
    Case(
        "shuffle by a lane outside its mask",
        "warp divergence",
        """    out[i] = __shfl_xor_sync(WRONG ? 0x0000ffffu : 0xffffffffu, a[i], 1);  // here""",
        threads=lambda block, thread: thread % 32 >= 16,
    ),
    Case(
        "vote of all by half",
        "warp divergence",
        """    uint32 x = 0;
    if (!WRONG || a[i] % 2) x = __ballot_sync(0xffffffffu, i > 3);  // here
    out[i] = x;""",
    ),
    Case(
        "shuffle in a loop that lanes leave at different times",
        "warp divergence",
        """    uint32 x = i;
#pragma unroll 1
    for (int k = 0; k < (WRONG ? i % 4 : 3); ++k) x += __shfl_xor_sync(0xffffffffu, x, 1);  // here
    out[i] = x;""",
    ),
    Case(
        "barrier of a warp by half",
        "warp divergence",
        """    if (!WRONG || i % 32 < 16) __syncwarp();  // here
    out[i] = __shfl_xor_sync(0xffffffffu, i, 1);  // here""",
    ),
    Case(
        "ldmatrix by half a warp",
        "warp divergence",
        """    __shared__ __align__(16) uint32 s[64];
    s[i] = i;
    __syncthreads();
    uint32 d = 0;
    if (!WRONG || a[i] % 32 < 16) {"""
        + LDMATRIX
        + """
    }
    out[i] = d;""",
    ),
    Case(
        "ldmatrix after a lane has left",
        "warp divergence",
        """    __shared__ __align__(16) uint32 s[64];
    s[i] = i;
    __syncthreads();
    if (WRONG && i == 31) return;
    uint32 d;"""
        + LDMATRIX
        + """
    out[i] = d;""",
    ),
    Case(
        "mma by half a warp",
        "warp divergence",
        """    float d[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    if (!WRONG || a[i] % 2) {"""
        + MMA
        + """
    }
    out[i] = (uint32)(d[0] + d[3]);""",
    ),
    Case(
        "mma in a warp that is not whole",
        "warp divergence",
        """    float d[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    if (WRONG || i < 32) {"""
        + MMA
        + """
    }
    out[i] = (uint32)(d[0] + d[3]);""",
        block=40,
        threads=lambda block, thread: thread >= 32,
    ),
]

PLANTED = Planted([*BARRIERS, *WARP_WIDE])
test_right_twin_passes = PLANTED.test_of_twins(ARCHITECTURES)


@PLANTED.each(ARCHITECTURES)
def test_divergence_is_condemned(architecture, planted):
    PLANTED.condemned(planted, architecture)
