# SPDX-License-Identifier: Apache-2.0
"""The PTX machine condemns misaligned accesses, and reads of shared bytes that nobody wrote."""

import pytest

from ptx_kernels import ARCHITECTURES
from ptx_kernels.planted import Case, Planted

pytestmark = pytest.mark.usefixtures("nvrtc")


def bytes_of(start, count):
    return range(start, start + count)


MISALIGNED = [
    Case(
        "word at an even address",
        "misaligned",
        "if (i < 9) out[i] = *(const uint32*)((const char*)(a + i) + 2 * WRONG);  // here",
        threads=lambda block, thread: thread < 9,
        address=lambda a, c, out: range(a + 2, a + 38, 4),
    ),
    Case(
        "vector at a word",
        "misaligned",
        "if (i < 9) ((uint4*)out)[i] = *(const uint4*)(a + 4 * i + WRONG);  // here",
        address=lambda a, c, out: range(a + 4, a + 148, 16),
    ),
    Case(
        "vector store at a word",
        "misaligned",
        "if (i == 5) *(uint2*)(out + 4 + WRONG) = make_uint2(1, 2);  // here",
        threads=lambda block, thread: thread == 5,
        address=lambda a, c, out: [out + 20],
    ),
    Case(
        "shared vector at a word",
        "misaligned",
        """    __shared__ __align__(16) uint32 s[130];
    s[2 * i] = s[2 * i + 1] = i;
    if (i < 2) s[128 + i] = 0;
    __syncthreads();
    const uint2 x = *(const uint2*)(s + 2 * (i ^ 32) + WRONG);  // here
    out[i] = x.x + x.y;""",
        address=lambda a, c, out: range(4, 516, 8),
    ),
    Case(
        "atomic at an even address",
        "misaligned",
        "if (i == 3) atomicAdd((uint32*)((char*)a + 2 * WRONG), 1u);  // here",
        threads=lambda block, thread: thread == 3,
        address=lambda a, c, out: [a + 2],
    ),
    Case(
        "ldmatrix of rows that are not aligned",
        "misaligned",
        """    __shared__ __align__(16) uint16 s[8 * 8 + 8];
    s[i] = i;
    if (i < 8) s[64 + i] = i;
    __syncthreads();
    uint32 d;
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"  // here
                 : "=r"(d) : "r"(on_chip(s + i % 8 * 8 + 4 * WRONG)));  // here
    out[i] = d;""",
        address=lambda a, c, out: range(8, 136, 16),
    ),
    Case(
        "asynchronous copy from a word",
        "misaligned",
        """    __shared__ __align__(16) uint32 s[4 * 64];
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"  // here
                 :: "r"(on_chip(s + 4 * i)), "l"(a + i % 20 * 4 + WRONG));  // here
    asm volatile("cp.async.wait_all;");""",
        since=80,
        address=lambda a, c, out: range(a + 4, a + 400, 16),
    ),
    Case(
        "asynchronous copy to a word",
        "misaligned",
        """    __shared__ __align__(16) uint32 s[4 * 65];
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"  // here
                 :: "r"(on_chip(s + 4 * i + WRONG)), "l"(a + i % 20 * 4));  // here
    asm volatile("cp.async.wait_all;");""",
        since=80,
        address=lambda a, c, out: range(4, 1040, 16),
    ),
]

UNINITIALIZED = [
    Case(
        "word that one thread forgot",
        "uninitialized shared",
        """    __shared__ uint32 s[64];
    if (!WRONG || i != 5) s[i] = i;
    __syncthreads();
    out[i] = s[63 - i];  // here""",
        threads=lambda block, thread: thread == 58,
        address=lambda a, c, out: [20],
    ),
    Case(
        "last byte of a word",
        "uninitialized shared",
        """    __shared__ __align__(4) uint8 s[256];
    for (int k = 0; k < (i == 9 ? 4 - WRONG : 4); ++k) s[4 * i + k] = k;
    __syncthreads();
    out[i] = ((const uint32*)s)[63 - i];  // here""",
        threads=lambda block, thread: thread == 54,
        address=lambda a, c, out: bytes_of(36, 4),
    ),
    Case(
        "what another block wrote",
        "uninitialized shared",
        """    __shared__ uint32 s[64];
    if (!WRONG || blockIdx.x == 0) s[i] = i;
    __syncthreads();
    out[blockIdx.x * 64 + i] = s[63 - i];  // here""",
        grid=2,
        threads=lambda block, thread: block == 1,
        address=lambda a, c, out: range(0, 256, 4),
    ),
    Case(
        "counter that starts nowhere",
        "uninitialized shared",
        """    __shared__ uint32 count;
    if (!WRONG && i == 0) count = 0;
    __syncthreads();
    atomicAdd(&count, 1u);  // here""",
        address=lambda a, c, out: [0],
    ),
    Case(
        "row of a matrix",
        "uninitialized shared",
        """    __shared__ __align__(16) uint32 s[32];
    if (i < (WRONG ? 28 : 32)) s[i] = i;
    __syncthreads();
    uint32 d;
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"  // here
                 : "=r"(d) : "r"(on_chip(s + i % 8 * 4)));  // here
    out[i] = d;""",
        address=lambda a, c, out: bytes_of(112, 16),
    ),
    Case(
        "dynamic shared memory",
        "uninitialized shared",
        """    extern __shared__ uint32 s[];
    if (!WRONG || i < 63) s[i] = i;
    __syncthreads();
    out[i] = s[63 - i];  // here""",
        shared=256,
        threads=lambda block, thread: thread == 0,
        address=lambda a, c, out: [252],
    ),
]

PLANTED = Planted([*MISALIGNED, *UNINITIALIZED])
test_right_twin_passes = PLANTED.test_of_twins(ARCHITECTURES)


@PLANTED.each(ARCHITECTURES)
def test_misaligned_or_unwritten_bytes_are_condemned(architecture, planted):
    PLANTED.condemned(planted, architecture)
