# SPDX-License-Identifier: Apache-2.0
"""The random numbers behind stochastic rounding against published vectors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference as reference
from assertions import assert_same_bits
from halfbyte_reference.inputs import floats


# Random123's kat_vectors: counter, key, words.
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        (
            "00000000 00000000 00000000 00000000",
            "00000000 00000000",
            "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        ),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_philox_is_the_published_one(counter, key, words):
    counter, key, words = (
        np.uint32([int(word, 16) for word in part.split()]) for part in (counter, key, words)
    )
    assert_same_bits(reference.philox4x32(counter, key), words)


@given(
    seed=st.integers(0, 2**64 - 1),
    start=st.one_of(st.integers(0, 40), st.integers(2**34 - 9, 2**34 + 9), st.integers(0, 2**60)),
)
def test_uniform_of_an_element_is_its_word_of_its_counter(seed, start):
    got = reference.uniforms(seed, start, 11)
    key = np.uint32([seed % 2**32, seed // 2**32])
    for i, u in enumerate(got, start):
        counter = np.uint32([i // 4 % 2**32, i // 4 // 2**32, 0, 0])
        word = int(reference.philox4x32(counter, key)[i % 4])
        assert float(u) * 2**24 == word // 256


def test_stochastic_codes_are_the_floor_and_perhaps_one_more():
    x, scale = floats(500, 1), np.float32(0.07)
    got = reference.quantize(x, scale=scale, rounding="stochastic", seed=3).codes
    t = x / scale
    up = reference.uniforms(3, 0, 500) < t - np.floor(t)
    assert got.tolist() == [
        min(max(math.floor(a) + int(b), -127), 127) for a, b in zip(t, up, strict=True)
    ]
