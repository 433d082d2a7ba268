# SPDX-License-Identifier: Apache-2.0
"""On a GPU gemm_f16 is within the bound of tensor cores, whatever tile and split it gets."""

from contextlib import nullcontext
from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import halfbyte
from assertions import assert_same_bits, assert_within
from halfbyte.cuda import gemm_f16 as host
from halfbyte.cuda import gemm_f16_plan as planning
from halfbyte_reference.inputs import halves
from planned_products import bounded, operands, planned
from strategies import batched_cases, epilogues, few_rows, finite_kinds, gemm_cases, sizes

chunks = st.sampled_from((8, 16, 24, 32, 40, 64, 72, 128, 136, 200, 256))
deep = st.sampled_from((1, 8, 100, 513, 1024, 2049, 4096))
steps_of = epilogues(st.just("normal"), (None, "relu", "gelu", "silu"))
tiles = st.sampled_from([*planning.TILES])
layouts = st.sampled_from(("c", "transposed"))


def product(device, a, b, pack=False, **arguments):
    """Return the product, its plan, and its bits in a second run."""
    plans = []
    plan = planning.plan

    def remembered(*asked):
        plans.append(plan(*asked))
        return plans[-1]

    def call(a, b, **arguments):
        return halfbyte.gemm_f16(a, halfbyte.prepack(b) if pack else b, **arguments)

    with mock.patch.object(host, "plan", remembered):
        got = device.call(call, a, b, **arguments)
    again = device.call(call, a, b, **arguments)
    assert_same_bits(again, got, "a second run")
    return got, plans


def check(device, case, steps, pack=False):
    """Claim that a product with an epilogue is within its bound, and the same in every run."""
    arguments = {} if steps is None else steps.arguments(case.shape) | {"alpha": 0.7}
    if "beta" in arguments:
        arguments["beta"] = -1.3
    got, plans = product(device, case.a, case.b, pack, **arguments)
    splits = plans[0].partial_sums if plans else 1
    assert_within(got, bounded(case.a, case.b, splits, **arguments), device)


@given(case=gemm_cases(kind=finite_kinds), steps=steps_of)
def test_product_of_any_strides_is_within_the_bound(case, steps, device):
    check(device, case, steps)


@given(case=batched_cases(finite_kinds), steps=steps_of)
def test_batch_is_within_the_bound(case, steps, device):
    check(device, case, steps)


@given(
    case=gemm_cases(chunks, chunks, chunks, kind=finite_kinds, layout=layouts),
    steps=st.one_of(st.none(), steps_of),
    tile=tiles,
    splits=st.sampled_from((1, 1, 2, 3)),
)
def test_every_tile_and_split_is_within_the_bound(case, steps, tile, splits, device):
    turing = getattr(device, "architecture", 80) == planning.TURING
    forced = nullcontext() if turing and tile == "huge" else planned(tile, splits)
    with forced:
        check(device, case, steps)


@given(case=gemm_cases(few_rows, deep, sizes, kind=finite_kinds), steps=steps_of)
def test_few_rows_are_within_the_bound(case, steps, device):
    check(device, case, steps)


@given(case=gemm_cases(sizes, deep, few_rows, kind=finite_kinds), steps=steps_of)
def test_few_columns_are_within_the_bound(case, steps, device):
    check(device, case, steps)


@given(case=gemm_cases(kind=finite_kinds), steps=steps_of)
def test_packed_product_is_within_the_bound(case, steps, device):
    check(device, case, steps, pack=True)


@given(case=gemm_cases(chunks, chunks, chunks, kind=st.just("nasty")))
def test_what_is_not_finite_is_where_it_belongs(case, device):
    with np.errstate(invalid="ignore"):
        want = np.float64(case.a) @ np.float64(case.b)
    got = device.gemm_f16(case.a, case.b)
    assert (np.isnan(got) == np.isnan(want)).all()
    infinite = np.isinf(want)
    assert (got[infinite] == want[infinite]).all()


def test_more_products_than_a_grid_has_rows(device):
    a, b = halves((5, 9, 40), 1), halves((5, 40, 16), 2)
    want = device.gemm_f16(a, b)
    with mock.patch.object(host, "_MOST_PRODUCTS", 2):
        assert_same_bits(device.gemm_f16(a, b), want, device)


def test_leading_dimensions_that_do_not_merge(device):
    a = halves((2, 3, 2, 2, 2, 9, 24), 1).transpose(4, 3, 2, 1, 0, 5, 6)
    b = halves((*a.shape[:-2], 24, 11), 2)
    assert_within(device.gemm_f16(a, b), bounded(a, b), device)


def test_last_group_of_tile_rows_may_be_shorter(device):
    a, b = operands(300, 16, 130, "along")  # ten rows of tiles, in groups of eight
    with planned("flat"):
        got = device.gemm_f16(a, b)
    assert_within(got, bounded(a, b), device)
