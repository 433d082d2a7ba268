# SPDX-License-Identifier: Apache-2.0
"""Which kernel, tile and split of k a product of integers gets on a GPU: no GPU, no array."""

from hypothesis import given
from hypothesis import strategies as st

from halfbyte.cuda.gemm_f16_plan import ACROSS, ALONG, FEW_ROWS
from halfbyte.cuda.gemm_int_plan import Format, plan, variants

SHARED = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}  # KiB a block
A100 = (80, 108)

counts = st.one_of(st.integers(1, 300), st.integers(1, 1 << 16), st.just(1 << 31))
depths = st.one_of(st.integers(0, 300), st.integers(0, 1 << 21))
formats = st.builds(Format, st.booleans(), st.booleans(), st.sampled_from((8, 4)), st.booleans())


@st.composite
def plans(draw):
    """Draw what is asked, by name, and the plan."""
    m = draw(counts)
    asked = {
        "m": m,
        "n": draw(counts),
        "k": draw(depths),
        "products": draw(st.integers(1, 1000)),
        "load_b": draw(st.sampled_from((ALONG, ACROSS))) if m <= FEW_ROWS else ALONG,
        "form": draw(formats),
        "capability": draw(st.sampled_from([*SHARED])),
        "multiprocessors": draw(st.integers(1, 200)),
    }
    return asked, plan(*asked.values())


def sizes_of(asked, chosen):
    """Return rows and columns of a block's part of C."""
    if chosen.stem == "gemm_int":
        return chosen.defines["BLOCK_M"], chosen.defines["BLOCK_N"]
    return FEW_ROWS, 128 if asked["load_b"] == ACROSS else 32


@given(case=plans())
def test_plan_is_one_of_the_variants_but_for_signs(case):
    _, chosen = case
    signed = {**chosen.defines, "A_SIGNED": 1, "B_SIGNED": 1}
    assert (chosen.stem, signed) in [*variants()]


@given(case=plans())
def test_tiles_cover_the_product_and_none_is_beyond_it(case):
    asked, chosen = case
    rows, columns = sizes_of(asked, chosen)
    assert (chosen.tiles_m - 1) * rows < asked["m"] <= chosen.tiles_m * rows
    assert (chosen.tiles_n - 1) * columns < asked["n"] <= chosen.tiles_n * columns


@given(case=plans())
def test_splits_cover_k_and_none_is_empty(case):
    asked, chosen = case
    assert chosen.splits * chosen.split_k >= asked["k"]
    assert chosen.splits == 1 or (chosen.splits - 1) * chosen.split_k < asked["k"]


@given(case=plans())
def test_splits_begin_at_blocks_of_codes(case):
    _, chosen = case
    assert chosen.split_k % 32 == 0


@given(case=plans())
def test_shared_memory_and_workspace_are_in_bounds(case):
    asked, chosen = case
    assert chosen.shared <= SHARED[asked["capability"]] * 1024
    if chosen.splits > 1:
        sums = chosen.splits * asked["products"] * asked["m"] * (asked["n"] + 1)
        assert 4 * sums <= 1 << 28


def test_square_product_gets_large_tiles_and_no_splits():
    chosen = plan(4096, 4096, 4096, 1, ALONG, Format(True, True, 8, False), *A100)
    assert (chosen.defines["BLOCK_M"], chosen.splits) == (128, 1)


def test_one_row_of_few_columns_is_split_along_k():
    assert plan(1, 64, 65_536, 1, ALONG, Format(True, True, 4, False), *A100).splits > 1
