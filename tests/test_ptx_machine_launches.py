# SPDX-License-Identifier: Apache-2.0
"""Launches on the PTX machine: grids and blocks of any shape, shared memory, kinds of arguments."""

import itertools

import numpy as np
import pytest

from ptx_kernels import ARCHITECTURES, PRELUDE, each_architecture, launch, module
from ptx_machine import Memory, Module, UnknownInstruction

pytestmark = pytest.mark.usefixtures("nvrtc")

SOURCE = (
    PRELUDE
    + """
extern "C" __global__ void places(uint32* out) {
    const uint32 threads = blockDim.x * blockDim.y * blockDim.z;
    const uint32 thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const uint32 block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    out += (block * threads + thread) * 16;
    const uint32 seen[] = {threadIdx.x, threadIdx.y, threadIdx.z, blockIdx.x, blockIdx.y,
                           blockIdx.z,  blockDim.x,  blockDim.y,  blockDim.z, gridDim.x,
                           gridDim.y,   gridDim.z};
    for (int i = 0; i < 12; ++i) out[i] = seen[i];
    asm("mov.u32 %0, %%laneid;" : "=r"(out[12]));
    asm("mov.u32 %0, %%lanemask_lt;" : "=r"(out[13]));
    asm("mov.u32 %0, %%lanemask_ge;" : "=r"(out[14]));
    out[15] = __shfl_sync(__activemask(), thread, 0);
}

// Static arrays, of odd sizes, beside a dynamic one.
extern "C" __global__ void arrays(uint32* out, int size) {
    __shared__ uint8 first[3];
    __shared__ double second[5];
    __shared__ uint16 third[7];
    extern __shared__ __align__(16) uint8 dynamic[];
    const int i = threadIdx.x, n = blockDim.x;
    for (int k = i; k < 3; k += n) first[k] = 10 + k;
    for (int k = i; k < 5; k += n) second[k] = 1000.0 * k + blockIdx.x;
    for (int k = i; k < 7; k += n) third[k] = 500 + k;
    for (int k = i; k < size; k += n) dynamic[k] = (uint8)(k * 7 + blockIdx.x);
    __syncthreads();
    uint32 sum = first[i % 3] + (uint32)second[i % 5] + third[i % 7];
    for (int k = 0; k < size; ++k) sum = sum * 31 + dynamic[k];
    out[blockIdx.x * n + i] = sum;
}

struct Layout {
    int64 shape[3];
    uint8 tag;
    float scale;
    int16 offsets[5];
    const int32* where;
};

extern "C" __global__ void arguments(Layout layout, int8 a, uint16 b, int64 c, double d, float e,
                                     bool f, int64* out) {
    const int i = threadIdx.x;
    const int64 values[] = {layout.shape[0], layout.shape[2],         layout.tag,
                            (int64)(layout.scale * 4), layout.offsets[i % 5], layout.where[i],
                            a,               b,                       c,
                            (int64)d,        (int64)(e * 8),          f,
                            layout.shape[i % 3]};
    for (int k = 0; k < 13; ++k) out[i * 13 + k] = values[k];
}
"""
)
SHAPES = [
    (1, 1),
    (3, 33),
    ((2, 3), (5, 7)),
    ((2, 2, 3), (3, 4, 5)),
    ((1, 1, 4), (1, 1, 64)),
    (2, (1, 1024)),
    ((1, 5, 1), (32, 2, 2)),
]


def three(size):
    return (*(size if isinstance(size, tuple) else (size,)), 1, 1)[:3]


@each_architecture
@pytest.mark.parametrize(("grid", "block"), SHAPES, ids=str)
def test_threads_know_their_places(grid, block, architecture):
    (bx, by, bz), (gx, gy, gz) = three(block), three(grid)
    threads = bx * by * bz
    out = np.zeros((gx * gy * gz * threads, 16), np.uint32)
    launch(module(SOURCE, architecture), "places", grid, block, out)
    places = itertools.product(*map(range, (gz, gy, gx, bz, by, bx)))
    for n, (cz, cy, cx, tz, ty, tx) in enumerate(places):
        lane = n % threads % 32
        assert out[n].tolist() == [
            *(tx, ty, tz, cx, cy, cz, bx, by, bz, gx, gy, gz),
            *(lane, 2**lane - 1, 2**32 - 2**lane, n % threads - lane),
        ]


