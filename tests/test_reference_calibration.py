# SPDX-License-Identifier: Apache-2.0
"""Observers of the reference against what they say of the numbers themselves, one by one."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_same_bits
from halfbyte_reference import (
    HistogramObserver,
    MinMaxObserver,
    MovingAverageObserver,
    code_range,
    mse_candidates,
    quantize,
)
from halfbyte_reference.calibration import HALF
from halfbyte_reference.inputs import floats, halves
from rational import rational, scalar_error, scalar_scale, single
from strategies import seeds

OBSERVERS = (
    MinMaxObserver,
    MovingAverageObserver,
    HistogramObserver,
    lambda: HistogramObserver("percentile"),
)
IDS = ("minmax", "average", "mse", "percentile")

observers = pytest.mark.parametrize("make", OBSERVERS, ids=IDS)
symmetries = pytest.mark.parametrize("symmetric", [True, False])


def batch(seed, exponents=(-149, 120)):
    """Return a few numbers around one power of two, or zeros, or none, or numbers of any size."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 6)
    x = rng.integers(-1100, 1100, rng.integers(1, 30)) * 2.0 ** rng.integers(*exponents) / 1024
    if kind == 0:
        x = x[:0]
    elif kind == 1:
        x = -0.0 * np.abs(x)
    elif kind == 2:
        x = floats(x.shape, seed, "wide")
    return np.asarray(x, np.float32)


def observed(make, batches):
    observer = make()
    for x in batches:
        observer.update(x)
    return observer


def state(observer):
    return {
        name: value.tobytes() if isinstance(value, (np.ndarray, np.generic)) else value
        for name, value in vars(observer).items()
    }


@pytest.mark.parametrize(
    "make", [MinMaxObserver, HistogramObserver, lambda: HistogramObserver("percentile", 90)]
)
@given(seed=seeds)
def test_observers_merged_in_any_order_are_equal(make, seed):
    rng = np.random.default_rng(seed)
    batches = [batch([seed, i]) for i in range(5)]
    whole = observed(make, batches)
    parts = [observed(make, part) for part in (batches[:2], batches[2:3], batches[3:], [])]
    merged = make()
    for i in rng.permutation(4):
        merged.merge(parts[i])
    # 0 and -0 are equal extremes, and which of them is kept depends on the order.
    for observer in (whole, merged):
        observer.lo, observer.hi = observer.lo + np.float32(0), observer.hi + np.float32(0)
    assert state(merged) == state(whole)


@given(seed=seeds)
def test_histogram_counts_what_lies_in_each_bin(seed):
    batches = [batch([seed, i]) for i in range(4)]
    x = [rational(value) for part in batches for value in part]
    observer = observed(HistogramObserver, batches)
    absmax = max(map(abs, x), default=Fraction(0))
    want = np.zeros(2 * HALF, np.int64)
    if absmax:
        e = -126
        while absmax >= Fraction(2) ** (e + 10):
            e += 1
        assert observer.exponent == e
    else:
        assert observer.exponent is None
        e = 0
    for value in x:
        want[math.floor(value / Fraction(2) ** e) + HALF] += 1
    assert_same_bits(observer.counts, want)


@given(seed=seeds, percentile=st.sampled_from((1e-3, 25.0, 50.0, 90.0, 99.9, 100.0)))
def test_symmetric_percentile_is_the_first_edge_with_enough_inside(seed, percentile):
    x = batch(seed)
    observer = HistogramObserver("percentile", percentile)
    observer.update(x)
    if observer.exponent is None:
        return
    x = np.float64(x)
    need, width = math.ceil(x.size * percentile / 100), 2.0**observer.exponent
    edges = [j * width for j in range(1, HALF + 1)]
    edge = next(a for a in edges if np.count_nonzero((-a <= x) & (x < a)) >= need)
    edge = min(edge, float(np.abs(x).max()))
    scale, zero_point = observer.scale_zero_point(bits=4)
    assert zero_point is None
    assert float(scale) == scalar_scale(-edge, edge, -7, 7, True)[0]


@given(seed=seeds, percentile=st.sampled_from((1e-3, 25.0, 50.0, 90.0, 99.9, 100.0)))
def test_affine_percentile_is_cut_from_both_sides(seed, percentile):
    x = batch(seed)
    observer = HistogramObserver("percentile", percentile)
    observer.update(x)
    if observer.exponent is None:
        return
    x = np.float64(x)
    need, width = math.ceil(x.size * percentile / 100), 2.0**observer.exponent
    edges = [i * width for i in range(-HALF, HALF + 1)]
    hi = next(a for a in edges[1:] if np.count_nonzero(x < a) >= need)
    lo = next(a for a in edges[-2::-1] if np.count_nonzero(x >= a) >= need)
    lo, hi = max(lo, float(x.min())), min(hi, float(x.max()))
    scale, zero_point = observer.scale_zero_point(bits=4, symmetric=False)
    assert (float(scale), int(zero_point)) == scalar_scale(lo, hi, -8, 7, False)


