# SPDX-License-Identifier: Apache-2.0
"""The PTX machine condemns races: bytes that two warps touch, one of them writing, unordered."""

import pytest

from ptx_kernels import ARCHITECTURES
from ptx_kernels.planted import Case, Planted

pytestmark = pytest.mark.usefixtures("nvrtc")


def words(a, c, out):
    return range(0, 1024, 4)


RACES = [
    Case(
        "no barrier between writing and reading",
        "race",
        """    __shared__ uint32 s[64];
    s[i] = 0;
    __syncthreads();
    s[i] = i;  // here
    if (!WRONG) __syncthreads();
    out[i] = s[63 - i];  // here""",
        address=words,
    ),
    Case(
        "no barrier between reading and writing",
        "race",
        """    __shared__ uint32 s[64];
    s[i] = i;
    __syncthreads();
    const uint32 x = s[63 - i];  // here
    if (!WRONG) __syncthreads();
    s[i] = x + 1;  // here
    __syncthreads();
    out[i] = s[i];""",
        address=words,
    ),
    Case(
        "two warps write one word",
        "race",
        """    __shared__ uint32 s[2];
    if (i % 32 == 0) s[WRONG ? 0 : i / 32] = a[7];  // here
    __syncthreads();
    out[i] = s[WRONG ? 0 : i / 32];""",
        threads=lambda block, thread: thread % 32 == 0,
        address=lambda a, c, out: [0],
    ),
    Case(
        "barrier of a warp does not order two",
        "race",
        """    __shared__ uint32 s[64];
    s[i] = 0;
    __syncthreads();
    s[i] = i;  // here
    if (WRONG) __syncwarp();
    else __syncthreads();
    out[i] = s[63 - i];  // here""",
        address=words,
    ),
    Case(
        "next round writes before all have read",
        "race",
        """    __shared__ uint32 s[64];
    uint32 sum = 0;
#pragma unroll 1
    for (int k = 0; k < 3; ++k) {
        s[i] = i * k;  // here
        __syncthreads();
        sum += s[63 - i];  // here
        if (!WRONG) __syncthreads();
    }
    out[i] = sum;""",
        address=words,
    ),
    Case(
        "double buffer that is read a round too late",
        "race",
        """    __shared__ uint32 s[2][64];
    uint32 sum = 0;
#pragma unroll 1
    for (int k = 0; k < 6; ++k) {
        s[k % 2][i] = i * k;  // here
        __syncthreads();
        sum += s[(k + (WRONG && k > 1)) % 2][63 - i];  // here
    }
    out[i] = sum;""",
        address=words,
    ),
    Case(
        "vector over a byte of another warp",
        "race",
        """    __shared__ __align__(16) uint8 s[128];
    if (i < 32) ((uint32*)s)[i] = i;
    __syncthreads();
    if (i == 40) s[95 + 21 * WRONG] = 1;  // here
    if (i < 2) ((uint4*)out)[i] = ((const uint4*)s)[6 + i];  // here""",
        address=lambda a, c, out: range(112, 128),
    ),
    Case(
        "plain read beside atomics",
        "race",
        """    __shared__ uint32 count;
    if (i == 0) count = 0;
    __syncthreads();
    if (i < 32 || !WRONG) atomicAdd(&count, 1u);  // here
    if (!WRONG) __syncthreads();
    if (i >= 32 || !WRONG) out[i] = count;  // here""",
        address=lambda a, c, out: [0],
    ),
    Case(
        "barrier of another pair of warps",
        "race",
        """    __shared__ uint32 s[128];
    s[i] = 0;
    __syncthreads();
    s[i] = i;  // here
    asm volatile("barrier.sync %0, 64;" :: "r"(1 + i / 64) : "memory");
    out[i] = s[WRONG ? 127 - i : i ^ 32];  // here""",
        block=128,
        address=words,
    ),
    Case(
        "matrix of rows that another warp writes",
        "race",
        """    __shared__ __align__(16) uint32 s[64];
    s[i] = 0;
    __syncthreads();
    s[i] = i;  // here
    if (!WRONG) __syncthreads();
    uint32 d;
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"  // here
                 : "=r"(d) : "r"(on_chip(s + (i ^ 32) / 32 * 32 + i % 8 * 4)) : "memory");  // here
    out[i] = d;""",
        address=lambda a, c, out: range(256),
    ),
    Case(
        "copies of another warp without a barrier",
        "race",
        """    __shared__ uint32 s[64];
    s[i] = 0;
    __syncthreads();
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;"  // here
                 :: "r"(on_chip(s + i)), "l"(a + i) : "memory");  // here
    asm volatile("cp.async.wait_all;" ::: "memory");  // here
    if (!WRONG) __syncthreads();
    out[i] = s[63 - i];  // here""",
        since=80,
        address=words,
    ),
    Case(
        "copy over what others still read",
        "race",
        """    __shared__ uint32 s[64];
    s[i] = i;
    __syncthreads();
    out[i] = s[63 - i];  // here
    if (!WRONG) __syncthreads();
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;"  // here
                 :: "r"(on_chip(s + i)), "l"(a + i) : "memory");  // here
    asm volatile("cp.async.wait_all;" ::: "memory");""",
        since=80,
        address=words,
    ),
]

