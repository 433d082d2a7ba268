# SPDX-License-Identifier: Apache-2.0
"""gemm_f16 returns the bits of the reference's chain, whatever the shape, layout or epilogue."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_same_bits, assert_within
from backends import threads
from halfbyte_reference import bounds, chain, epilogue, gemm_f16
from halfbyte_reference.inputs import floats, halves
from strategies import (
    batched_cases,
    deep_k,
    epilogues,
    few_rows,
    finite_kinds,
    gemm_cases,
    sizes,
    small_sizes,
    thread_counts,
)


@given(case=gemm_cases(), count=thread_counts)
def test_product_has_the_bits_of_the_chain(case, count, backend):
    with threads(count):
        got = backend.gemm_f16(case.a, case.b)
    assert_same_bits(got, gemm_f16(case.a, case.b), backend)


@given(case=gemm_cases(small_sizes, deep_k, small_sizes))
def test_product_across_blocks_of_k_has_the_bits_of_the_chain(case, backend):
    assert_same_bits(backend.gemm_f16(case.a, case.b), gemm_f16(case.a, case.b), backend)


@given(case=gemm_cases(few_rows, st.one_of(sizes, deep_k), sizes))
def test_few_rows_have_the_bits_of_the_chain(case, backend):
    assert_same_bits(backend.gemm_f16(case.a, case.b), gemm_f16(case.a, case.b), backend)


@given(case=batched_cases(), count=thread_counts)
def test_leading_dimensions_broadcast(case, count, backend):
    with threads(count):
        got = backend.gemm_f16(case.a, case.b)
    assert_same_bits(got, gemm_f16(case.a, case.b), backend)


@given(case=st.one_of(gemm_cases(), batched_cases()), steps=epilogues(), count=thread_counts)
def test_epilogue_has_the_bits_of_the_reference(case, steps, count, backend):
    arguments = steps.arguments(case.shape)
    out = steps.out(case.shape)
    with threads(count):
        got = backend.gemm_f16(case.a, case.b, **arguments, out=out)
    assert_same_bits(got, gemm_f16(case.a, case.b, **arguments), backend)


@given(case=gemm_cases(small_sizes, deep_k, small_sizes), steps=epilogues())
def test_epilogue_after_several_blocks_of_k_has_the_bits_of_the_reference(case, steps, backend):
    arguments = steps.arguments(case.shape)
    out = steps.out(case.shape)
    got = backend.gemm_f16(case.a, case.b, **arguments, out=out)
    assert_same_bits(got, gemm_f16(case.a, case.b, **arguments), backend)


@given(case=gemm_cases(), steps=epilogues())
def test_out_is_what_is_returned(case, steps, backend):
    out = np.empty(case.shape, np.float16 if steps.out_half else np.float32)
    assert backend.gemm_f16(case.a, case.b, **steps.arguments(case.shape), out=out) is out


@given(case=gemm_cases(m=st.integers(1, 40)), row=st.integers(0, 39))
def test_row_does_not_depend_on_its_batch(case, row, backend):
    row %= case.m
    arguments = {"alpha": 0.3, "activation": "gelu"}
    whole = backend.gemm_f16(case.a, case.b, **arguments)
    alone = backend.gemm_f16(case.a[row : row + 1], case.b, **arguments)
    assert_same_bits(alone[0], whole[row], backend)


@given(case=gemm_cases(n=st.integers(1, 140)), column=st.integers(0, 139))
def test_column_does_not_depend_on_its_neighbours(case, column, backend):
    column %= case.n
    whole = backend.gemm_f16(case.a, case.b)
    alone = backend.gemm_f16(case.a, case.b[:, column : column + 1])
    assert_same_bits(alone[:, 0], np.ascontiguousarray(whole[:, column]), backend)


@given(case=gemm_cases(), steps=epilogues())
def test_inputs_are_left_alone(case, steps, backend):
    arguments = steps.arguments(case.shape)
    arrays = [case.a, case.b, *(x for x in arguments.values() if isinstance(x, np.ndarray))]
    before = [x.tobytes() for x in arrays]
    backend.gemm_f16(case.a, case.b, **arguments)
    assert [x.tobytes() for x in arrays] == before


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        (1025, 3, 2049),
        (2500, 33, 70),
        (5, 17, 9001),
        (9001, 17, 5),
        (1, 700, 4100),
        (257, 1500, 130),
    ],
)
def test_long_sides_have_the_bits_of_the_chain(m, k, n, backend):
    a, b = halves((m, k), 1), halves((k, n), 2)
    with threads(2):
        got = backend.gemm_f16(a, b)
    assert_same_bits(got, gemm_f16(a, b), backend)


@given(
    case=gemm_cases(kind=finite_kinds),
    steps=epilogues(st.just("normal"), (None, "relu", "gelu", "silu")),
)
def test_result_is_within_the_bound_of_fp64(case, steps, backend):
    arguments = steps.arguments(case.shape) | {"alpha": 0.7}
    if "beta" in arguments:
        arguments["beta"] = -1.3
    a, b = np.float64(case.a), np.float64(case.b)
    error = bounds.gemm_cpu(bounds.magnitude(a, b), case.k)
    bounded = bounds.epilogue(a @ b, error, **arguments)
    assert_within(backend.gemm_f16(case.a, case.b, **arguments), bounded, backend)


@pytest.mark.parametrize("name", ["gelu", "silu"])
@given(case=gemm_cases(kind=finite_kinds), steps=epilogues(kind=finite_kinds))
def test_smooth_activation_of_a_product_is_within_its_tolerance(name, case, steps, backend):
    arguments = steps.arguments(case.shape)
    half = arguments.pop("out_dtype", None)
    arguments.pop("activation")
    x = epilogue(chain(case.a, case.b), **arguments)
    got = backend.gemm_f16(case.a, case.b, **arguments, activation=name, out_dtype=half)
    assert_within(got, bounds.activated(x, name, half), backend)


def test_sum_starts_from_plus_zero(backend):
    a, b = np.float16([[-0.0, 0.0]]), np.float16([[1.0], [-1.0]])
    assert_same_bits(backend.gemm_f16(a, b), np.float32([[0.0]]), backend)


def test_alpha_minus_one_of_an_empty_sum_is_minus_zero(backend):
    a, b = np.zeros((1, 0), np.float16), np.zeros((0, 1), np.float16)
    assert_same_bits(backend.gemm_f16(a, b, alpha=-1), np.float32([[-0.0]]), backend)


def test_alpha_minus_zero_is_a_factor_like_any_other(backend):
    one = np.ones((1, 1), np.float16)
    assert_same_bits(backend.gemm_f16(one, one, alpha=-0.0), np.float32([[-0.0]]), backend)


def test_k_zero_gives_the_epilogue_of_zero(backend):
    a, b = np.zeros((3, 0), np.float16), np.zeros((0, 70), np.float16)
    c, bias = floats((3, 70), 1), floats(70, 2)
    got = backend.gemm_f16(a, b, alpha=0.3, beta=0.7, c=c, bias=bias, activation="relu")
    want = gemm_f16(a, b, alpha=0.3, beta=0.7, c=c, bias=bias, activation="relu")
    assert_same_bits(got, want, backend)


def test_zero_times_infinity_is_nan(backend):
    a, b = np.float16([[0.0, 1.0]]), np.float16([[np.inf, 1.0], [2.0, 3.0]])
    assert_same_bits(backend.gemm_f16(a, b), np.float32([[np.nan, 3.0]]), backend)


def test_infinity_stays_in_its_row(backend):
    a, b = halves((70, 40), 1), np.abs(halves((40, 70), 2)) + np.float16(1)
    a[33, 17] = np.inf
    finite = np.isfinite(backend.gemm_f16(a, b))
    assert list(np.flatnonzero(~finite.all(axis=1))) == [33]


def test_nan_stays_in_its_column(backend):
    a, b = halves((70, 40), 1), halves((40, 70), 2)
    b[17, 69] = np.nan
    assert list(np.flatnonzero(np.isnan(backend.gemm_f16(a, b)).any(axis=0))) == [69]


@pytest.mark.parametrize(("factor", "want"), [(1.0, 65504.0), (1.0003, np.inf), (-1.0003, -np.inf)])
def test_half_output_overflows_from_65520(factor, want, backend):
    # 65504 * 1.0003 = 65523.7 in FP32, beyond the tie.
    got = backend.gemm_f16(
        np.float16([[65504]]), np.float16([[1]]), alpha=factor, out_dtype="float16"
    )
    assert_same_bits(got, np.float16([[want]]), backend)


def test_subnormal_products_add_up_exactly(backend):
    a = np.full((1, 8), 2.0**-24, np.float16)
    got = backend.gemm_f16(a, a.T.copy())
    assert_same_bits(got, np.float32([[2.0**-45]]), backend)


def test_subnormal_results_are_kept(backend):
    a = np.full((9, 3), 2.0**-24, np.float16)
    got = backend.gemm_f16(a, a.T.copy(), alpha=2.0**-100)
    assert_same_bits(got, np.full((9, 9), 3 * 2.0**-148, np.float32), backend)


@pytest.mark.parametrize("beta", [0.0, -0.0, 0, 1e-60])
def test_beta_zero_does_not_read_c(beta, backend):
    a, b = halves((5, 6), 1), halves((6, 7), 2)
    got = backend.gemm_f16(a, b, beta=beta, c=np.full((5, 7), np.nan, np.float32))
    assert_same_bits(got, gemm_f16(a, b), backend)


@pytest.mark.parametrize(
    "alpha", [2, np.float16(2), np.float32(2), np.float64(2), np.int8(2)], ids=type
)
def test_alpha_may_be_any_real_number(alpha, backend):
    a, b = halves((5, 6), 1), halves((6, 7), 2)
    assert_same_bits(backend.gemm_f16(a, b, alpha=alpha), gemm_f16(a, b, alpha=2), backend)


def test_alpha_is_rounded_once_to_fp32(backend):
    one = np.ones((1, 1), np.float16)
    got = backend.gemm_f16(one, one, alpha=1 + 2.0**-24 + 2.0**-40)
    assert_same_bits(got, np.float32([[1 + 2.0**-23]]), backend)


@pytest.mark.parametrize("dtype", [np.float16, "float16", np.dtype("float16"), "e"], ids=repr)
def test_out_dtype_may_be_anything_that_names_a_dtype(dtype, backend):
    a, b = halves((5, 6), 1), halves((6, 7), 2)
    want = gemm_f16(a, b, out_dtype=np.float16)
    assert_same_bits(backend.gemm_f16(a, b, out_dtype=dtype), want, backend)


def test_product_is_float32_unless_asked_otherwise(backend):
    assert backend.gemm_f16(halves((2, 3), 1), halves((3, 4), 2)).dtype == np.float32


def test_half_out_makes_the_result_half(backend):
    a, b = halves((5, 6), 1), halves((6, 7), 2)
    got = backend.gemm_f16(a, b, out=np.empty((5, 7), np.float16))
    assert_same_bits(got, gemm_f16(a, b, out_dtype=np.float16), backend)


@pytest.mark.parametrize(
    ("shape_a", "shape_b"),
    [((0, 3), (3, 4)), ((2, 3), (3, 0)), ((0, 0), (0, 0)), ((0, 2, 3), (3, 4)), ((2, 0), (0, 0))],
    ids=str,
)
def test_empty_result_is_empty(shape_a, shape_b, backend):
    got = backend.gemm_f16(np.zeros(shape_a, np.float16), np.zeros(shape_b, np.float16))
    assert_same_bits(got, np.zeros((*shape_a[:-1], shape_b[-1]), np.float32), backend)


def test_memory_mapped_operand_is_an_array_like_any_other(backend, tmp_path):
    a, b = halves((5, 6), 1), halves((6, 7), 2)
    np.save(tmp_path / "b.npy", b)
    mapped = np.load(tmp_path / "b.npy", mmap_mode="r")
    assert_same_bits(backend.gemm_f16(a, mapped), gemm_f16(a, b), backend)
