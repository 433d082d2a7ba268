# SPDX-License-Identifier: Apache-2.0
"""Atomic instructions of the PTX machine: lanes that collide are served one after another."""

import functools
import random
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptx_kernels import PRELUDE, each_architecture, launch, module
from ptx_kernels.instructions import REGISTERS, decoded, encoded

pytestmark = pytest.mark.usefixtures("nvrtc")

BLOCK, CELLS = 72, 4


class Atomic(NamedTuple):
    """An operation: what a cell holds after it, from what it held and one or two operands."""

    name: str
    kind: str
    update: object

    def __str__(self):
        return f"{self.name}.{self.kind}"


def atomics():
    for kind in ("u32", "s32", "u64", "f32", "f64"):
        yield Atomic("add", kind, lambda old, b, c: old + b)
    for kind in ("u32", "s32", "u64", "s64"):
        yield Atomic("min", kind, lambda old, b, c: min(old, b))
        yield Atomic("max", kind, lambda old, b, c: max(old, b))
    for kind in ("b32", "b64"):
        yield Atomic("and", kind, lambda old, b, c: old & b)
        yield Atomic("or", kind, lambda old, b, c: old | b)
        yield Atomic("xor", kind, lambda old, b, c: old ^ b)
        yield Atomic("exch", kind, lambda old, b, c: b)
        yield Atomic("cas", kind, lambda old, b, c: c if old == b else old)
    yield Atomic("inc", "u32", lambda old, b, c: 0 if old >= b else old + 1)
    yield Atomic("dec", "u32", lambda old, b, c: b if old == 0 or old > b else old - 1)


ATOMICS = tuple(atomics())

_KERNEL = """
extern "C" __global__ void atomics(const int32* cell, const int64* b, const int64* c,
                                   uint64* cells, uint64* old, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    __shared__ uint64 shared[CELLS];
"""
# Cells are each block's own where they are shared.
_STATEMENT = """
    {{
        {c_type} d;
        uint64* mine = cells + {place} * CELLS;
#if SHARED
        mine += blockIdx.x * {count} * CELLS;
        if (threadIdx.x < CELLS) shared[threadIdx.x] = mine[threadIdx.x];
        __syncthreads();
        const uint64 target = __cvta_generic_to_shared(shared);
#else
        const uint64 target = (uint64)mine;
#endif
        if (i < n) {{
            asm volatile("{opcode} %0, [%1], {places};" : "={constraint}"(d)
                         : "l"(target + cell[i] * 8), {operands} : "memory");
            *({c_type}*)(old + {place} * n + i) = d;
        }}
#if SHARED
        __syncthreads();
        if (threadIdx.x < CELLS) mine[threadIdx.x] = shared[threadIdx.x];
#endif
    }}"""


def source_of(space):
    lines = [PRELUDE, _KERNEL]
    for place, atomic in enumerate(ATOMICS):
        constraint, c_type, _ = REGISTERS[atomic.kind]
        names = "bc" if atomic.name == "cas" else "b"
        text = _STATEMENT.format(
            place=place,
            count=len(ATOMICS),
            c_type=c_type,
            constraint=constraint,
            opcode=f"atom{space}.{atomic}",
            places=", ".join(f"%{i + 2}" for i in range(len(names))),
            operands=", ".join(f'"{constraint}"(({c_type}){x}[i])' for x in names),
        )
        lines.append(text)
    return "\n".join([*lines, "}"])


def slot(value, kind):
    return encoded(float(value) if kind[0] == "f" else value, kind)


