# SPDX-License-Identifier: Apache-2.0
"""Asynchronous copies of the PTX machine: what they move, and from when on it may be read."""

import random

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ptx_kernels import PRELUDE, each_ampere, launch, line_of, module
from ptx_machine import Fault

pytestmark = pytest.mark.usefixtures("nvrtc")

LANES = 40

# ------------------------------------------------------------------------------------ sizes

# Opcode -> bytes. A second size says how many of them are read; zeros stand for the rest.
COPIES = {
    "cp.async.ca.shared.global": (4, 8, 16),
    "cp.async.cg.shared.global": (16,),
    "cp.async.ca.shared.global.L2::128B": (4, 8, 16),
    "cp.async.cg.shared.global.L2::128B": (16,),
    "cp.async.cg.shared.global.L2::256B": (16,),
}
VARIANTS = [(opcode, size) for opcode, sizes in COPIES.items() for size in sizes]

_SIZES = """
extern "C" __global__ void sizes(const char* source, const uint32* read, uint8* out) {
    __shared__ __align__(16) uint8 shared[LANES * 16];
    const int i = threadIdx.x;
    const uint32 target = __cvta_generic_to_shared(shared + i * 16);
    source += i * 16;
"""


def sizes_source():
    lines = [PRELUDE, _SIZES]
    for n, (opcode, size) in enumerate(VARIANTS):
        for sized in (False, True):
            places = f"[%0], [%1], {size}{', %2' * sized};"
            lines.append(f"""
    for (int j = 0; j < 16; ++j) shared[i * 16 + j] = 0x5A;
    asm volatile("{opcode} {places}" :: "r"(target), "l"(source), "r"(read[i]) : "memory");
    asm volatile("cp.async.wait_all;" ::: "memory");
    for (int j = 0; j < 16; ++j)
        out[({2 * n + sized} * LANES + i) * 16 + j] = shared[i * 16 + j];""")
    return "\n".join([*lines, "}"])


@each_ampere
def test_copies_move_their_bytes_and_fill_the_rest_with_zeros(architecture):
    draw = random.Random(1)
    source = np.frombuffer(draw.randbytes(LANES * 16), np.uint8)
    read = [i % 5 for i in range(LANES)]  # at most the least size
    out = np.zeros((len(VARIANTS), 2, LANES, 16), np.uint8)
    built = module(sizes_source(), architecture, (("LANES", LANES),))
    launch(built, "sizes", 1, LANES, source, np.array(read, np.uint32), out)
    for n, sized, lane in np.ndindex(out.shape[:3]):
        size = VARIANTS[n][1]
        count = read[lane] if sized else size
        moved = source.tobytes()[lane * 16 : lane * 16 + count].ljust(size, b"\0")
        assert out[n, sized, lane].tobytes() == moved.ljust(16, b"\x5a"), VARIANTS[n]


GROWING = (
    PRELUDE
    + """
extern "C" __global__ void growing(const char* source, uint32 from, uint8* out) {
    __shared__ __align__(16) uint8 shared[17 * 16];
    const int i = threadIdx.x;
    const uint32 target = __cvta_generic_to_shared(shared + i * 16);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(target), "l"(source + from), "r"(i) : "memory");
    asm volatile("cp.async.commit_group;\\ncp.async.wait_group 0;" ::: "memory");
    for (int j = 0; j < 16; ++j) out[i * 16 + j] = shared[i * 16 + j];
}
"""
)


@each_ampere
def test_copy_reads_no_byte_beyond_its_second_size(architecture):
    """The array ends where the longest copy does, and a copy of nothing may start anywhere."""
    source = np.arange(1, 17, dtype=np.uint8)
    out = np.zeros((17, 16), np.uint8)
    launch(module(GROWING, architecture), "growing", 1, 17, source, np.uint32(0), out)
    assert out.tolist() == [[*range(1, i + 1), *[0] * (16 - i)] for i in range(17)]


# ----------------------------------------------------------------------------------- groups

# Every thread interprets a program on slots of its own: what, slot or count, place, lanes.
COPY, COMMIT, WAIT, WAIT_ALL, READ, STORE = range(6)
SLOTS = 4
GROUPS = (
    PRELUDE
    + """
struct Step { int32 what, slot, place; uint32 lanes; };

extern "C" __global__ void groups(const Step* steps, int count, const uint32* source,
                                  uint32* out) {
    __shared__ uint32 shared[SLOTS * 64];
    const int i = threadIdx.x;
    for (int s = 0; s < SLOTS; ++s) shared[s * 64 + i] = s;
#pragma unroll 1
    for (int n = 0; n < count; ++n) {
        const Step step = steps[n];
        uint32* slot = shared + (step.slot % SLOTS) * 64 + i;
        const uint32 address = __cvta_generic_to_shared(slot);
        if (!(step.lanes >> (i % 32) & 1)) continue;
        switch (step.what) {
            case 0:
                asm volatile("cp.async.ca.shared.global [%0], [%1], 4;"
                             :: "r"(address), "l"(source + step.place + i) : "memory");
                break;
            case 1: asm volatile("cp.async.commit_group;" ::: "memory"); break;
            case 2:
                if (step.slot == 0) asm volatile("cp.async.wait_group 0;" ::: "memory");
                else if (step.slot == 1) asm volatile("cp.async.wait_group 1;" ::: "memory");
                else asm volatile("cp.async.wait_group 2;" ::: "memory");
                break;
            case 3: asm volatile("cp.async.wait_all;" ::: "memory"); break;
            case 4: out[n * blockDim.x + i] = *slot; break;  // read
            case 5: *slot = step.place; break;
        }
    }
}
"""
)