@given(seed=seeds, symmetric=st.booleans())
def test_mse_scale_of_a_histogram_has_the_smallest_exact_error(seed, symmetric):
    observer = observed(HistogramObserver, [batch([seed, i], (-10, 10)) for i in range(3)])
    scale, zero_point = observer.scale_zero_point(bits=4, symmetric=symmetric)
    if observer.exponent is None:
        assert scale == 1
        return
    qmin, qmax = code_range(4, True, symmetric)
    first, z = scalar_scale(observer.lo, observer.hi, qmin, qmax, symmetric)
    filled = np.flatnonzero(observer.counts)
    middle = [single((Fraction(int(i) - HALF) + Fraction(1, 2)) * 2 ** Fraction(observer.exponent))
              for i in filled]  # fmt: skip
    counts = observer.counts[filled]
    candidates = mse_candidates(np.float32(first)).tolist()
    errors = [scalar_error(middle, s, z or 0, qmin, qmax, counts) for s in candidates]
    assert errors[candidates.index(float(scale))] <= min(errors) * (1 + Fraction(1, 2**40))
    assert symmetric or int(zero_point) == z


@symmetries
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_extremes_of_all_updates_give_the_scale_of_the_whole(axis, symmetric):
    x = floats((6, 5, 8), 1)
    observer = observed(
        lambda: MinMaxObserver(axis), np.array_split(x, 2, axis=2 if axis != -1 else 1)
    )
    got = observer.scale_zero_point(symmetric=symmetric)
    want = quantize(x, axis=axis, symmetric=symmetric)
    assert_same_bits(got[0], want.scale)
    if not symmetric:
        assert_same_bits(got[1], want.zero_point)


def test_moving_average_is_the_scalar_formula():
    batches = [floats((3, 7), seed) for seed in range(4)]
    observer = observed(lambda: MovingAverageObserver(0, 0.3), batches)
    m = rational(np.float32(0.3))
    for channel in range(3):
        lo, hi = (float(f(batches[0][channel])) for f in (min, max))
        for x in batches[1:]:
            low, high = (rational(f(x[channel])) for f in (min, max))
            lo, hi = (
                single(Fraction(old) + Fraction(single(m * Fraction(single(new - Fraction(old))))))
                for old, new in ((lo, low), (hi, high))
            )
        assert (float(observer.lo[channel]), float(observer.hi[channel])) == (lo, hi)


def test_moving_average_reaches_from_end_to_end_of_float32():
    largest = np.finfo(np.float32).max
    observer = observed(
        lambda: MovingAverageObserver(momentum=0.25), [np.float32([v]) for v in (largest, -largest)]
    )
    assert observer.lo == np.float32(0.75) * largest - np.float32(0.25) * largest


def test_first_update_sets_the_moving_average():
    batches = [np.zeros(0, np.float32), np.float32([3, 5]), np.zeros(0, np.float32)]
    observer = observed(MovingAverageObserver, batches)
    assert (observer.lo, observer.hi) == (3, 5)


def test_zero_joins_a_moving_average_at_the_end():
    observer = observed(MovingAverageObserver, [np.float32([3, 5])])
    scale, zero_point = observer.scale_zero_point(symmetric=False)
    assert (float(scale), int(zero_point)) == (single(Fraction(5, 255)), -128)


@observers
def test_observer_without_an_update_has_no_scale(make):
    with pytest.raises(ValueError, match="no update"):
        make().scale_zero_point()


@observers
@symmetries
@pytest.mark.parametrize("x", [np.zeros(0), np.zeros(3), -np.zeros(3)], ids=str)
def test_scale_of_nothing_is_one(make, x, symmetric):
    observer = observed(make, [np.float32(x)])
    scale, zero_point = observer.scale_zero_point(symmetric=symmetric)
    assert float(scale) == 1
    assert zero_point is None if symmetric else int(zero_point) == -128


@observers
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_update_changes_nothing(make, bad):
    observer = observed(make, [floats(9, 1)])
    before = state(observer)
    with pytest.raises(ValueError, match="NaN or an infinity"):
        observer.update(np.float32([1000, bad]))
    assert state(observer) == before


@observers
def test_halves_count_as_the_floats_they_are(make):
    x = halves(99, 1)
    got, want = observed(make, [x]), observed(make, [np.float32(x)])
    assert state(got) == state(want)
