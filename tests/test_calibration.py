# SPDX-License-Identifier: Apache-2.0
"""Observers remember what rule 11 says of the arrays they see, in any order and any split."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte
import halfbyte_reference
from assertions import assert_same_bits
from halfbyte_reference import quantize
from halfbyte_reference.inputs import floats
from observers import (
    CHANNELS,
    MAKERS,
    assert_same_results,
    makers,
    mergeable,
    observed,
    results,
    several,
    updates,
    widths,
    without_axis,
)
from strategies import seeds


@makers
@given(drawn=several)
def test_observer_has_the_bits_of_the_reference(make, drawn, library):
    arrays = [update.x for update in drawn]
    want = observed(make, arrays, halfbyte_reference)
    assert_same_results(observed(make, arrays, library), want)


@makers
def test_updates_without_elements_give_scale_1(make, library):
    observer = observed(make, [np.zeros((CHANNELS, 0, CHANNELS), np.float32)] * 2, library)
    scale, zero_point = observer.scale_zero_point()
    assert_same_bits(scale, np.ones(scale.shape, np.float32))
    assert zero_point is None


@makers
@given(first=updates, second=updates)
def test_update_without_elements_changes_nothing(make, first, second, library):
    empty = np.zeros((CHANNELS, 0, CHANNELS), np.float32)
    got = observed(make, [empty, first.x, empty, second.x, empty], library)
    assert_same_results(got, observed(make, [first.x, second.x], library))


@makers
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_update_that_is_not_finite_changes_nothing(make, bad, dtype):
    x = floats((CHANNELS, 3, CHANNELS), 1).astype(dtype)
    observer = observed(make, [x])
    before = pickle.dumps(observer)
    x[1, 2, 3] = bad
    with pytest.raises(ValueError, match=r"update: x .*NaN or an infinity"):
        observer.update(x)
    assert pickle.dumps(observer) == before


@makers
def test_first_update_that_is_not_finite_is_none(make):
    observer = make(halfbyte)
    with pytest.raises(ValueError, match=r"update: x"):
        observer.update(np.full((CHANNELS, 1, CHANNELS), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"no update yet"):
        observer.scale_zero_point()


@makers
@pytest.mark.parametrize(
    "remake", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["deepcopy", "copy", "pickle"],
)  # fmt: skip
def test_observer_can_be_remade_and_goes_on(make, remake, library):
    x, y = floats((2, CHANNELS, 3, CHANNELS), 1)
    observer = observed(make, [x], library)
    again = remake(observer)
    again.update(y)
    assert_same_results(again, observed(make, [x, y], library))
    assert_same_results(observer, observed(make, [x], library))


@makers
def test_update_does_not_keep_the_array(make, library):
    x = floats((CHANNELS, 3, CHANNELS), 1)
    observer = observed(make, [x], library)
    want = results(observer)
    x[...] = 7
    assert [str(part) for part in results(observer)] == [str(part) for part in want]


@makers
@given(update=updates, bits=widths, symmetric=st.booleans())
def test_scale_is_float32_and_zero_point_is_int32(make, update, bits, symmetric, library):
    observer = observed(make, [update.x], library)
    scale, zero_point = observer.scale_zero_point(bits, symmetric)
    channels = () if observer.axis is None else (CHANNELS,)
    assert (scale.dtype, scale.shape) == (np.float32, channels)
    if symmetric:
        assert zero_point is None
    else:
        assert (zero_point.dtype, zero_point.shape) == (np.int32, channels)


# -------------------------------------------------------------------------------- merging


@mergeable
@given(drawn=several, rest=several, seed=seeds)
def test_merging_in_any_order_is_one_update_after_the_other(make, drawn, rest, seed, library):
    arrays = [update.x for update in (*drawn, *rest)]
    parts = [observed(make, [x], library) for x in arrays]
    rng = np.random.default_rng(seed)
    while len(parts) > 1:
        first, second = (parts.pop(rng.integers(len(parts))) for _ in range(2))
        first.merge(second)
        parts.append(first)
    assert_same_results(parts[0], observed(make, arrays, library))


@without_axis
@given(drawn=several)
def test_many_updates_are_one_of_all_their_elements(make, drawn, library):
    arrays = [update.x for update in drawn]
    joined = np.concatenate([x.astype(np.float32).ravel() for x in arrays])
    assert_same_results(observed(make, arrays, library), observed(make, [joined], library))


@mergeable
def test_merging_leaves_the_other_as_it_was(make, library):
    x, y = floats((2, CHANNELS, 3, CHANNELS), 1)
    observer, other = (observed(make, [z], library) for z in (x, y * np.float32(100)))
    before = pickle.dumps(other)
    observer.merge(other)
    observer.update(x * np.float32(1e6))
    assert pickle.dumps(other) == before


@mergeable
@pytest.mark.parametrize("seen_first", [True, False])
def test_merging_with_one_that_saw_nothing_changes_nothing(make, seen_first, library):
    observers = [observed(make, [floats((CHANNELS, 3, CHANNELS), 1)], library), make(library)]
    want = copy.deepcopy(observers[0])
    first, second = observers if seen_first else observers[::-1]
    first.merge(second)
    assert_same_results(first, want)


def test_two_observers_that_saw_nothing_merge_to_one_that_saw_nothing():
    observer = halfbyte.MinMaxObserver()
    observer.merge(halfbyte.MinMaxObserver())
    with pytest.raises(ValueError, match="no update yet"):
        observer.scale_zero_point()


# ----------------------------------------------------------------------- extremes, averages


@given(drawn=several, symmetric=st.booleans(), axis=st.sampled_from((None, 0, 2)))
def test_min_max_gives_the_scales_of_all_data_at_once(drawn, symmetric, axis, library):
    observer = library.MinMaxObserver(axis)
    for update in drawn:
        observer.update(update.x)
    joined = np.concatenate([update.x.astype(np.float32) for update in drawn], axis=1)
    want = quantize(joined, axis=axis, symmetric=symmetric)
    scale, zero_point = observer.scale_zero_point(symmetric=symmetric)
    assert_same_bits(scale, want.scale)
    if not symmetric:
        assert_same_bits(zero_point, want.zero_point)


@given(drawn=several)
def test_a_hundred_per_cent_are_the_extremes(drawn, library):
    arrays = [update.x for update in drawn]
    got = observed(lambda from_: from_.HistogramObserver("percentile", 100), arrays, library)
    assert_same_results(got, observed(MAKERS["min-max"], arrays, library))


def test_first_update_with_elements_sets_the_average(library):
    observer = library.MovingAverageObserver(momentum=0.25)
    observer.update(np.zeros(0, np.float32))
    observer.update(np.float32([-127, 0.5]))
    assert observer.scale_zero_point()[0] == 1


def test_average_moves_its_part_of_the_way(library):
    observer = library.MovingAverageObserver(momentum=0.25)
    observer.update(np.float32([-127, 1]))
    observer.update(np.float32([-127 + 8 * 127, 8 * 127]))
    # lo = -127 + 8 * 127 / 4 is positive, hi = 1 + (8 * 127 - 1) / 4 = 254.75
    scale, _ = observer.scale_zero_point()
    assert_same_bits(scale, np.float32(254.75) / np.float32(127) + np.zeros((), np.float32))


def test_average_moves_across_more_than_the_largest_number(library):
    top = np.finfo(np.float32).max
    observer = library.MovingAverageObserver(momentum=0.5)
    observer.update(np.float32([-top]))
    observer.update(np.float32([top]))
    # lo = hi = (1 - 1/2) (-top) + top / 2 = 0
    assert observer.scale_zero_point()[0] == 1


def test_average_that_a_rounding_takes_too_far_is_finite(library):
    top = np.finfo(np.float32).max
    observer = library.MovingAverageObserver(momentum=1)
    observer.update(np.float32([-3 * 2.0**103]))
    observer.update(np.float32([-top]))
    # -top + 3 * 2^103 is a tie and becomes -top + 2 * 2^103, from which the sum overflows.
    assert_same_bits(observer.scale_zero_point()[0], np.asarray(top / np.float32(127)))


# ---------------------------------------------------------------------- with the rest


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_quantize_takes_what_an_observer_gives(axis, symmetric, library):
    x = floats((5, 7), 1)
    observer = library.MinMaxObserver(axis)
    observer.update(x)
    scale, zero_point = observer.scale_zero_point(symmetric=symmetric)
    got = library.quantize(x, axis=axis, symmetric=symmetric, scale=scale, zero_point=zero_point)
    assert got == library.quantize(x, axis=axis, symmetric=symmetric)


@makers
def test_tensors_of_torch_give_tensors_of_the_same_bits(make, torch):
    x = floats((CHANNELS, 3, CHANNELS), 1)
    observer = observed(make, [torch.from_numpy(x)])
    again = pickle.loads(pickle.dumps(observer))
    scale, zero_point = again.scale_zero_point(symmetric=False)
    want = observed(make, [x]).scale_zero_point(symmetric=False)
    assert_same_bits(scale.numpy(), want[0])
    assert_same_bits(zero_point.numpy(), want[1])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("min-max", "MinMaxObserver(axis=None; -1.5 .. 2.0)"),
        ("min-max, last axis", "MinMaxObserver(axis=-1; 2 channels, -1.5 .. 2.0)"),
        ("moving average", "MovingAverageObserver(axis=None, momentum=0.1; -1.5 .. 2.0)"),
        ("mse", "HistogramObserver(method='mse'; -1.5 .. 2.0)"),
        ("median", "HistogramObserver(method='percentile', percentile=50.0; -1.5 .. 2.0)"),
    ],
)
def test_text_tells_arguments_and_extremes(name, text):
    assert repr(observed(MAKERS[name], [np.float32([[-1.5, 2]])])) == text


@pytest.mark.parametrize(
    ("arrays", "text"), [([], "no update yet"), ([np.zeros(0, np.float32)], "no elements yet")]
)
def test_text_tells_that_there_was_nothing(arrays, text):
    assert repr(observed(MAKERS["min-max"], arrays)) == f"MinMaxObserver(axis=None; {text})"
