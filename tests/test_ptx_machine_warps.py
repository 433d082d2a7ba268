# SPDX-License-Identifier: Apache-2.0
"""Shuffles, votes and counting barriers of the PTX machine, against the manual's pseudo-code."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptx_kernels import PRELUDE, each_architecture, launch, module

pytestmark = pytest.mark.usefixtures("nvrtc")

FULL = 0xFFFFFFFF
MODES = ("up", "down", "bfly", "idx")

# --------------------------------------------------------------------------------- shuffles

# Every warp has a mask and a clamp of its own; lanes outside the mask do not take part.
SHUFFLES = (
    PRELUDE
    + """
extern "C" __global__ void shuffles(const uint32* masks, const uint32* clamps, const uint32* lanes,
                                    const uint32* values, uint32* out, uint32* found) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const int count = gridDim.x * blockDim.x;
    const uint32 mask = masks[i / 32], clamp = clamps[i / 32], a = values[i];
    uint32 d, p;
    if (mask >> (i % 32) & 1) {
#define SHUFFLE(mode, place)                                                                  \\
        asm volatile("{ .reg .pred p; shfl.sync." mode ".b32 %0|p, %2, %3, %4, %5;"            \\
                     " selp.u32 %1, 1, 0, p; }"                                                \\
                     : "=r"(d), "=r"(p)                                                        \\
                     : "r"(a), "r"(lanes[place * count + i]), "r"(clamp), "r"(mask));          \\
        out[place * count + i] = d;                                                            \\
        found[place * count + i] = p;
        SHUFFLE("up", 0)
        SHUFFLE("down", 1)
        SHUFFLE("bfly", 2)
        SHUFFLE("idx", 3)
    }
}
"""
)


def source_lane(mode, lane, b, clamp):
    """Return the lane that a lane reads, and whether it is in range, as the manual says it."""
    b, segment, clamp = b & 31, clamp >> 8 & 31, clamp & 31
    least, most = lane & segment, lane & segment | clamp & ~segment
    source = {
        "up": lane - b,
        "down": lane + b,
        "bfly": lane ^ b,
        "idx": least | b & ~segment,
    }[mode]
    inside = source >= most if mode == "up" else source <= most
    return (source if inside else lane), inside


def within(mask, mode, clamp, operands):
    """Change operands of lanes that would read a lane outside the mask: they read themselves."""
    own = [lane if mode == "idx" else 0 for lane in range(32)]
    sources = [source_lane(mode, lane, b, clamp)[0] for lane, b in enumerate(operands)]
    return [
        b if mask >> source & 1 else instead
        for b, source, instead in zip(operands, sources, own, strict=True)
    ]


def assert_shuffled(architecture, warps):
    """Launch warps of (mask, clamp, 32 operands) and compare what every lane got."""
    masks, clamps, _ = zip(*warps, strict=True)
    lanes = [[within(mask, mode, clamp, b) for mask, clamp, b in warps] for mode in MODES]
    values = np.arange(len(warps) * 32, dtype=np.uint32) * np.uint32(2654435761)
    out, found = (np.full((4, len(warps), 32), 7, np.uint32) for _ in "ab")
    built = module(SHUFFLES, architecture)
    arguments = [np.array(x, np.uint32) for x in (masks, clamps, lanes)]
    launch(built, "shuffles", len(warps), 32, *arguments, values, out, found)
    values = values.reshape(-1, 32).tolist()
    for place, warp, lane in np.ndindex(out.shape):
        got = int(out[place, warp, lane]), int(found[place, warp, lane])
        if masks[warp] >> lane & 1:
            b = lanes[place][warp][lane]
            source, inside = source_lane(MODES[place], lane, b, clamps[warp])
            assert got == (values[warp][source], int(inside)), (MODES[place], warp, lane)
        else:
            assert got == (7, 7), "a lane outside the mask took part"


def clamp_of(width, mode_up=False):
    """Return the operand that CUDA C's `width` becomes."""
    return (32 - width) << 8 | (0 if mode_up else 31)


@each_architecture
def test_every_distance_in_every_segment_is_shuffled(architecture):
    warps = [
        (FULL, clamp_of(width, up), [distance] * 32)
        for width in (32, 16, 8, 4, 2, 1)
        for up in (True, False)
        for distance in range(32)
    ]
    assert_shuffled(architecture, warps)


