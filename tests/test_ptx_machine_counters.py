# SPDX-License-Identifier: Apache-2.0
"""What the PTX machine counts of kernels of a few lines, computed by hand."""

import numpy as np
import pytest

from ptx_kernels import (
    PRELUDE,
    Device,
    each_ampere,
    each_architecture,
    kernel_source,
    line_of,
    module,
)
from ptx_kernels.realistic import GemmF16
from ptx_machine import Counters

pytestmark = pytest.mark.usefixtures("nvrtc")

# Lane i of each of two warps writes to the place of its warp, counted in items of SIZE bytes.
SHARED = """
extern "C" __global__ void touch() {
    __shared__ __align__(128) uint8 shared[16384];
    const int i = threadIdx.x % 32;
    const uint8* at = shared + threadIdx.x / 32 * 8192 + SIZE * (PLACE);
    asm volatile("STORE" :: "r"((uint32)__cvta_generic_to_shared(at)) : "memory");  // store
}
"""
STORES = {
    1: "st.shared.u8 [%0], 0;",
    4: "st.shared.u32 [%0], 0;",
    8: "st.shared.u64 [%0], 0;",
    16: "st.shared.v4.u32 [%0], {0, 0, 0, 0};",
}


def counted(source, architecture, entry, block, *arguments, grid=1, shared=0):
    """Launch an entry on arrays, and return what is counted."""
    device, counters = Device(), Counters()
    passed = [device.upload(x) if x.ndim else x for x in arguments]
    built = module(PRELUDE + source, architecture)
    built.launch(entry, grid, block, passed, device.memory, shared=shared, counters=counters)
    return counters


def of_line(counters, source, mark):
    """Return what is counted of the one line with a mark in it."""
    number = line_of(PRELUDE + source, mark)
    (found,) = (counts for line, counts in counters.lines.items() if line.number == number)
    return found


@pytest.mark.parametrize(
    ("size", "place", "want", "ideal"),
    [
        (4, "i", 1, 1),
        (4, "2 * i", 2, 1),
        (4, "3 * i", 1, 1),
        (4, "32 * i", 32, 1),
        (4, "33 * i", 1, 1),
        (4, "i ^ 5", 1, 1),
        (1, "i", 1, 1),  # four lanes a word
        (1, "4 * i", 1, 1),
        (1, "8 * i", 2, 1),
        (8, "i", 2, 2),  # two phases of 16 lanes
        (8, "2 * i", 4, 2),
        (8, "16 * i", 32, 2),
        (16, "i", 4, 4),  # four phases of 8 lanes
        (16, "8 * i", 32, 4),
        (16, "4 * i", 16, 4),
        (16, "8 * i + (i & 7)", 4, 4),  # as rows of 128 bytes are swizzled
    ],
)
def test_lanes_of_a_phase_that_want_words_of_one_bank_take_turns(size, place, want, ideal):
    source = SHARED.replace("SIZE", str(size)).replace("PLACE", place)
    source = source.replace("STORE", STORES[size])
    found = of_line(counted(source, 80, "touch", 64), source, "// store").shared
    assert (found.done, found.ideal, found.excess) == (2 * want, 2 * ideal, 2 * (want - ideal))
    assert (found.accesses, found.stored, found.loaded) == (2, 64 * size, 0)


BROADCAST = """
extern "C" __global__ void read(const int* places, uint32* out) {
    __shared__ uint32 shared[1024];
    for (int i = threadIdx.x; i < 1024; i += 32) shared[i] = i;
    __syncthreads();
    out[threadIdx.x] = shared[places[threadIdx.x]];  // read
}
"""