@each_architecture
@pytest.mark.parametrize("size", [0, 1, 16, 1000])
@pytest.mark.parametrize("threads", [1, 31, 65])
def test_shared_arrays_lie_apart_from_each_other(threads, size, architecture):
    out = np.zeros((3, threads), np.uint32)
    built = module(SOURCE, architecture)
    launch(built, "arrays", 3, threads, out, np.int32(size), shared=size)
    for block, thread in np.ndindex(out.shape):
        want = 10 + thread % 3 + 1000 * (thread % 5) + block + 500 + thread % 7
        for k in range(size):
            want = (want * 31 + (k * 7 + block) % 256) % 2**32
        assert out[block, thread] == want


@each_architecture
def test_arguments_of_every_kind_arrive(architecture):
    dtype = [
        ("shape", "i8", 3),
        ("tag", "u1"),
        ("scale", "f4"),
        ("offsets", "i2", 5),
        ("where", "u8"),
    ]
    layout = np.zeros(1, np.dtype(dtype, align=True))
    memory = Memory()
    where, out = memory.allocate(4 * 40), memory.allocate(8 * 13 * 40)
    memory.view(where, 160).view(np.int32)[:] = range(-20, 20)
    layout[0] = ((2**40, 2, -3), 255, -1.25, (1, -2, 3, -4, 5), where)
    scalars = (np.int8(-128), np.uint16(65535), np.int64(-(2**62)), np.float64(-7.5))
    more = (np.float32(0.375), np.bool_(True), out)
    module(SOURCE, architecture).launch("arguments", 1, 40, [layout, *scalars, *more], memory)
    got = memory.view(out, 8 * 13 * 40).view(np.int64).reshape(40, 13)
    for i, row in enumerate(got.tolist()):
        assert row == [
            *(2**40, -3, 255, -5, (1, -2, 3, -4, 5)[i % 5], i - 20),
            *(-128, 65535, -(2**62), -7, 3, 1, (2**40, 2, -3)[i % 3]),
        ]


@each_architecture
def test_address_may_be_a_python_integer_at_any_offset(architecture):
    memory = Memory()
    address = memory.allocate(64 * 40, align=256, offset=16)
    assert address % 256 == 16
    assert bytes(memory.view(address, 64 * 40)) == b"\xff" * (64 * 40)
    module(SOURCE, architecture).launch("places", 1, 40, [address], memory)
    assert memory.view(address, 64 * 40).view(np.uint32)[16] == 1


# --------------------------------------------------------------------- what is not understood

PTX = """
.version 8.0
.target sm_80
.address_size 64
.visible .entry kernel(.param .u64 out)
{
    .reg .b32 %r<4>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [out];
    mov.u32 %r1, 5;
    INSTRUCTION
    st.global.u32 [%rd1], %r2;
    ret;
}
"""


@pytest.mark.parametrize(
    "instruction",
    [
        "frobnicate.u32 %r2, %r1;",
        "add.sideways.u32 %r2, %r1, %r1;",
        "ld.elsewhere.u32 %r2, [%rd1];",
        "tex.1d.v4.f32.f32 %r2, [%rd1];",
    ],
)
def test_unknown_instruction_is_named_and_never_guessed(instruction):
    with pytest.raises(UnknownInstruction, match=instruction.split()[0].replace(".", r"\.")):
        Module(PTX.replace("INSTRUCTION", instruction))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hand_written_text_runs(architecture):
    text = PTX.replace("sm_80", f"sm_{architecture}").replace("INSTRUCTION", "add.u32 %r2, %r1, 1;")
    memory = Memory()
    address = memory.allocate(4)
    Module(text).launch("kernel", 1, 1, [address], memory)
    assert memory.view(address, 4).view(np.uint32)[0] == 6