PENDING = [
    Case(
        "copy that nobody waited for",
        "pending copy",
        """    __shared__ uint32 s[64];
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;"
                 :: "r"(on_chip(s + i)), "l"(a + i) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    if (!WRONG) asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    out[i] = s[63 - i];  // here""",
        since=80,
        address=words,
    ),
    Case(
        "wait that leaves one group too many",
        "pending copy",
        """    __shared__ uint32 s[2][64];
    for (int k = 0; k < 2; ++k) {
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4;"
                     :: "r"(on_chip(s[k] + i)), "l"(a + i + k) : "memory");
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    if (WRONG) asm volatile("cp.async.wait_group 2;" ::: "memory");
    else asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncthreads();
    out[i] = s[0][63 - i];  // here
    asm volatile("cp.async.wait_all;" ::: "memory");""",
        since=80,
        address=lambda a, c, out: range(0, 256, 4),
    ),
    Case(
        "copy that belongs to no group",
        "pending copy",
        """    __shared__ uint32 s[64];
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;"
                 :: "r"(on_chip(s + i)), "l"(a + i) : "memory");
    if (!WRONG) asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    out[i] = s[63 - i];  // here""",
        since=80,
        address=words,
    ),
    Case(
        "wait after the barrier is too late for others",
        "pending copy",
        """    __shared__ uint32 s[64];
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;"
                 :: "r"(on_chip(s + i)), "l"(a + i) : "memory");
    if (!WRONG || i < 32) asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
    out[i] = s[63 - i];  // here
    asm volatile("cp.async.wait_all;" ::: "memory");""",
        since=80,
        threads=lambda block, thread: thread < 32,
        address=lambda a, c, out: range(128, 256, 4),
    ),
]

DOUBLE = [
    Case(
        "two lanes store one word",
        "double write",
        "out[WRONG ? i / 2 : i] = i;  // here",
        address=lambda a, c, out: range(out, out + 128, 4),
    ),
    Case(
        "all threads store one value",
        "double write",
        "if (WRONG || i == 0) out[0] = 1;  // here",
        address=lambda a, c, out: [out],
    ),
    Case(
        "two blocks store one word",
        "double write",
        "out[i + (WRONG ? 0 : blockIdx.x * 64)] = 1;  // here",
        grid=2,
        address=lambda a, c, out: range(out, out + 256, 4),
    ),
    Case(
        "byte within the word of another thread",
        "double write",
        """    if (i == 1) out[5] = 1;  // here
    if (i == 50) ((uint8*)out)[23 + !WRONG] = 1;  // here""",
        threads=lambda block, thread: thread in (1, 50),
        address=lambda a, c, out: range(out + 20, out + 24),
    ),
    Case(
        "vectors that overlap",
        "double write",
        "if (i < 8) *(uint2*)(out + 2 * (WRONG ? i / 2 : i)) = make_uint2(i, i);  // here",
        address=lambda a, c, out: range(out, out + 32),
    ),
    Case(
        "barrier does not share a word",
        "double write",
        """    if (i == 0) out[0] = 1;  // here
    __syncthreads();
    if (i == (WRONG ? 33 : 0)) out[0] = 2;  // here""",
        threads=lambda block, thread: thread in (0, 33),
        address=lambda a, c, out: [out],
    ),
]

PLANTED = Planted([*RACES, *PENDING, *DOUBLE])
test_right_twin_passes = PLANTED.test_of_twins(ARCHITECTURES)


@PLANTED.each(ARCHITECTURES)
def test_conflict_is_condemned(architecture, planted):
    fault = PLANTED.condemned(planted, architecture)
    if planted.kind in ("race", "double write"):
        assert fault.other is not None
        assert fault.other != fault.thread
        assert str(fault.other[1]) in str(fault)
    if planted.kind == "race":
        assert fault.other[1][0] // 32 != fault.thread[1][0] // 32