class Run:
    """A launch of all operations on small whole numbers, of which floats have exact sums."""

    def __init__(self, space, architecture, seed, lanes) -> None:
        draw = random.Random(seed)
        self.groups = -(-lanes // BLOCK) if space == ".shared" else 1
        self.cell = [draw.randrange(CELLS) for _ in range(lanes)]
        self.b, self.c = ([draw.randrange(-3, 9) for _ in range(lanes)] for _ in "bc")
        start = [draw.randrange(-3, 9) for _ in range(self.groups * CELLS)]
        self.before = np.array(
            [[slot(x, atomic.kind) for x in start] for atomic in ATOMICS], np.uint64
        ).reshape(len(ATOMICS), self.groups, CELLS)
        cells = self.before.swapaxes(0, 1).copy()
        self.old = np.zeros((len(ATOMICS), lanes), np.uint64)
        defines = (("CELLS", CELLS), ("SHARED", int(space == ".shared")))
        launch(
            module(source_of(space), architecture, defines),
            *("atomics", -(-lanes // BLOCK), BLOCK, np.array(self.cell, np.int32)),
            *(np.array(self.b), np.array(self.c), cells, self.old, np.int32(lanes)),
        )
        self.after = cells.swapaxes(0, 1)

    def lawless(self, atomic):
        """Return the cells whose history no order of the lanes explains."""
        place = ATOMICS.index(atomic)
        steps = {(group, cell): [] for group in range(self.groups) for cell in range(CELLS)}
        for lane, cell in enumerate(self.cell):
            group = lane // BLOCK if self.groups > 1 else 0
            old = int(self.old[place, lane])
            operands = (decoded(slot(x[lane], atomic.kind), atomic.kind) for x in (self.b, self.c))
            new = encoded(atomic.update(decoded(old, atomic.kind), *operands), atomic.kind)
            steps[group, cell].append((old, new))
        return [
            where
            for where, taken in steps.items()
            if not in_some_order(
                int(self.before[place][where]), int(self.after[place][where]), taken
            )
        ]


def in_some_order(first, last, steps):
    """Return whether steps from one value to another form one path that takes each of them once.

    That is Euler's question: no value is left more or less often than it is reached, but for the
    ends, and all steps hang together.
    """
    balance = Counter({first: 1})
    balance[last] -= 1
    reached = {first}
    for old, new in steps:
        balance[old] -= 1
        balance[new] += 1
    left = list(steps)
    while joined := [step for step in left if step[0] in reached or step[1] in reached]:
        reached.update(value for step in joined for value in step)
        left = [step for step in left if step not in joined]
    return not left and not any(balance.values())


SPACES = (".global", ".shared", "")
run = functools.cache(Run)


@each_architecture
@pytest.mark.parametrize("space", SPACES, ids=["global", "shared", "generic"])
@pytest.mark.parametrize("atomic", ATOMICS, ids=str)
def test_colliding_lanes_are_served_in_some_order(atomic, space, architecture):
    assert run(space, architecture, 1, 3 * BLOCK - 5).lawless(atomic) == []


@pytest.mark.parametrize("space", SPACES[:2], ids=["global", "shared"])
@given(seed=st.integers(0, 2**32 - 1), lanes=st.integers(1, 4 * BLOCK))
@settings(max_examples=15)
def test_any_lanes_are_served_in_some_order(space, seed, lanes):
    done = Run(space, 80, seed, lanes)
    assert {str(x): done.lawless(x) for x in ATOMICS if done.lawless(x)} == {}


@pytest.mark.parametrize(
    ("first", "last", "steps", "possible"),
    [
        (0, 3, [(1, 3), (0, 1)], True),
        (0, 0, [(0, 1), (1, 0), (0, 2), (2, 0)], True),
        (0, 2, [(0, 1), (0, 2)], False),  # both found the first value
        (0, 1, [(0, 1), (5, 5)], False),  # a value that was never there
        (0, 2, [(0, 1)], False),  # the last value is nobody's
    ],
)
def test_order_of_steps_is_judged(first, last, steps, possible):
    assert in_some_order(first, last, steps) == possible


# ------------------------------------------------------------------------------ in kernels

KERNELS = (
    PRELUDE
    + """
__device__ float atomic_max(float* p, float x) {  // of any sign, by compare and swap
    uint32* bits = (uint32*)p;
    uint32 old = __float_as_uint(-INFINITY);  // a guess, which the first exchange corrects
    while (__uint_as_float(old) < x) {
        const uint32 seen = atomicCAS(bits, old, __float_as_uint(x));
        if (seen == old) break;
        old = seen;
    }
    return __uint_as_float(old);
}

extern "C" __global__ void histogram(const uint8* x, uint32* counts, float* greatest, int n) {
    __shared__ uint32 mine[16];
    __shared__ float most;
    if (threadIdx.x < 16) mine[threadIdx.x] = 0;
    if (threadIdx.x == 0) most = -INFINITY;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        atomicAdd(&mine[x[i] & 15], 1u);
        atomic_max(&most, x[i] - 100.0f);
    }
    __syncthreads();
    if (threadIdx.x < 16) atomicAdd(counts + threadIdx.x, mine[threadIdx.x]);
    if (threadIdx.x == 0) atomic_max(greatest, most);
}
"""
)


@each_architecture
def test_histogram_of_shared_and_global_atomics_counts_all(architecture):
    x = np.frombuffer(random.Random(5).randbytes(999), np.uint8)
    counts, greatest = np.zeros(16, np.uint32), np.array([-1e30], np.float32)
    built = module(KERNELS, architecture, (("INFINITY", "__int_as_float(0x7f800000)"),))
    launch(built, "histogram", 3, 96, x, counts, greatest, np.int32(x.size))
    seen = Counter(value & 15 for value in x.tobytes())
    assert counts.tolist() == [seen[i] for i in range(16)]
    assert greatest.tolist() == [max(x.tobytes()) - 100.0]
