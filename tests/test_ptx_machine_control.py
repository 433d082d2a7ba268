# SPDX-License-Identifier: Apache-2.0
"""Control flow of the PTX machine: threads that part, meet, wait for each other, or never end."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptx_kernels import PRELUDE, each_architecture, launch, line_of, module
from ptx_kernels.programs import Program
from ptx_machine import Fault

pytestmark = pytest.mark.usefixtures("nvrtc")

# -------------------------------------------------------------------------- random programs

SEEDS = (0, 3, 4, 6, 13, 16, 21, 24)
PROGRAMS = [Program(seed, f"program{seed}") for seed in SEEDS]
SOURCE = PRELUDE + "".join(program.source() for program in PROGRAMS)
words = st.one_of(st.integers(0, 8), st.integers(0, 2**32 - 1))
threads = st.lists(st.tuples(words, words, words, words), min_size=1, max_size=70)


def run_program(program, source, architecture, values):
    out = np.zeros((len(values), 5), np.uint32)
    launch(
        module(source, architecture),
        *(program.name, -(-len(values) // 48), 48, np.array(values, np.uint32), out),
        np.int32(len(values)),
    )
    return out.tolist()


@each_architecture
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
@given(values=threads)
@settings(max_examples=8)
def test_threads_go_the_ways_that_python_goes(program, architecture, values):
    want = [program.run(x) for x in values]
    assert run_program(program, SOURCE, architecture, values) == want


@given(seed=st.integers(0, 2**32 - 1), values=threads)
@settings(max_examples=15)
def test_any_program_goes_the_ways_that_python_goes(seed, values):
    program = Program(seed, "program")
    got = run_program(program, PRELUDE + program.source(), 80, values)
    assert got == [program.run(x) for x in values]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_threads_part_in_the_programs(program):
    """The tests above are about something: 60 threads go at least 20 different ways."""
    draw = random.Random(1)
    values = [[draw.choice((draw.randrange(9), draw.getrandbits(32))) for _ in range(4)]
              for _ in range(60)]  # fmt: skip
    assert len({program.run(x)[4] for x in values}) >= 20


# --------------------------------------------------------------------- meeting inside loops

MEETINGS = (
    PRELUDE
    + """
// Every lane goes around as often as it says; those still there add up what they bring.
extern "C" __global__ void dwindling(const uint32* rounds, uint32* out) {
    const uint32 i = blockIdx.x * blockDim.x + threadIdx.x, lane = i % 32;
    uint32 mask = __ballot_sync(0xffffffffu, rounds[i] > 0), sum = 0;
    for (uint32 k = 0; k < rounds[i]; ++k) {
        const uint32 first = __ffs(mask) - 1;
        sum = sum * 3 + __shfl_sync(mask, lane + k, first) + __popc(mask);
        mask = __ballot_sync(mask, rounds[i] > k + 1);
    }
    out[i] = sum;
}

// The two halves of a warp exchange values apart from each other, in loops of different lengths.
extern "C" __global__ void halves(const uint32* x, uint32* out) {
    const uint32 i = blockIdx.x * blockDim.x + threadIdx.x, lane = i % 32;
    uint32 a = x[i];
    if (lane < 16) {
#pragma unroll 1
        for (int d = 8; d; d /= 2) a += __shfl_xor_sync(0x0000ffffu, a, d);
    } else if (lane < 24) {
        a = __shfl_down_sync(0x00ff0000u, a, 3, 8);
    } else {
        if (lane == 30) a = 1;
        __syncwarp(0xff000000u);
        a = __shfl_sync(0xff000000u, a, 30);
    }
    out[i] = a;
}

// Blocks go around a barrier as often as they say.
extern "C" __global__ void rounds(const int32* counts, uint32* out) {
    __shared__ uint32 line[100];
    const int i = threadIdx.x, n = blockDim.x;
    line[i] = i;
    for (int k = 0; k < counts[blockIdx.x]; ++k) {
        __syncthreads();
        const uint32 next = line[(i + 1) % n];
        __syncthreads();
        line[i] = next * 2 + k;
    }
    out[blockIdx.x * n + i] = line[i];
}

// Threads that are done leave; the barrier counts those that are left, in whole warps.
extern "C" __global__ void leaving(const uint32* x, uint32* out) {
    const int i = threadIdx.x;
    if (i >= 64) {
        out[i] = x[i];
        return;
    }
    __shared__ uint32 line[64];
    line[i] = x[i];
    asm volatile("barrier.sync 1, 64;" ::: "memory");
    out[i] = line[63 - i];
}
"""
)


@each_architecture
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_lanes_meet_in_a_loop_that_some_have_left(architecture, seed):
    draw = random.Random(seed)
    rounds = [[draw.choice((0, 1, 2, draw.randrange(12))) for _ in range(32)] for _ in range(3)]
    out = np.zeros((3, 32), np.uint32)
    built = module(MEETINGS, architecture)
    launch(built, "dwindling", 1, 96, np.array(rounds, np.uint32), out)
    for warp, counts in enumerate(rounds):
        want = [0] * 32
        for k in range(max(counts)):
            there = [lane for lane in range(32) if counts[lane] > k]
            for lane in there:
                want[lane] = (want[lane] * 3 + there[0] + k + len(there)) % 2**32
        assert out[warp].tolist() == want


@each_architecture
def test_parts_of_a_warp_exchange_values_apart(architecture):
    x = [[random.Random(7).getrandbits(30) for _ in range(32)] for _ in range(2)]
    out = np.zeros((2, 32), np.uint32)
    launch(module(MEETINGS, architecture), "halves", 1, 64, np.array(x, np.uint32), out)
    for before, after in zip(x, out.tolist(), strict=True):
        middle = [before[i + 3] if i + 3 < 24 else before[i] for i in range(16, 24)]
        assert after == [sum(before[:16]) % 2**32] * 16 + middle + [1] * 8


@each_architecture
@pytest.mark.parametrize("size", [1, 33, 64, 100])
def test_barrier_in_a_loop_is_met_every_time(size, architecture):
    counts = [0, 1, 2, 7]
    out = np.zeros((len(counts), size), np.uint32)
    built = module(MEETINGS, architecture)
    launch(built, "rounds", len(counts), size, np.array(counts, np.int32), out)
    for count, got in zip(counts, out.tolist(), strict=True):
        line = list(range(size))
        for k in range(count):
            line = [(line[(i + 1) % size] * 2 + k) % 2**32 for i in range(size)]
        assert got == line


@each_architecture
def test_barrier_of_some_warps_does_not_wait_for_the_others(architecture):
    x, out = np.arange(1000, 1100, dtype=np.uint32), np.zeros(100, np.uint32)
    launch(module(MEETINGS, architecture), "leaving", 1, 100, x, out)
    assert out.tolist() == [*range(1063, 999, -1), *range(1064, 1100)]


# ------------------------------------------------------------------ waiting for each other

WAITING = (
    PRELUDE
    + """