@each_architecture
@pytest.mark.parametrize(
    ("places", "want"),
    [
        ([7] * 32, 1),
        ([i // 2 for i in range(32)], 1),
        ([5, 37] * 16, 2),
        ([5, 37, 69, 6] * 8, 3),
    ],
    ids=["one word", "pairs", "two words of a bank", "three words of a bank"],
)
def test_lanes_that_want_one_word_share_it(places, want, architecture):
    arguments = np.array(places, np.int32), np.zeros(32, np.uint32)
    found = of_line(counted(BROADCAST, architecture, "read", 32, *arguments), BROADCAST, "// read")
    assert (found.shared.done, found.shared.ideal, found.shared.loaded) == (want, 1, 128)


MATRIX = """
extern "C" __global__ void fragments(uint32* out) {
    __shared__ __align__(128) uint32 shared[16 * 32];
    const int lane = threadIdx.x;
    for (int i = lane; i < 512; i += 32) shared[i] = i;
    __syncthreads();
    const int row = lane % 16, chunk = (lane / 16) ^ (SWIZZLE);
    const uint32 at = __cvta_generic_to_shared(shared + row * 32 + chunk * 4);
    uint32 a, b, c, d;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"  // load
                 : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : "r"(at));
    out[lane] = a + b + c + d;
}
"""


@each_architecture
@pytest.mark.parametrize(("swizzle", "want"), [("0", 32), ("row % 8", 4), ("row / 2 % 4", 8)])
def test_matrix_of_rows_128_bytes_apart_needs_a_swizzle(swizzle, want, architecture):
    source = MATRIX.replace("SWIZZLE", swizzle)
    found = counted(source, architecture, "fragments", 32, np.zeros(32, np.uint32))
    found = of_line(found, source, "// load")
    assert (found.shared.done, found.shared.ideal, found.shared.loaded) == (want, 4, 512)
    assert found.instructions == {"ldmatrix": 1}


COPY = """
extern "C" __global__ void copy(const uint32* in, uint32* out, int n) {
    __shared__ __align__(16) uint32 shared[32 * 36];
    const uint32 at = __cvta_generic_to_shared(shared + threadIdx.x * PITCH);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"  // copy
                 :: "r"(at), "l"(in + 4 * threadIdx.x), "r"(threadIdx.x < n ? 16 : 0) : "memory");
    asm volatile("cp.async.wait_all;" ::: "memory");
    out[threadIdx.x] = shared[threadIdx.x * PITCH];
}
"""


@each_ampere
@pytest.mark.parametrize(("pitch", "want"), [("4", 4), ("32", 32), ("36", 4)])
def test_copies_write_shared_memory_in_phases_of_eight(pitch, want, architecture):
    source = COPY.replace("PITCH", pitch)
    arguments = np.zeros(128, np.uint32), np.zeros(32, np.uint32), np.int32(32)
    found = of_line(counted(source, architecture, "copy", 32, *arguments), source, "// copy")
    assert (found.shared.done, found.shared.ideal, found.shared.stored) == (want, 4, 512)
    assert (found.device.done, found.device.ideal, found.device.loaded) == (16, 16, 512)


@each_ampere
def test_copies_of_nothing_read_no_sector(architecture):
    source = COPY.replace("PITCH", "4")
    arguments = np.zeros(128, np.uint32), np.zeros(32, np.uint32), np.int32(6)
    found = of_line(counted(source, architecture, "copy", 32, *arguments), source, "// copy")
    assert (found.device.done, found.device.loaded, found.shared.stored) == (3, 96, 512)


SECTORS = """
extern "C" __global__ void read(const char* in, uint32* out, int step) {
    const char* at = in + threadIdx.x * step;
    out[threadIdx.x] = *reinterpret_cast<const uint32*>(at);  // read
}
"""


@each_architecture
@pytest.mark.parametrize(
    ("step", "offset", "sectors", "ideal"),
    [(4, 0, 4, 4), (4, 4, 5, 4), (8, 0, 8, 4), (32, 0, 32, 4), (0, 0, 1, 1), (64, 28, 32, 4)],
)
def test_sectors_are_those_that_a_warp_touches(step, offset, sectors, ideal, architecture):
    device, counters = Device(), Counters()
    passed = [device.upload(np.zeros(32 * 64 + 4, np.uint8), offset=offset),
              device.upload(np.zeros(32, np.uint32)), np.int32(step)]  # fmt: skip
    module(PRELUDE + SECTORS, architecture).launch(
        "read", 1, 32, passed, device.memory, counters=counters
    )
    assert (counters.device.loaded, counters.device.stored) == (128, 128)
    assert (counters.device.done, counters.device.ideal) == (sectors + 4, ideal + 4)


DIVERGENT = """
extern "C" __global__ void part(float* x, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        float y = x[i];
#pragma unroll 1
        for (int j = 0; j <= i % 32; ++j)
            asm volatile("mul.f32 %0, %0, %0;" : "+f"(y));  // multiply
        x[i] = y;
    }
}
"""


@each_architecture
@pytest.mark.parametrize("n", [1, 32, 33, 96])
def test_instruction_of_a_warp_counts_once_for_all_its_lanes(n, architecture):
    x = np.ones(96, np.float32)
    found = counted(DIVERGENT, architecture, "part", 32, x, np.int32(n), grid=3)
    warps = -(-n // 32)
    turns = sum(min(n - 32 * warp, 32) for warp in range(warps))
    assert of_line(found, DIVERGENT, "// multiply").instructions["float"] == turns


def test_guarded_instruction_counts_where_it_is_met():
    source = """
    extern "C" __global__ void guarded(uint32* out, uint32 n) {
        asm volatile("{.reg .pred p;\\n setp.lt.u32 p, %0, %1;\\n"  // compare
                     "@p st.global.u32 [%2], %0;}"
                     :: "r"(threadIdx.x), "r"(n), "l"(out + threadIdx.x) : "memory");
    }
    """
    found = counted(source, 80, "guarded", 96, np.zeros(96, np.uint32), np.uint32(33))
    assert found.instructions["global"] == 3
    assert found.instructions["branch"] == 3  # ret
    assert found.device.accesses == 2
    assert found.device.stored == 33 * 4


@each_ampere
def test_product_of_128_has_the_matrix_instructions_that_it_needs(architecture):
    product, counters = GemmF16(kernel_source("gemm_f16"), architecture, 128, 128, 128), Counters()
    product.module.launch(
        *("gemm_f16", product.grid, 256, product.arguments, product.device.memory),
        shared=product.shared, counters=counters,
    )  # fmt: skip
    assert counters.instructions["mma"] == 128**3 // (16 * 8 * 16)
    assert counters.operations == 2 * 128**3
    assert counters.device.stored == 4 * 128**2


def test_counts_of_a_loop_are_what_more_turns_add():
    one, three = (
        counted(DIVERGENT, 80, "part", 32, np.ones(96, np.float32), np.int32(n), grid=3)
        for n in (32, 96)
    )
    more = three - one
    assert more.device.loaded == 64 * 4
    assert more.instructions["global"] == 4


def test_lines_add_up_to_the_whole():
    found = counted(BROADCAST, 80, "read", 32, np.zeros(32, np.int32), np.zeros(32, np.uint32))
    whole = Counters()
    for counts in found.lines.values():
        whole.add(counts)
    assert (whole.shared, whole.device) == (found.shared, found.device)
    assert whole.instructions == found.instructions


def test_launch_without_counters_is_not_counted():
    counters, device = Counters(), Device()
    built = module(PRELUDE + BROADCAST, 80)
    passed = [device.upload(np.zeros(32, np.int32)) for _ in range(2)]
    built.launch("read", 1, 32, passed, device.memory, counters=counters)
    before = counters.shared.done
    passed = [device.upload(np.zeros(32, np.int32)) for _ in range(2)]
    built.launch("read", 1, 32, passed, device.memory)
    assert counters.shared.done == before > 0
