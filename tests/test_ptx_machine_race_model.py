# SPDX-License-Identifier: Apache-2.0
"""What the PTX machine calls a race is what a model of a few lines does, for any accesses."""

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ptx_kernels import PRELUDE, each_architecture, launch, module
from ptx_machine import Fault

pytestmark = pytest.mark.usefixtures("nvrtc")

# In every step, one lane of each warp does one thing to bytes of shared memory, or nothing; then
# there may be a barrier for all.
WARPS, BYTES = 3, 12
NOTHING, READ_BYTE, WRITE_BYTE, READ_WORD, WRITE_WORD, ADD_WORD = range(6)
SIZES = {READ_BYTE: 1, WRITE_BYTE: 1, READ_WORD: 4, WRITE_WORD: 4, ADD_WORD: 4}

SOURCE = (
    PRELUDE
    + """
struct Access { int32 what, place, lane; };
extern "C" __global__ void accesses(const Access* steps, const int32* barriers, int count,
                                    uint32* out) {
    __shared__ __align__(16) uint8 s[BYTES];
    const int warp = threadIdx.x / 32;
    if (threadIdx.x < BYTES) s[threadIdx.x] = 0;
    __syncthreads();
    uint32 sum = 0;
#pragma unroll 1
    for (int k = 0; k < count; ++k) {
        const Access step = steps[k * WARPS + warp];
        if (threadIdx.x % 32 == step.lane) {
            uint32* word = (uint32*)(s + step.place);
            if (step.what == 1) sum += s[step.place];  // access
            if (step.what == 2) s[step.place] = k;  // access
            if (step.what == 3) sum += *word;  // access
            if (step.what == 4) *word = k;  // access
            if (step.what == 5) atomicAdd(word, 1u);  // access
        }
        if (barriers[k]) __syncthreads();
    }
    out[threadIdx.x] = sum;
}
"""
)


def races(steps, barriers):
    """Return whether two warps touch a byte, one writing, with no barrier between.

    Two atomic operations do not race.
    """
    touched = []  # since the last barrier: (warp, byte, access)
    for step, barrier in zip(steps, barriers, strict=True):
        for warp, (what, place, _) in enumerate(step):
            touched += [(warp, place + i, what) for i in range(SIZES.get(what, 0))]
        for warp, byte, what in touched:
            for other, same, with_it in touched:
                writes = {what, with_it} & {WRITE_BYTE, WRITE_WORD, ADD_WORD}
                if warp != other and byte == same and writes and {what, with_it} != {ADD_WORD}:
                    return True
        if barrier:
            touched = []
    return False


def access(what, place, lane):
    return (what, place // SIZES.get(what, 1) * SIZES.get(what, 1), lane)


accesses = st.builds(access, st.integers(0, 5), st.integers(0, BYTES - 1), st.integers(0, 31))
steps = st.lists(
    st.tuples(st.tuples(accesses, accesses, accesses), st.booleans()), min_size=1, max_size=6
)


def run(architecture, program):
    records = np.array([one for step, _ in program for one in step], np.int32)
    barriers = np.array([barrier for _, barrier in program], np.int32)
    built = module(SOURCE, architecture, (("BYTES", BYTES), ("WARPS", WARPS)))
    out = np.zeros(WARPS * 32, np.uint32)
    launch(built, "accesses", 1, WARPS * 32, records, barriers, np.int32(len(program)), out)


@each_architecture
@given(program=steps)
@settings(max_examples=30)
def test_races_are_those_of_the_model(architecture, program):
    racing = races(*zip(*program, strict=True))
    event("race" if racing else "no race")
    if racing:
        with pytest.raises(Fault) as caught:
            run(architecture, program)
        assert caught.value.kind == "race"
        lines = [n for n, text in enumerate(SOURCE.splitlines(), 1) if "// access" in text]
        assert caught.value.line in lines
    else:
        run(architecture, program)
