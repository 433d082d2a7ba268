# SPDX-License-Identifier: Apache-2.0
"""What an observer cannot take is refused and changes nothing."""

import pickle

import numpy as np
import pytest

import halfbyte
from assertions import refuses
from halfbyte import HistogramObserver, MinMaxObserver, MovingAverageObserver
from halfbyte_reference.inputs import floats
from observers import CHANNELS, makers, observed

X = floats((CHANNELS, 3, CHANNELS), 1)
with_axis = pytest.mark.parametrize("kind", [MinMaxObserver, MovingAverageObserver])


def name_of(observer):
    """The name that an observer's errors start with."""
    return type(observer).__name__


@makers
@pytest.mark.parametrize("dtype", ["float64", "int8", "int32", "bool", "object", ">f4"])
def test_array_of_another_dtype_is_refused(make, dtype):
    observer = make(halfbyte)
    with refuses(TypeError, f"{name_of(observer)}.update", "x", dtype, "float32", "float16"):
        observer.update(X.astype(dtype))


@makers
@pytest.mark.parametrize("x", [[1.0], 1.0, None, np.float32(1), "x"], ids=repr)
def test_what_is_no_array_is_refused(make, x):
    observer = make(halfbyte)
    with refuses(TypeError, f"{name_of(observer)}.update", "x", type(x).__name__):
        observer.update(x)


def test_masked_array_is_refused():
    with refuses(TypeError, "MinMaxObserver.update", "x", "MaskedArray"):
        MinMaxObserver().update(np.ma.masked_array(X))


@makers
def test_array_of_another_library_than_before_is_refused(make, torch):
    observer = observed(make, [X])
    before = pickle.dumps(observer)
    with refuses(TypeError, f"{name_of(observer)}.update", "x", "torch"):
        observer.update(torch.from_numpy(X))
    assert pickle.dumps(observer) == before


@with_axis
@pytest.mark.parametrize("size", [3, 5, 1, 0])
def test_another_number_of_channels_is_refused_and_changes_nothing(kind, size):
    observer = kind(axis=1)
    observer.update(floats((3, 4), 1))
    before = pickle.dumps(observer)
    with refuses(ValueError, f"{kind.__name__}.update", "x", str(size), "4", "axis 1"):
        observer.update(floats((3, size), 2))
    assert pickle.dumps(observer) == before


@with_axis
def test_channel_that_is_not_finite_is_named(kind):
    x = X.copy()
    x[2, 0, 1] = np.nan
    with refuses(ValueError, f"{kind.__name__}.update", "x", "NaN", "channel 2"):
        kind(axis=0).update(x)


@with_axis
@pytest.mark.parametrize(("axis", "shape"), [(2, (3, 4)), (-3, (3, 4)), (0, ())])
def test_array_without_the_axis_is_refused(kind, axis, shape):
    with refuses(ValueError, f"{kind.__name__}.update", "axis", str(axis)):
        kind(axis=axis).update(np.zeros(shape, np.float32))


@with_axis
@pytest.mark.parametrize("axis", [1.0, "0", True, (0,)], ids=repr)
def test_axis_that_is_no_integer_is_refused(kind, axis):
    with refuses(TypeError, kind.__name__, "axis", type(axis).__name__):
        kind(axis=axis)


@makers
def test_scale_before_an_update_is_refused(make):
    observer = make(halfbyte)
    with refuses(ValueError, f"{name_of(observer)}.scale_zero_point", "update"):
        observer.scale_zero_point()


@makers
@pytest.mark.parametrize(
    ("arguments", "kind", "word"),
    [
        *(({"bits": 5}, ValueError, "5"), ({"bits": 16}, ValueError, "16")),
        *(({"bits": 8.0}, TypeError, "float"), ({"bits": True}, TypeError, "bool")),
        *(({"symmetric": 1}, TypeError, "int"), ({"symmetric": None}, TypeError, "NoneType")),
    ],
    ids=str,
)
def test_codes_there_are_none_of_are_refused(make, arguments, kind, word):
    observer = observed(make, [X])
    argument = next(iter(arguments))
    with refuses(kind, f"{name_of(observer)}.scale_zero_point", argument, word):
        observer.scale_zero_point(**arguments)


