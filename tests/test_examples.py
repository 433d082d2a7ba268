# SPDX-License-Identifier: Apache-2.0
"""The number of examples can be lowered for a test while it runs, and is as before after it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples_of


@pytest.fixture
def counted():
    """A test of Hypothesis, and the list of what it was called with."""
    drawn = []

    @settings(max_examples=50, database=None)
    @given(x=st.integers())
    def test(x):
        drawn.append(x)

    return test, drawn


@pytest.mark.parametrize(("most", "want"), [(7, 7), (50, 50), (1000, 50)])
def test_no_more_examples_are_drawn(most, want, counted):
    test, drawn = counted
    with examples_of(test, most):
        test()
    assert len(drawn) == want


def test_number_is_as_before_afterwards(counted):
    test, drawn = counted
    with examples_of(test, 7):
        pass
    test()
    assert len(drawn) == 50


def test_test_without_hypothesis_is_left_alone():
    def test():
        pass

    with examples_of(test, 7):
        test()
    assert vars(test) == {}
