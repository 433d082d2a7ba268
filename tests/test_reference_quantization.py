# SPDX-License-Identifier: Apache-2.0
"""Codes, dequantized and requantized numbers of the reference against rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference as reference
from assertions import assert_same_bits, assert_within
from halfbyte_reference import bounds
from halfbyte_reference.inputs import every_half, floats
from halfbyte_reference.inputs_quantized import (
    accumulators,
    codes,
    near_ties,
    scales,
)
from quantized_cases import affine_case, every_bits, every_range, scale_kinds
from rational import rational, scalar_code, single
from strategies import seeds


@given(seed=seeds, kind=scale_kinds, bits=every_bits, ends=every_range)
def test_codes_are_those_of_rational_arithmetic(seed, kind, bits, ends):
    x, scale, zero_point = affine_case(24, seed, kind, bits, *ends)
    qmin, qmax = reference.code_range(bits, *ends)
    arguments = {"bits": bits, "signed": ends[0], "narrow_range": ends[1], "symmetric": False}
    got = reference.quantize(x, axis=0, scale=scale, zero_point=zero_point, **arguments).codes
    want = [
        scalar_code(*one, qmin, qmax) for one in zip(x, scale, zero_point.tolist(), strict=True)
    ]
    assert_same_bits(got, np.array(want, got.dtype))


@given(seed=seeds, kind=scale_kinds, bits=every_bits)
def test_symmetric_codes_are_those_of_rational_arithmetic(seed, kind, bits):
    scale = scales(24, [seed, 0], kind)
    x = near_ties(scale, [seed, 2], 2**bits, non_finite=True)
    qmin, qmax = reference.code_range(bits, True, True)
    got = reference.quantize(x, bits=bits, axis=0, scale=scale).codes
    want = [scalar_code(*one, 0, qmin, qmax) for one in zip(x, scale, strict=True)]
    assert_same_bits(got, np.int8(want))


@given(seed=seeds, kind=scale_kinds, bits=every_bits, ends=every_range)
def test_dequantized_is_that_of_rational_arithmetic(seed, kind, bits, ends):
    q, scale = codes(24, [seed, 0], bits, *ends), scales(24, [seed, 1], kind)
    zero_point = codes(24, [seed, 2], bits, *ends).astype(np.int32)
    got = reference.dequantize(q, scale, zero_point, axis=0)
    want = [
        single(Fraction(int(code) - int(z)) * rational(s))
        for code, s, z in zip(q, scale, zero_point, strict=True)
    ]
    assert_same_bits(got, np.float32(want))


def test_dequantized_to_halves_is_rounded_twice():
    # 5 scale is 3 * 2^-26 above 1 + 2^-11, which it becomes in FP32: a tie of halves, 1 is even.
    scale = np.float32((2**26 + 2**15 + 3) // 5 * 2.0**-26)
    got = reference.dequantize(np.int8([5]), scale, dtype=np.float16)
    assert_same_bits(got, np.float16([1]))
    assert np.float16(5 * float(scale)) > 1


@given(
    seed=seeds,
    kind=st.sampled_from(("small", "normal", "mixed")),
    dtype=st.sampled_from((np.int8, np.uint8)),
    relu=st.booleans(),
    biased=st.booleans(),
)
def test_requantized_is_that_of_rational_arithmetic(seed, kind, dtype, relu, biased):
    acc = accumulators(24, [seed, 0])
    scale = scales(24, [seed, 1], "normal" if kind == "small" else kind)
    scale = scale * np.float32(2.0**-20) if kind == "small" else scale
    bias = floats(24, [seed, 2]) * np.float32(50) if biased else np.zeros(24, np.float32)
    zero_point = codes(24, [seed, 3], 8, dtype is np.int8).astype(np.int32)
    limits = np.iinfo(dtype)

    def scalar(a, s, b, z):
        y = single(Fraction(single(Fraction(int(a)))) * rational(s))
        y = y if math.isinf(y) else single(Fraction(y) + rational(b))
        y = max(y, 0.0) if relu else y
        y = math.copysign(1000, y) if math.isinf(y) else round(Fraction(y))
        return min(max(y + int(z), limits.min), limits.max)

    got = reference.requantize(
        acc,
        scale,
        zero_point=zero_point,
        dtype=dtype,
        bias=bias if biased else None,
        activation="relu" if relu else None,
    )
    want = [scalar(*one) for one in zip(acc, scale, bias, zero_point, strict=True)]
    assert_same_bits(got, np.array(want, dtype))


def test_requantized_nan_is_the_zero_point():
    got = reference.requantize(
        np.int32([2**31 - 1]), np.float32(3e38), zero_point=7, bias=np.float32(-np.inf)
    )
    assert got.tolist() == [7]


def test_requantize_goes_along_any_axis():
    acc, scale = accumulators((3, 5), 1), scales(3, 2) * np.float32(2.0**-24)
    got = reference.requantize(acc, scale, axis=0)
    want = reference.requantize(np.ascontiguousarray(acc.T), scale).T
    assert_same_bits(got, want)


def test_division_is_no_multiplication_by_a_reciprocal():
    x, scale = np.float32([0.273939937]), np.float32(0.00214854861)
    got = reference.quantize(x, symmetric=False, signed=False, scale=scale, zero_point=0).codes
    assert got.tolist() == [127]
    assert np.rint(x * (np.float32(1) / scale)).tolist() == [128]


def test_ties_go_to_the_even_code_before_the_zero_point_is_added():
    x = np.float32([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    got = reference.quantize(x, symmetric=False, scale=np.float32(1), zero_point=1).codes
    assert got.tolist() == [-1, -1, 1, 1, 3, 3]


def test_infinities_saturate_and_nan_is_the_zero_point():
    x = np.float32([np.inf, -np.inf, np.nan, 3e38, -3e38])
    got = reference.quantize(x, symmetric=False, scale=np.float32(1e-3), zero_point=5).codes
    assert got.tolist() == [127, -128, 5, 127, -128]


@given(seed=seeds, kind=scale_kinds, bits=every_bits, ends=every_range)
def test_round_trip_is_within_the_bound(seed, kind, bits, ends):
    x, scale, zero_point = affine_case(24, seed, kind, bits, *ends)
    qmin, qmax = reference.code_range(bits, *ends)
    named = {"bits": bits, "signed": ends[0], "narrow_range": ends[1], "symmetric": False}
    q = reference.quantize(x, axis=0, scale=scale, zero_point=zero_point, **named)
    y = reference.dequantize(*q, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        inside = np.rint(x / scale) + zero_point
        inside = (inside >= qmin) & (inside <= qmax) & np.isfinite(y)
    value = np.float64(np.where(inside, x, 0))
    bounded = bounds.Bounded(value, bounds.round_trip(scale, bits), np.zeros(24, bool))
    assert_within(np.where(inside, y, np.float32(0)), bounded)


def test_round_trip_bound_rejects_a_cut_off_quotient():
    scale = np.float32(0.1)
    x = near_ties(np.full(1000, scale), 1, 100)
    x = x[np.abs(x) < 12]
    y = np.trunc(x / scale) * scale
    bounded = bounds.Bounded(np.float64(x), bounds.round_trip(scale, 8), np.zeros(x.shape, bool))
    with pytest.raises(AssertionError):
        assert_within(y, bounded)


@given(seed=seeds, bits=every_bits, signed=st.booleans())
def test_codes_survive_the_round_trip(seed, bits, signed):
    q, scale = codes((3, 7), [seed, 0], bits, signed), scales(7, [seed, 1], "mixed")
    zero_point = codes(7, [seed, 2], bits, signed).astype(np.int32)
    x = reference.dequantize(q, scale, zero_point, axis=1)
    named = {"bits": bits, "signed": signed, "symmetric": False, "narrow_range": False}
    got = reference.quantize(x, axis=1, scale=scale, zero_point=zero_point, **named).codes
    assert_same_bits(got[np.isfinite(x)], q[np.isfinite(x)])


def test_every_half_is_quantized_as_the_float_it_is():
    x, scale = every_half(), np.float32(0.37)
    assert_same_bits(
        reference.quantize(x, scale=scale).codes,
        reference.quantize(x.astype(np.float32), scale=scale).codes,
    )


@pytest.mark.parametrize(
    ("signed", "row", "packed"),
    [
        (True, [1, -1], [0xF1]),
        (True, [-8, 7, 3], [0x78, 0x03]),
        (False, [15, 0, 9], [0x0F, 0x09]),
        (True, [], []),
    ],
)
def test_nibbles_are_packed_with_the_first_in_the_low_half(signed, row, packed):
    row = np.array([row], np.int8 if signed else np.uint8)
    got = reference.pack_nibbles(row)
    assert_same_bits(got, np.array([packed], np.uint8))
    assert_same_bits(reference.unpack_nibbles(got, row.shape[1], signed), row)
