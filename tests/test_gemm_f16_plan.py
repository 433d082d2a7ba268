# SPDX-License-Identifier: Apache-2.0
"""Which kernel, tile and split of k a product of halves gets on a GPU: no GPU, no array."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfbyte.cuda.gemm_f16_plan import (
    ACROSS,
    ALONG,
    BLOCK_K,
    ELEMENTS,
    TILES,
    TURING,
    plan,
    variants,
)

A100, H100, RTX4090, T4 = (80, 108), (90, 132), (89, 128), (75, 40)
SHARED = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}  # KiB a block
LOADS = (ALONG, ACROSS, ELEMENTS)
TURNS = {ALONG: 128, ACROSS: 64, ELEMENTS: 32}  # steps of k a warp takes at once, of few rows

counts = st.one_of(st.integers(1, 300), st.integers(1, 1 << 16), st.just(1 << 31))
depths = st.one_of(st.integers(0, 300), st.integers(0, 1 << 16), st.just(1 << 31))


def tile_of(chosen):
    """Return the name of the plan's tile."""
    size = chosen.defines["BLOCK_M"], chosen.defines["BLOCK_N"]
    return next(name for name, tile in TILES.items() if tile[:2] == size)


@st.composite
def plans(draw):
    """Draw what is asked, by name, and the plan."""
    asked = {
        "m": draw(counts),
        "n": draw(counts),
        "k": draw(depths),
        "products": draw(st.integers(1, 1000)),
        "load_a": draw(st.sampled_from(LOADS)),
        "load_b": draw(st.sampled_from(LOADS)),
        "capability": draw(st.sampled_from([*SHARED])),
        "multiprocessors": draw(st.integers(1, 200)),
    }
    return asked, plan(*asked.values())


@given(case=plans())
def test_plan_is_one_of_the_variants(case):
    _, chosen = case
    assert (chosen.stem, chosen.defines) in [*variants()]


@given(case=plans())
def test_tiles_cover_the_product_and_none_is_beyond_it(case):
    asked, chosen = case
    if chosen.stem == "gemm_f16":
        rows, columns = chosen.defines["BLOCK_M"], chosen.defines["BLOCK_N"]
    else:
        rows, columns = 8, 64 if asked["load_b"] == ACROSS else 32
    assert (chosen.tiles_m - 1) * rows < asked["m"] <= chosen.tiles_m * rows
    assert (chosen.tiles_n - 1) * columns < asked["n"] <= chosen.tiles_n * columns


@given(case=plans())
def test_splits_cover_k_and_none_is_empty(case):
    asked, chosen = case
    assert chosen.splits * chosen.split_k >= asked["k"]
    assert chosen.splits == 1 or (chosen.splits - 1) * chosen.split_k < asked["k"]


@given(case=plans())
def test_splits_begin_at_whole_tiles(case):
    _, chosen = case
    assert chosen.split_k % BLOCK_K == 0


@given(case=plans())
def test_block_fits_the_device(case):
    asked, chosen = case
    assert chosen.threads <= 1024
    assert chosen.shared <= SHARED[asked["capability"]] * 1024


@given(case=plans())
def test_sums_of_splits_fit_in_the_workspace(case):
    asked, chosen = case
    pitch = -(-asked["n"] // 4) * 4
    if chosen.splits > 1:
        assert 4 * chosen.splits * asked["products"] * asked["m"] * pitch <= 1 << 26


@given(case=plans())
def test_bound_counts_the_sum_of_every_warp_that_has_work(case):
    asked, chosen = case
    if chosen.stem == "gemm_f16":
        assert chosen.partial_sums == chosen.splits
    else:
        starts = range(0, asked["k"], chosen.split_k)
        depths = [min(asked["k"] - start, chosen.split_k) for start in starts]
        turn = TURNS[asked["load_b"]]
        assert chosen.partial_sums == sum(min(8, -(-depth // turn)) for depth in depths)


@given(case=plans())
def test_few_rows_are_split_as_evenly_as_whole_turns_allow(case):
    asked, chosen = case
    if chosen.stem == "gemm_f16_rows" and asked["k"]:
        turn = TURNS[asked["load_b"]]
        assert chosen.split_k % turn == 0
        assert chosen.splits * (chosen.split_k - turn) < asked["k"]


@given(case=plans())
def test_plan_is_the_same_every_time(case):
    asked, chosen = case
    assert plan.__wrapped__(*asked.values()) == chosen


@pytest.mark.parametrize(
    ("shape", "gpu", "tile"),
    [
        ((4096, 4096, 4096), A100, "huge"),
        ((8192, 8192, 8192), H100, "huge"),
        ((8192, 8192, 8192), RTX4090, "huge"),
        ((4096, 4096, 4096), T4, "large"),
        ((16, 11008, 4096), A100, "flat"),
        ((64, 64, 64), A100, "small"),
    ],
    ids=str,
)
def test_tile_of_a_common_product(shape, gpu, tile):
    assert tile_of(plan(*shape, 1, ALONG, ALONG, *gpu)) == tile


@pytest.mark.parametrize("rows", [1, 2, 7, 8])
@pytest.mark.parametrize("load", LOADS)
def test_few_rows_stream_b(rows, load):
    assert plan(rows, 11008, 4096, 1, ALONG, load, *A100).stem == "gemm_f16_rows"


@pytest.mark.parametrize("gpu", [A100, H100, RTX4090, T4], ids=str)
def test_few_rows_keep_every_multiprocessor_busy(gpu):
    assert plan(1, 4096, 4096, 1, ALONG, ALONG, *gpu).blocks >= gpu[1]


@pytest.mark.parametrize("loads", [(ELEMENTS, ALONG), (ACROSS, ELEMENTS), (ELEMENTS, ELEMENTS)])
def test_elements_take_the_small_tile(loads):
    assert tile_of(plan(4096, 4096, 4096, 1, *loads, *A100)) == "small"


def test_deep_product_of_few_tiles_is_split():
    chosen = plan(128, 128, 1 << 16, 1, ALONG, ALONG, *A100)
    assert chosen.splits > 1
    assert chosen.blocks >= A100[1] // 2


def test_product_that_fills_the_device_is_not_split():
    assert plan(8192, 8192, 8192, 1, ALONG, ALONG, *A100).splits == 1


def test_splits_end_where_the_workspace_does():
    # 16 MiB of sums a split; the model alone would take five.
    assert plan(2048, 2048, 1 << 18, 1, ALONG, ALONG, *A100).splits == 4


def test_shallow_product_is_not_split():
    assert plan(64, 64, 500, 1, ALONG, ALONG, *A100).splits == 1


def test_turing_has_two_places():
    large = TILES["large"]
    assert large.shared(TURING) == 2 * 256 * BLOCK_K * 2
    assert large.shared(80) == large.stages * 256 * BLOCK_K * 2


def test_no_more_variants_than_an_architecture_compiles_in_a_minute():
    assert len([*variants()]) <= 60