masks = st.one_of(st.just(FULL), st.integers(1, FULL), st.integers(0, 31).map(lambda i: 1 << i))
widths = st.sampled_from((32, 16, 8, 4, 2, 1)).flatmap(
    lambda width: st.sampled_from((clamp_of(width), clamp_of(width, True)))
)
operands = st.lists(st.integers(0, 63), min_size=32, max_size=32)


@given(warps=st.lists(st.tuples(masks, widths, operands), min_size=1, max_size=6))
@settings(max_examples=40)
def test_any_lanes_are_shuffled(warps):
    assert_shuffled(80, warps)


# ------------------------------------------------------------------------------------ votes

VOTES = (
    PRELUDE
    + """
extern "C" __global__ void votes(const uint32* masks, const uint32* values, uint32* out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const uint32 mask = masks[i / 32];
    const bool p = values[i] & 1;
    out += i * 8;
    if (mask >> (i % 32) & 1) {
        out[0] = __all_sync(mask, p);
        out[1] = __any_sync(mask, p);
        out[2] = __ballot_sync(mask, p);
        out[3] = __uni_sync(mask, p);
        out[4] = __popc(__ballot_sync(mask, !p) & ((1u << (i % 32)) - 1));
        __syncwarp(mask);
        out[5] = __activemask();
    } else {
        out[5] = __activemask();
    }
}
"""
)


def voted(mask, values):
    """Return what __all_sync, __any_sync, __ballot_sync and __uni_sync say."""
    named = [values[lane] & 1 for lane in range(32) if mask >> lane & 1]
    ballot = sum((values[lane] & 1) << lane for lane in range(32)) & mask
    return [int(all(named)), int(any(named)), ballot, int(len(set(named)) == 1)]


@each_architecture
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_votes_count_the_lanes_of_the_mask(architecture, seed):
    draw = random.Random(seed)
    warps = 6
    masks = [draw.choice((FULL, draw.getrandbits(32) or 1, 1 << draw.randrange(32)))
             for _ in range(warps)]  # fmt: skip
    # Warps that agree and warps that do not.
    values = [draw.choice((0, 1, draw.getrandbits(32))) for _ in range(warps)]
    bits = [[value >> lane & 1 if value > 1 else value for lane in range(32)] for value in values]
    out = np.zeros((warps, 32, 8), np.uint32)
    launch(
        module(VOTES, architecture),
        *("votes", warps, 32, np.array(masks, np.uint32), np.array(bits, np.uint32), out),
    )
    for warp, mask in enumerate(masks):
        for lane in range(32):
            got = out[warp, lane].tolist()
            inside = mask >> lane & 1
            # Lanes of the other branch are never active here, the lane itself always is.
            assert got[5] >> lane & 1
            assert got[5] & (FULL ^ mask if inside else mask) == 0
            if inside:
                assert got[:4] == voted(mask, bits[warp])
                below = [1 - bits[warp][i] for i in range(lane) if mask >> i & 1]
                assert got[4] == sum(below)


# --------------------------------------------------------------------------------- barriers

BARRIERS = (
    PRELUDE
    + """
extern "C" __global__ void barriers(const int32* values, int32* out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const int p = values[i];
    out += i * 4;
    out[0] = __syncthreads_count(p);
    out[1] = __syncthreads_and(p);
    out[2] = __syncthreads_or(p);
    out[3] = __syncthreads_count(out[1] == out[2]);
}
"""
)


@each_architecture
@pytest.mark.parametrize("threads", [1, 31, 32, 33, 64, 100])
def test_barriers_count_the_threads_of_their_block(threads, architecture):
    draw = random.Random(threads)
    chances = (0.0, 1.0, 0.5, 0.02, 0.98)
    values = [[int(draw.random() < chance) for _ in range(threads)] for chance in chances]
    out = np.zeros((len(chances), threads, 4), np.int32)
    built = module(BARRIERS, architecture)
    launch(built, "barriers", len(chances), threads, np.array(values, np.int32), out)
    for block, got in zip(values, out, strict=True):
        agree = int(len(set(block)) == 1)
        want = [sum(block), int(all(block)), int(any(block)), threads * agree]
        assert got.tolist() == [want] * threads
