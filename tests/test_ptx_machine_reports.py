# SPDX-License-Identifier: Apache-2.0
"""What the PTX machine says of a launch as a whole: callers, limits, many blocks, some warps."""

import numpy as np
import pytest

from ptx_kernels import PRELUDE, each_architecture, launch, line_of, module
from ptx_machine import Fault

pytestmark = pytest.mark.usefixtures("nvrtc")

SOURCE = (
    PRELUDE
    + """
__device__ __forceinline__ uint32 get(const uint32* x, int i) {
    return x[i];  // read
}
__device__ __forceinline__ uint32 twice(const uint32* x, int i) {
    return 2 * get(x, i);  // inner call
}
extern "C" __global__ void beyond(const uint32* x, uint32* out) {
    out[threadIdx.x] = twice(x, threadIdx.x + 1);  // outer call
}

extern "C" __global__ void __launch_bounds__(64) narrow(uint32* out) { out[threadIdx.x] = 1; }

extern "C" __global__ void many(uint32* out, int blocks) {
    __shared__ uint32 s;
    if (threadIdx.x == 0) s = blockIdx.x % blocks;
    __syncthreads();
    out[s * blockDim.x + threadIdx.x] = s + threadIdx.x;
}

// Warp 0 tells warp 1, which tells warp 2.
extern "C" __global__ void handed_on(uint32* out) {
    __shared__ uint32 s[96];
    const int i = threadIdx.x, warp = i / 32;
    s[i] = i;
#if WRONG
    if (warp > 0) asm volatile("barrier.sync 2, 64;" ::: "memory");
    if (warp < 2) asm volatile("barrier.sync 1, 64;" ::: "memory");
#else
    if (warp < 2) asm volatile("barrier.sync 1, 64;" ::: "memory");
    if (warp > 0) asm volatile("barrier.sync 2, 64;" ::: "memory");
#endif
    out[i] = s[warp == 2 ? i - 64 : i];
}
"""
)


@each_architecture
def test_report_names_the_lines_that_called(architecture):
    words = np.zeros(8, np.uint32)
    with pytest.raises(Fault) as caught:
        launch(module(SOURCE, architecture), "beyond", 1, 8, words, words.copy())
    marks = ("// read", "// inner call", "// outer call")
    lines = [f"test.cu line {line_of(SOURCE, mark)}" for mark in marks]
    assert caught.value.line == line_of(SOURCE, "// read")
    assert ", from ".join(lines) in str(caught.value)


@each_architecture
def test_block_larger_than_the_kernel_allows_is_refused(architecture):
    with pytest.raises(ValueError, match="narrow: 96 threads a block; at most 64"):
        launch(module(SOURCE, architecture), "narrow", 1, 96, np.zeros(96, np.uint32))


@pytest.mark.parametrize("blocks", [1, 129, 1000])
def test_grid_of_any_size_is_run(blocks):
    out = np.zeros((blocks, 256), np.uint32)
    launch(module(SOURCE, 80), "many", blocks, 256, out, np.int32(blocks))
    assert out.tolist() == (np.arange(blocks)[:, None] + np.arange(256)).tolist()


def test_double_write_is_found_between_blocks_far_apart():
    out = np.zeros((999, 256), np.uint32)
    with pytest.raises(Fault) as caught:
        launch(module(SOURCE, 80), "many", 1000, 256, out, np.int32(999))
    assert caught.value.kind == "double write"
    assert caught.value.thread == ((999, 0, 0), (0, 0, 0))
    assert caught.value.other == ((0, 0, 0), (0, 0, 0))


@each_architecture
def test_barriers_of_some_warps_order_what_came_before_them(architecture):
    out = np.zeros(96, np.uint32)
    launch(module(SOURCE, architecture, (("WRONG", 0),)), "handed_on", 1, 96, out)
    assert out.tolist() == [*range(64), *range(32)]


@each_architecture
def test_barriers_of_some_warps_in_the_wrong_order_do_not(architecture):
    with pytest.raises(Fault) as caught:
        launch(
            module(SOURCE, architecture, (("WRONG", 1),)), "handed_on", 1, 96, np.zeros(96, "u4")
        )
    assert (caught.value.kind, caught.value.address) == ("race", 0)
    assert caught.value.thread[1] == (64, 0, 0)
    assert caught.value.other[1] == (0, 0, 0)
