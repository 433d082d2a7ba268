# SPDX-License-Identifier: Apache-2.0
"""The PTX machine condemns accesses beyond what was allocated."""

import numpy as np
import pytest

from ptx_kernels import ARCHITECTURES, PRELUDE, Device, each_architecture, line_of, module
from ptx_kernels.planted import Case, Planted
from ptx_machine import Fault

pytestmark = pytest.mark.usefixtures("nvrtc")


def bytes_of(start, count):
    return range(start, start + count)


OUT_OF_BOUNDS = [
    Case(
        "load one past the end",
        "out of bounds",
        "out[i] = a[i + WRONG];  // here",
        block=100,
        threads=lambda block, thread: thread == 99,
        address=lambda a, c, out: [a + 400],
    ),
    Case(
        "store one before the start",
        "out of bounds",
        "out[i - WRONG] = i;  // here",
        threads=lambda block, thread: thread == 0,
        address=lambda a, c, out: [out - 4],
    ),
    Case(
        "vector that only begins inside",
        "out of bounds",
        "if (i < 6 + WRONG) ((uint4*)out)[i] = ((const uint4*)c)[i];  // here",
        threads=lambda block, thread: thread == 6,
        address=lambda a, c, out: bytes_of(c + 96, 16),
    ),
    Case(
        "load from a null pointer",
        "out of bounds",
        "out[i] = *(WRONG ? null + i : a + i);  // here",
        address=lambda a, c, out: range(0, 256, 4),
    ),
    Case(
        "index that is negative in 64 bits",
        "out of bounds",
        "out[i] = a[(int64)i - WRONG * 1000000000ll];  // here",
        address=lambda a, c, out: range(a - 4 * 10**9, a - 4 * 10**9 + 256, 4),
    ),
    Case(
        "atomic beyond the end",
        "out of bounds",
        "atomicAdd(a + (i == 7 ? 99 + WRONG : 0), 1u);  // here",
        threads=lambda block, thread: thread == 7,
        address=lambda a, c, out: [a + 400],
    ),
    Case(
        "last block of a grid without a bound",
        "out of bounds",
        """    const int k = blockIdx.x * 32 + i;
    if (WRONG || k < 100) out[k] = a[k];  // here""",
        block=32,
        grid=4,
        threads=lambda block, thread: (block, thread) >= (3, 4) and block == 3,
        address=lambda a, c, out: range(a + 400, a + 512, 4),
    ),
    Case(
        "shared load beyond the arrays",
        "out of bounds",
        """    __shared__ uint32 s[64];
    s[i] = i;
    __syncthreads();
    out[i] = s[(i ^ 1) + WRONG];  // here""",
        threads=lambda block, thread: thread == 62,
        address=lambda a, c, out: [256],
    ),
    Case(
        "shared store beyond the arrays",
        "out of bounds",
        """    __shared__ uint32 s[64];
    s[(i + 31) % 64 + WRONG] = a[i];  // here
    __syncthreads();
    out[i] = s[i];""",
        threads=lambda block, thread: thread == 32,
        address=lambda a, c, out: [256],
    ),
    Case(
        "dynamic shared memory is smaller than thought",
        "out of bounds",
        """    extern __shared__ uint32 s[];
    s[i + WRONG] = i;  // here
    __syncthreads();
    out[i] = s[i];""",
        shared=256,
        threads=lambda block, thread: thread == 63,
        address=lambda a, c, out: [256],
    ),
    Case(
        "local array beyond its end",
        "out of bounds",
        """    uint32 local[6];
    for (int k = 0; k < 6; ++k) local[(k + i) % 6] = a[k];
    out[i] = local[i % 6 + WRONG];  // here""",
        threads=lambda block, thread: thread % 6 == 5,
    ),
    Case(
        "constant array beyond its end",
        "out of bounds",
        "out[i] = table[i % 4 + WRONG];  // here",
        threads=lambda block, thread: thread % 4 == 3,
    ),
]

PLANTED = Planted(OUT_OF_BOUNDS)
test_right_twin_passes = PLANTED.test_of_twins(ARCHITECTURES)


@PLANTED.each(ARCHITECTURES)
def test_access_out_of_bounds_is_condemned(architecture, planted):
    PLANTED.condemned(planted, architecture)


# ------------------------------------------------------------------------------ allocations

COPY = (
    PRELUDE
    + """
extern "C" __global__ void copy(const uint2* x, uint2* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i];  // copy
}
"""
)


def run_copy(architecture, n, **where):
    """Copy n pairs of words between arrays of 50 pairs."""
    device = Device()
    x = device.upload(np.zeros(50, np.uint64), **where)
    y = device.upload(np.zeros(50, np.uint64))
    module(COPY, architecture).launch("copy", 2, 40, [x, y, np.int32(n)], device.memory)


@each_architecture
@pytest.mark.parametrize("offset", [0, 8, 248])
def test_array_may_start_wherever_its_items_are_aligned(offset, architecture):
    run_copy(architecture, 50, align=256, offset=offset)


@each_architecture
def test_array_that_starts_between_items_is_misaligned(architecture):
    with pytest.raises(Fault) as caught:
        run_copy(architecture, 50, align=256, offset=4)
    assert (caught.value.kind, caught.value.line) == ("misaligned", line_of(COPY, "// copy"))


@each_architecture
def test_end_of_an_array_at_an_offset_is_known_to_the_byte(architecture):
    with pytest.raises(Fault) as caught:
        run_copy(architecture, 51, align=256, offset=248)
    assert (caught.value.kind, caught.value.thread) == ("out of bounds", ((1, 0, 0), (10, 0, 0)))


@each_architecture
def test_array_that_was_freed_is_out_of_bounds(architecture):
    device = Device()
    x, y = (device.upload(np.zeros(50, np.uint64)) for _ in "xy")
    device.memory.free(x)
    with pytest.raises(Fault) as caught:
        module(COPY, architecture).launch("copy", 2, 40, [x, y, np.int32(50)], device.memory)
    assert caught.value.kind == "out of bounds"
    assert caught.value.address in range(x, x + 400, 8)
