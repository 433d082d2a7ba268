# SPDX-License-Identifier: Apache-2.0
"""Code ranges, channels and scales of the reference, and inputs, against other formulas."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference as reference
from assertions import assert_same_bits
from halfbyte_reference.channels import gather, spread
from halfbyte_reference.inputs import floats
from halfbyte_reference.inputs_quantized import (
    SCALE_KINDS,
    accumulators,
    codes,
    near_ties,
    scales,
)
from quantized_cases import BITS, RANGES, every_bits, every_range
from rational import rational, scalar_error, scalar_scale, single
from strategies import seeds

CHANNELS = [(None, None), (0, None), (1, None), (-1, None), (None, 1), (None, 3), (None, 50)]


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "want"),
    [
        (8, True, False, (-128, 127)),
        (8, True, True, (-127, 127)),
        (8, False, False, (0, 255)),
        (4, True, False, (-8, 7)),
        (4, True, True, (-7, 7)),
        (4, False, False, (0, 15)),
        (3, True, True, (-3, 3)),
        (2, True, False, (-2, 1)),
        (2, True, True, (-1, 1)),
        (2, False, False, (0, 3)),
    ],
)
def test_code_range_is_the_table(bits, signed, narrow, want):
    assert reference.code_range(bits, signed, narrow) == want


@given(
    seed=seeds,
    bits=every_bits,
    ends=every_range,
    symmetric=st.booleans(),
    exponent=st.sampled_from((-149, -135, -127, -126, -119, 0, 100, 127, 128)),
)
def test_scale_and_zero_point_are_those_of_rational_arithmetic(
    seed, bits, ends, symmetric, exponent
):
    symmetric &= ends[0]
    rng = np.random.default_rng(seed)
    span = rng.uniform(-1, 1, (12, 2)) * 2.0**exponent
    lo, hi = np.sort(span, axis=1).T.astype(np.float32)
    named = {"bits": bits, "signed": ends[0], "symmetric": symmetric, "narrow": ends[1]}
    scale, zero_point = reference.scale_zero_point(lo, hi, **named)
    qmin, qmax = reference.code_range(bits, *ends)
    want = [scalar_scale(a, b, qmin, qmax, symmetric) for a, b in zip(lo, hi, strict=True)]
    assert_same_bits(scale, np.float32([s for s, _ in want]))
    if symmetric:
        assert zero_point is None
    else:
        assert_same_bits(zero_point, np.int32([z for _, z in want]))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("channel", CHANNELS, ids=str)
def test_scale_of_a_channel_is_that_of_its_extremes(channel, symmetric):
    x = floats((4, 7), 1)
    axis, group_size = channel
    q = reference.quantize(x, axis=axis, group_size=group_size, symmetric=symmetric)
    ids = np.arange(q.scale.size).reshape(q.scale.shape)
    owner = spread(ids, x.shape, axis, group_size)
    for index in range(q.scale.size):
        held = x[owner == index]
        limits = reference.code_range(8, True, symmetric)
        scale, zero_point = scalar_scale(held.min(), held.max(), *limits, symmetric)
        assert q.scale.reshape(-1)[index] == scale
        assert symmetric or q.zero_point.reshape(-1)[index] == zero_point


@pytest.mark.parametrize(
    ("channel", "want"),
    [
        ((None, None), [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]),
        ((0, None), [[0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]),
        ((-1, None), [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]),
        ((None, 2), [[0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]),
        ((None, 9), [[0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]),
    ],
    ids=str,
)
def test_element_has_the_scale_of_its_channel(channel, want):
    shape = {(None, None): (), (0, None): (2,), (-1, None): (5,), (None, 2): (2, 3)}
    shape = shape.get(channel, (2, 1))
    ids = np.arange(math.prod(shape)).reshape(shape)
    assert spread(ids, (2, 5), *channel).tolist() == want


@pytest.mark.parametrize("channel", CHANNELS, ids=str)
def test_gathered_channels_hold_each_element_once(channel):
    x = np.arange(1, 29).reshape(4, 7)
    held = gather(x, *channel)
    assert sorted(held[held != 0]) == sorted(x.ravel())


@pytest.mark.parametrize("channel", CHANNELS, ids=str)
def test_gather_and_spread_agree_on_the_channels(channel):
    x = np.arange(1, 29).reshape(4, 7)
    largest = gather(x, *channel).max(axis=-1)
    owner = spread(np.arange(largest.size).reshape(largest.shape), x.shape, *channel)
    want = [x[owner == index].max() for index in range(largest.size)]
    assert largest.ravel().tolist() == want


@given(seed=seeds, bits=every_bits, ends=every_range, symmetric=st.booleans())
def test_mse_scale_has_the_smallest_exact_error(seed, bits, ends, symmetric):
    symmetric &= ends[0]
    x = floats(17, seed) ** 3
    named = {"bits": bits, "signed": ends[0], "narrow_range": ends[1], "symmetric": symmetric}
    first, got = (reference.quantize(x, method=m, **named) for m in ("absmax", "mse"))
    z = 0 if symmetric else int(first.zero_point)
    limits = reference.code_range(bits, *ends)
    candidates = [single(rational(first.scale) * (64 - i) / 64) for i in range(41)]
    errors = [scalar_error(x, scale, z, *limits) for scale in candidates]
    chosen = errors[candidates.index(float(got.scale))]
    assert chosen <= min(errors) * (1 + Fraction(1, 2**40))
    assert symmetric or got.zero_point == first.zero_point


def test_mse_tie_goes_to_the_largest_scale():
    assert reference.quantize(np.zeros(3, np.float32), method="mse").scale == 1


def test_mse_clips_an_outlier_that_absmax_keeps():
    x = np.append(floats(4000, 1), np.float32(9))
    absmax = reference.quantize(x, bits=4).scale
    assert reference.quantize(x, bits=4, method="mse").scale < absmax


def test_non_finite_channel_is_named():
    x = floats((2, 3, 4), 1)
    x[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match=r"\(2,\)"):
        reference.quantize(x, axis=1)


def test_non_finite_elements_may_be_left_out_of_the_extremes():
    x = np.float32([1, -2, np.inf, np.nan, -np.inf])
    got = reference.quantize(x, check_finite=False)
    assert got.scale == np.float32(2) / np.float32(127)
    assert got.codes.tolist() == [64, -127, 127, 0, -127]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("x", [np.zeros(3), -np.zeros(3), np.zeros(0), np.full(3, 2.0**-140)])
def test_scale_of_next_to_nothing_is_one(x, symmetric):
    assert reference.quantize(np.float32(x), symmetric=symmetric).scale == 1


@pytest.mark.parametrize("kind", SCALE_KINDS)
def test_scales_are_positive_and_finite(kind):
    made = scales(1000, 1, kind)
    assert ((made > 0) & np.isfinite(made)).all()


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("signed", "narrow"), RANGES)
def test_made_codes_are_all_there_is(bits, signed, narrow):
    qmin, qmax = reference.code_range(bits, signed, narrow)
    made = codes(20_000, 1, bits, signed, narrow)
    assert set(made.tolist()) == set(range(qmin, qmax + 1))


def test_made_accumulators_reach_both_ends():
    made = accumulators(1000, 1)
    assert (made.min(), made.max()) == (-(2**31), 2**31 - 1)


@pytest.mark.parametrize("kind", SCALE_KINDS)
def test_data_near_ties_lands_on_ties(kind):
    scale = scales(1000, 1, kind)
    x = near_ties(scale, 2)
    with np.errstate(over="ignore"):
        t = np.float64(x / scale)
    assert np.count_nonzero(t[np.isfinite(t)] % 1 == 0.5) > 40
