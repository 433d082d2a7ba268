# SPDX-License-Identifier: Apache-2.0
"""quantize returns the reference's codes, scales and zero points, whatever shape and layout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_same_bits, assert_within
from backends import threads
from halfbyte_reference import (
    bounds,
    quantize,
    unpack_nibbles,
)
from halfbyte_reference.channels import spread
from halfbyte_reference.inputs import every_half, floats, halves
from halfbyte_reference.inputs_quantized import near_ties, scales
from quantized_cases import assert_best_scale, assert_tensor, cases, every_bits, lengths, stored
from strategies import laid_out, layouts, seeds, thread_counts

stochastic_seeds = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from((0, 2**32, 2**64 - 1)))
EVERY_SCALE = (1.0, 0.37, 1 / 127, 2.0**-24, 2.0**-140, 515.0, 3e38)


@given(case=cases(), count=thread_counts)
def test_codes_of_a_given_scale_have_the_bits_of_the_reference(case, count, backend):
    with threads(count):
        got = backend.quantize(case.x_near_ties, **case.form, **case.given)
    want = quantize(case.x_near_ties, **case.form, **case.given)
    assert_tensor(got, want, case, backend)


@given(case=cases(), count=thread_counts)
def test_scale_from_data_has_the_bits_of_the_reference(case, count, backend):
    with threads(count):
        got = backend.quantize(case.x_finite, **case.form)
    assert_tensor(got, quantize(case.x_finite, **case.form), case, backend)


@given(case=cases(), count=thread_counts)
def test_non_finite_elements_are_left_out_of_the_extremes_unchecked(case, count, backend):
    x = case.x_near_ties
    with threads(count):
        got = backend.quantize(x, **case.form, check_finite=False)
    assert_tensor(got, quantize(x, **case.form, check_finite=False), case, backend)


@given(case=cases(), count=thread_counts)
def test_mse_scale_has_the_smallest_error(case, count, backend):
    x = case.x_finite
    with threads(count):
        got = backend.quantize(x, **case.form, method="mse")
    assert_best_scale(got, x, case.form, case.limits)
    # Zero points are those of the first candidate, and codes those of the chosen one.
    first = quantize(x, **case.form)
    given = {"scale": got.scale, "zero_point": first.zero_point}
    assert_tensor(got, quantize(x, **case.form, **given), case, backend)


@given(case=cases())
def test_method_and_finiteness_do_not_matter_to_a_given_scale(case, backend):
    x = case.x_near_ties
    got = backend.quantize(x, **case.form, **case.given, method="mse", check_finite=True)
    assert got == backend.quantize(x, **case.form, **case.given)


@given(case=cases())
def test_seed_does_not_matter_to_nearest_rounding(case, backend):
    x = case.x_finite
    assert backend.quantize(x, **case.form, seed=7) == backend.quantize(x, **case.form)


@given(case=cases())
def test_inputs_are_left_alone(case, backend):
    x, given = case.x_near_ties, case.given
    arrays = [x, *(array for array in given.values() if array is not None)]
    before = [array.tobytes() for array in arrays]
    backend.quantize(x, **case.form, **given)
    assert [array.tobytes() for array in arrays] == before


@pytest.mark.parametrize("scale", EVERY_SCALE)
@pytest.mark.parametrize("bits", [8, 4])
def test_every_half_has_the_code_of_the_reference(scale, bits, backend):
    got = backend.quantize(every_half(), bits=bits, scale=scale)
    want = quantize(every_half(), bits=bits, scale=scale).codes
    assert_same_bits(got.values, stored(want, bits), backend)


@pytest.mark.parametrize("scale", EVERY_SCALE)
@pytest.mark.parametrize("zero_point", [0, 3, 128, 255])
def test_every_half_has_the_unsigned_code_of_the_reference(scale, zero_point, backend):
    named = {"scale": scale, "zero_point": zero_point, "signed": False, "symmetric": False}
    got = backend.quantize(every_half(), **named)
    assert_same_bits(got.values, quantize(every_half(), **named).codes, backend)


@pytest.mark.parametrize("scale", EVERY_SCALE)
def test_every_exponent_of_float32_has_the_code_of_the_reference(scale, backend):
    x = (np.arange(2**18, dtype=np.uint32) << np.uint32(14) | np.uint32(5)).view(np.float32)
    assert_same_bits(
        backend.quantize(x, scale=scale).values, quantize(x, scale=scale).codes, backend
    )


@given(bits=every_bits, signed=st.booleans(), seed=seeds, half=st.booleans())
def test_codes_survive_the_round_trip(bits, signed, seed, half, backend):
    # Every code beside every zero point, some scales each: none of them overflows float16.
    qmin, qmax = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    every = np.arange(qmin, qmax + 1, dtype=np.int8 if signed else np.uint8)
    count = len(every)
    named = {
        "scale": np.exp2(np.random.default_rng(seed).integers(-9, 5, count)).astype(np.float32),
        "zero_point": np.arange(qmin, qmax + 1, dtype=np.int32),
        "bits": bits,
        "signed": signed,
        "symmetric": False,
        "axis": 0,
    }
    x = floats((count, count), seed)
    q = backend.quantize(x, **named)
    codes = np.broadcast_to(every, (count, count))
    q.values[...] = stored(codes, bits)
    x = backend.dequantize(q, dtype=np.float16 if half else np.float32)
    assert_same_bits(backend.quantize(x, **named).values, stored(codes, bits), backend)


@given(seed=seeds, bits=every_bits, kind=st.sampled_from(("normal", "wide", "bits")))
def test_larger_numbers_have_no_smaller_codes(seed, bits, kind, backend):
    x = np.sort(floats(257, seed, kind))
    x = x[~np.isnan(x)]
    named = {"scale": scales((), seed, "mixed"), "zero_point": 1, "symmetric": False}
    got = backend.quantize(x, bits=bits, **named).values
    codes = unpack_nibbles(got, x.size, True) if bits == 4 else got
    assert (np.diff(codes.astype(int)) >= 0).all()


@given(case=cases())
def test_round_trip_is_within_the_bound(case, backend):
    x = case.x_near_ties.astype(np.float32)
    q = backend.quantize(x, **case.form, **case.given)
    y = backend.dequantize(q)
    scale = spread(case.scale, x.shape, case.axis, case.group_size)
    zero_point = np.int32(0) if case.symmetric else case.zero_point
    qmin, qmax = case.limits
    with np.errstate(over="ignore", invalid="ignore"):
        code = np.rint(x / scale) + spread(zero_point, x.shape, case.axis, case.group_size)
    inside = (code >= qmin) & (code <= qmax) & np.isfinite(y)
    bound = bounds.round_trip(scale, case.bits)
    bounded = bounds.Bounded(np.where(inside, np.float64(x), 0), bound, np.zeros(x.shape, bool))
    assert_within(np.where(inside, y, np.float32(0)), bounded, backend)


@pytest.mark.parametrize("k", [1, 8, 31, 32, 33, 200])
def test_quotient_is_a_true_division(k, backend):
    # Times the reciprocal it would be 128.
    x, scale = np.full(k, 0.273939937, np.float32), np.float32(0.00214854861)
    got = backend.quantize(x, scale=scale, zero_point=0, signed=False, symmetric=False)
    assert (got.values == 127).all()


@pytest.mark.parametrize("k", [6, 32, 45])
def test_ties_go_to_the_even_code_before_the_zero_point_is_added(k, backend):
    x = np.resize(np.float32([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]), k)
    got = backend.quantize(x, scale=1.0, zero_point=1, symmetric=False).values
    assert got.tolist() == np.resize([-1, -1, 1, 1, 3, 3], k).tolist()


@pytest.mark.parametrize("half", [False, True])
def test_infinities_saturate_and_nan_is_the_zero_point(half, backend):
    x = np.resize([np.inf, -np.inf, np.nan], 99).astype(np.float16 if half else np.float32)
    got = backend.quantize(x, scale=1e-3, zero_point=5, symmetric=False).values
    assert got.tolist() == np.resize([127, -128, 5], 99).tolist()


def test_quotient_beyond_float32_saturates(backend):
    x = np.resize(np.float32([3e38, -3e38]), 50)
    got = backend.quantize(x, scale=2.0**-149).values
    assert got.tolist() == np.resize([127, -127], 50).tolist()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("method", ["absmax", "mse"])
@pytest.mark.parametrize("value", [0.0, -0.0, 2.0**-149, -(2.0**-120)])
def test_scale_of_next_to_nothing_is_one(symmetric, method, value, backend):
    x = floats((3, 70), 1)
    x[1] = value
    got = backend.quantize(x, axis=0, symmetric=symmetric, method=method)
    assert got.scale[1] == 1
    assert (got.values[1] == (0 if symmetric else got.zero_point[1])).all()


@pytest.mark.parametrize("symmetric", [True, False])
def test_smallest_scale_from_data_is_the_smallest_normal(symmetric, backend):
    steps = 127 if symmetric else 255
    limit = np.float32(steps * 2.0**-126)
    x = np.stack([np.resize([limit], 40), np.resize([np.nextafter(limit, np.float32(0))], 40)])
    got = backend.quantize(x, axis=0, symmetric=symmetric)
    assert got.scale.tolist() == [2.0**-126, 1.0]


def test_span_from_end_to_end_of_float32_has_a_finite_scale(backend):
    largest = np.finfo(np.float32).max
    x = np.resize(np.float32([largest, -largest]), (2, 40))
    got = backend.quantize(x, axis=0, symmetric=False)
    assert_tensor_scale(got, quantize(x, axis=0, symmetric=False), backend)


def assert_tensor_scale(got, want, backend):
    assert_same_bits(got.scale, want.scale, backend)
    assert_same_bits(got.zero_point, want.zero_point, backend)
    assert_same_bits(got.values, want.codes, backend)


@pytest.mark.parametrize("outlier", [0, 33, 599])
def test_extreme_is_found_wherever_it_is(outlier, backend):
    x = floats((5, 600), 1)
    x[3, outlier] = -9
    with threads(3):
        got = backend.quantize(x)
    assert got.scale == np.float32(9) / np.float32(127)


@pytest.mark.parametrize("zero_point", [5, np.int8(5), np.int32(5), np.array(5, np.int64)])
def test_zero_point_may_be_any_integer(zero_point, backend):
    x = halves(50, 1)
    got = backend.quantize(x, scale=0.1, zero_point=zero_point, symmetric=False)
    want = quantize(x, scale=np.float32(0.1), zero_point=5, symmetric=False)
    assert_same_bits(got.values, want.codes, backend)


@pytest.mark.parametrize("scale", [1, 0.1, np.float32(0.1), np.array(0.1, np.float32)], ids=type)
def test_scale_of_all_may_be_a_number(scale, backend):
    x = floats(50, 1)
    want = quantize(x, scale=np.float32(scale))
    assert_same_bits(backend.quantize(x, scale=scale).values, want.codes, backend)


def test_float_scale_is_rounded_once_to_fp32(backend):
    got = backend.quantize(np.ones(3, np.float32), scale=1 + 2.0**-24 + 2.0**-40)
    assert_same_bits(got.scale, np.array(1 + 2.0**-23, np.float32), backend)


@given(k=lengths, seed=seeds, layout=layouts)
def test_row_has_the_codes_it_has_alone(k, seed, layout, backend):
    x = laid_out(near_ties(np.full((5, k), 0.1), seed), layout)
    named = {"scale": 0.1, "bits": 4}
    whole = backend.quantize(x, **named).values
    assert_same_bits(backend.quantize(x[3], **named).values, whole[3].copy(), backend)