class Thread:
    """What the manual says of one thread's copies."""

    def __init__(self) -> None:
        self.slots = list(range(SLOTS))
        self.groups, self.open = [], {}  # copies on their way: slot -> value

    def in_flight(self, slot):
        return any(slot in group for group in [*self.groups, self.open])

    def land(self, left):
        """Complete all but the newest groups."""
        while len(self.groups) > left:
            for slot, value in self.groups.pop(0).items():
                self.slots[slot] = value

    def step(self, what, slot, value):
        if what == COPY:
            self.open[slot] = value
        elif what in (COMMIT, WAIT_ALL):
            self.groups.append(self.open)
            self.open = {}
        if what in (WAIT, WAIT_ALL):
            self.land(slot if what == WAIT else 0)
        if what == STORE:
            self.slots[slot] = value
        return self.slots[slot % SLOTS]


def run_model(steps, threads):
    """Return what reads give, by (step, thread), and the first read of a copy in flight."""
    state = [Thread() for _ in range(threads)]
    reads = {}
    for n, (what, slot, place, lanes) in enumerate(steps):
        for i, thread in enumerate(state):
            if lanes >> (i % 32) & 1:
                if what == READ and thread.in_flight(slot):
                    return reads, (n, i)
                value = thread.step(what, slot, place if what == STORE else 1000 + place + i)
                if what == READ:
                    reads[n, i] = value
    return reads, None


FULL = 0xFFFFFFFF
lanes = st.one_of(st.just(FULL), st.just(FULL), st.sampled_from((1, 0xFFFF, 0xAAAAAAAA)))
slots = st.integers(0, SLOTS - 1)
kinds = st.sampled_from((COPY, COPY, COMMIT, COMMIT, WAIT, WAIT, READ, READ, WAIT_ALL, STORE))
places = st.integers(0, 100)


@st.composite
def programs(draw, well_behaved):
    """Draw steps. No slot is written while a copy to it is in flight; nor read, if well-behaved."""
    steps = []
    for what, slot, place, who in draw(st.lists(st.tuples(kinds, slots, places, lanes), min_size=1,
                                                max_size=14)):  # fmt: skip
        step = (what, min(slot, 2) if what == WAIT else slot, place, who)
        state = [Thread() for _ in range(32)]
        for before in steps:
            for i, thread in enumerate(state):
                if before[3] >> i & 1:
                    thread.step(*before[:3])
        touched = (COPY, STORE, READ) if well_behaved else (COPY, STORE)
        busy = any(thread.in_flight(slot) for i, thread in enumerate(state) if who >> i & 1)
        if what not in touched or not busy:
            steps.append(step)
    return steps


def run_machine(steps, architecture, threads=40):
    records = np.zeros(max(len(steps), 1), "i4, i4, i4, u4")
    records[: len(steps)] = steps
    out = np.zeros((len(steps), threads), np.uint32)
    source = np.arange(1000, 1200, dtype=np.uint32)
    launch(
        module(GROUPS, architecture, (("SLOTS", SLOTS),)),
        *("groups", 1, threads, records.view("u1"), np.int32(len(steps)), source, out),
    )
    return out


@each_ampere
@given(steps=programs(well_behaved=True))
@settings(max_examples=25)
def test_copy_that_was_waited_for_has_landed(architecture, steps):
    out = run_machine(steps, architecture)
    reads, early = run_model(steps, out.shape[1])
    assert early is None
    assert {where: int(out[where]) for where in reads} == reads


@given(steps=programs(well_behaved=False))
@settings(max_examples=40)
def test_read_of_a_copy_in_flight_is_condemned(steps):
    _, early = run_model(steps, 40)
    event("a read comes too early" if early else "all reads wait")
    if early is None:
        run_machine(steps, 80)
    else:
        with pytest.raises(Fault) as caught:
            run_machine(steps, 80)
        assert caught.value.kind == "pending copy"
        assert caught.value.line == line_of(GROUPS, "// read")
        assert caught.value.kernel == "groups"