// A lock for every thread of every block; whoever has it is alone between reading and writing.
extern "C" __global__ void locked(uint32* lock, uint32* value) {
    bool done = false;
    while (!done) {
        if (atomicCAS(lock, 0u, 1u) == 0) {
            const uint32 seen = atomicAdd(value, 0u);
            atomicExch(value, seen * 3 + 1);
            __threadfence();
            atomicExch(lock, 0u);
            done = true;
        }
    }
}

// The same, holding the loop's other lanes up: they spin until the lane that has it lets go.
extern "C" __global__ void spinning(uint32* lock, uint32* value) {
    while (atomicCAS(lock, 0u, 1u) != 0) {
    }
    const uint32 seen = atomicAdd(value, 0u);
    atomicExch(value, seen * 3 + 1);
    __threadfence();
    atomicExch(lock, 0u);
}

// Thread i waits for thread i + 1, of the same warp, of the next, or of the next block.
extern "C" __global__ void chain(uint32* turn, uint32* out, uint32 n) {
    const uint32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i + 1 < n) {
        while (atomicAdd(turn, 0u) != i + 1) {
        }
    }
    out[i] = atomicExch(turn, i);
}

// The last block to finish sums what all have left.
extern "C" __global__ void last(const uint32* x, uint32* parts, uint32* done, uint32* sum) {
    __shared__ bool mine;
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = x[blockIdx.x] * 2;
        __threadfence();
        mine = atomicAdd(done, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (mine && threadIdx.x == 0) {
        uint32 total = 0;
        for (int i = 0; i < gridDim.x; ++i) total += *(volatile uint32*)(parts + i);
        *sum = total;
    }
}

extern "C" __global__ void endless(volatile uint32* x) {
    while (x[threadIdx.x] != 7) {  // endless
    }
    x[threadIdx.x] = 8;
}

extern "C" __global__ void awaited(uint32* flag) {
    if (threadIdx.x >= 32) {
        asm volatile("barrier.sync 1, 64;" ::: "memory");  // one
        atomicExch(flag, 1u);
    } else {
        asm volatile("barrier.sync 2, 64;" ::: "memory");  // two
    }
}
"""
)


@each_architecture
@pytest.mark.parametrize("kernel", ["locked", "spinning"])
def test_lock_admits_one_thread_at_a_time(kernel, architecture):
    lock, value = np.zeros(1, np.uint32), np.ones(1, np.uint32)
    launch(module(WAITING, architecture), kernel, 3, 40, lock, value)
    want = 1
    for _ in range(120):
        want = (want * 3 + 1) % 2**32
    assert (lock.tolist(), value.tolist()) == ([0], [want])


@each_architecture
def test_every_thread_gets_its_turn(architecture):
    n = 3 * 40
    turn, out = np.array([n], np.uint32), np.zeros(n, np.uint32)
    launch(module(WAITING, architecture), "chain", 3, 40, turn, out, np.uint32(n))
    assert out.tolist() == list(range(1, n + 1))


@each_architecture
def test_last_block_sees_what_all_have_left(architecture):
    x, done, total = (
        np.arange(5, 22, dtype=np.uint32),
        np.zeros(1, np.uint32),
        np.zeros(1, np.uint32),
    )
    launch(module(WAITING, architecture), "last", 17, 64, x, np.zeros_like(x), done, total)
    assert total.tolist() == [2 * sum(range(5, 22))]


@each_architecture
def test_loop_without_an_end_is_reported(architecture):
    with pytest.raises(Fault) as caught:
        launch(module(WAITING, architecture), "endless", 1, 64, np.zeros(64, np.uint32))
    assert (caught.value.kind, caught.value.kernel) == ("runaway", "endless")
    assert caught.value.line in (line_of(WAITING, "// endless"), line_of(WAITING, "// endless") + 1)


@each_architecture
def test_threads_that_wait_for_each_other_are_reported(architecture):
    with pytest.raises(Fault) as caught:
        launch(module(WAITING, architecture), "awaited", 1, 64, np.zeros(1, np.uint32))
    assert (caught.value.kind, caught.value.kernel) == ("deadlock", "awaited")
    assert caught.value.line in (line_of(WAITING, "// one"), line_of(WAITING, "// two"))