@pytest.mark.parametrize("momentum", [0, 0.0, -0.1, 1.1, 1 + 2.0**-23, 1e-60, np.nan, np.inf])
def test_momentum_beyond_a_part_of_the_way_is_refused(momentum):
    with refuses(ValueError, "MovingAverageObserver", "momentum", str(momentum)):
        MovingAverageObserver(momentum=momentum)


@pytest.mark.parametrize("momentum", ["0.1", None, True, [0.1], 0.1j], ids=repr)
def test_momentum_that_is_no_number_is_refused(momentum):
    with refuses(TypeError, "MovingAverageObserver", "momentum", type(momentum).__name__):
        MovingAverageObserver(momentum=momentum)


@pytest.mark.parametrize(
    "percentile", [0, -1, 100.001, 10**400, np.nan, np.inf], ids=lambda x: str(x)[:9]
)
def test_percentile_beyond_a_hundred_is_refused(percentile):
    with refuses(ValueError, "HistogramObserver", "percentile"):
        HistogramObserver("percentile", percentile)


@pytest.mark.parametrize("percentile", ["99", None, True], ids=repr)
def test_percentile_that_is_no_number_is_refused(percentile):
    with refuses(TypeError, "HistogramObserver", "percentile", type(percentile).__name__):
        HistogramObserver("percentile", percentile)


@pytest.mark.parametrize("percentile", [50.0, 100, 99.9])
def test_percentile_of_another_method_is_refused(percentile):
    with refuses(ValueError, "HistogramObserver", "percentile", str(percentile), "mse"):
        HistogramObserver(percentile=percentile)


@pytest.mark.parametrize(
    ("method", "kind"), [("absmax", ValueError), (None, TypeError), (["mse"], TypeError)]
)
def test_unknown_method_is_refused(method, kind):
    with refuses(kind, "HistogramObserver", "method", "mse", "percentile"):
        HistogramObserver(method)


PAIRS = {
    "axis": (MinMaxObserver(), MinMaxObserver(0)),
    "axis of another sign": (MinMaxObserver(-1), MinMaxObserver(2)),
    "method": (HistogramObserver(), HistogramObserver("percentile")),
    "percentile": (HistogramObserver("percentile"), HistogramObserver("percentile", 99)),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_merging_with_other_arguments_is_refused(pair):
    with refuses(ValueError, f"{name_of(pair[0])}.merge", "other"):
        pair[0].merge(pair[1])


@pytest.mark.parametrize(
    "other", [MovingAverageObserver(), HistogramObserver(), X, None], ids=lambda x: type(x).__name__
)
def test_merging_with_another_kind_is_refused(other):
    with refuses(TypeError, "MinMaxObserver.merge", "other", type(other).__name__):
        MinMaxObserver().merge(other)


def test_merging_with_another_number_of_channels_is_refused():
    first, second = MinMaxObserver(0), MinMaxObserver(0)
    first.update(floats((3, 2), 1))
    second.update(floats((4, 2), 1))
    before = pickle.dumps(first)
    with refuses(ValueError, "MinMaxObserver.merge", "other", "3", "4"):
        first.merge(second)
    assert pickle.dumps(first) == before


def test_merging_with_what_saw_another_library_is_refused(torch):
    first, second = MinMaxObserver(), MinMaxObserver()
    first.update(X)
    second.update(torch.from_numpy(X))
    with refuses(TypeError, "MinMaxObserver.merge", "other", "torch"):
        first.merge(second)


def test_moving_averages_do_not_merge():
    assert not hasattr(MovingAverageObserver(), "merge")
