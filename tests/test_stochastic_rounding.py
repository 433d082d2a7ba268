# SPDX-License-Identifier: Apache-2.0
"""Stochastic rounding: the reference's bits, no bias, and nothing but seed and index decides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import threads
from halfbyte_reference import (
    bounds,
    quantize,
    uniforms,
    unpack_nibbles,
)
from quantized_cases import assert_tensor, cases
from strategies import seeds, thread_counts

stochastic_seeds = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from((0, 2**32, 2**64 - 1)))
EVERY_SCALE = (1.0, 0.37, 1 / 127, 2.0**-24, 2.0**-140, 515.0, 3e38)


@given(case=cases(), count=thread_counts, seed=stochastic_seeds)
def test_stochastic_codes_have_the_bits_of_the_reference(case, count, seed, backend):
    named = case.form | case.given | {"rounding": "stochastic", "seed": seed}
    with threads(count):
        got = backend.quantize(case.x_near_ties, **named)
    assert_tensor(got, quantize(case.x_near_ties, **named), case, backend)


@given(case=cases(), count=thread_counts, seed=stochastic_seeds)
def test_stochastic_codes_of_a_scale_from_data_have_the_bits_of_the_reference(
    case, count, seed, backend
):
    named = case.form | {"rounding": "stochastic", "seed": seed}
    with threads(count):
        got = backend.quantize(case.x_finite, **named)
    assert_tensor(got, quantize(case.x_finite, **named), case, backend)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("part", [0.25, 0.3, 1 / 3, 0.9, 2.0**-10])
def test_stochastic_rounding_is_unbiased(part, bits, backend):
    n, part = 100_000, float(np.float32(part))
    x = np.full(n, np.float32(part))
    got = backend.quantize(x, bits=bits, scale=1.0, rounding="stochastic", seed=11).values
    codes = unpack_nibbles(got, n, True) if bits == 4 else got
    assert abs(codes.mean() - part) <= bounds.sampled_mean(part, n)


@given(seed=stochastic_seeds)
def test_seed_and_index_alone_say_who_is_rounded_up(seed, backend):
    x = np.full((3, 5, 7), 0.5, np.float32)
    got = backend.quantize(x, scale=1.0, rounding="stochastic", seed=seed).values
    assert got.ravel().tolist() == (uniforms(seed, 0, x.size) < 0.5).tolist()


@given(seed=stochastic_seeds)
def test_number_equal_to_its_draw_is_rounded_down(seed, backend):
    x = uniforms(seed, 0, 100)
    got = backend.quantize(x, scale=1.0, rounding="stochastic", seed=seed).values
    assert not got.any()


@given(seed=seeds, exponent=st.integers(-140, 100))
def test_whole_quotients_never_move(seed, exponent, backend):
    scale = np.float32(2.0**exponent)
    steps = np.random.default_rng(seed).integers(-127, 128, 300)
    x = (steps * np.float64(scale)).astype(np.float32)
    got = backend.quantize(x, scale=scale, rounding="stochastic", seed=seed).values
    assert got.tolist() == steps.tolist()
