# SPDX-License-Identifier: Apache-2.0
"""What a HistogramObserver gives, by brute force over the elements themselves."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference
from assertions import assert_same_bits
from halfbyte_reference import bounds, dequantize, mse_candidates, quantize
from halfbyte_reference.inputs import floats
from observers import MAKERS, assert_same_results, observed, updates, widths


def width_of(values):
    """The smallest power of two, 2^-126 or more, of which 1024 exceed every magnitude."""
    width = Fraction(2) ** -126
    while any(abs(value) >= 1024 * width for value in values):
        width *= 2
    return width


def percentile_of(percentile):
    """Return what makes an observer of a percentile."""
    return lambda library: library.HistogramObserver("percentile", percentile)


def exact(arrays):
    return [Fraction(float(value)) for x in arrays for value in x.ravel()]


few_updates = st.lists(updates.filter(lambda update: 0 < update.depth < 3), min_size=1, max_size=2)
percentiles = st.sampled_from((100, 99.99, 99, 90, 50, 10, 1, 0.5, 1e-3, 33.3))


@given(drawn=few_updates, percentile=percentiles)
def test_symmetric_percentile_is_the_smallest_edge_that_holds_enough(drawn, percentile, library):
    arrays = [update.x for update in drawn]
    values = exact(arrays)
    width, need = width_of(values), math.ceil(len(values) * percentile / 100)
    edge = next(
        (i + 1) * width
        for i in range(1024)
        if sum(-(i + 1) * width <= value < (i + 1) * width for value in values) >= need
    )
    edge = min(edge, max(map(abs, values)))
    observer = observed(percentile_of(percentile), arrays, library)
    want = quantize(np.array([float(edge)], np.float32))
    assert_same_bits(observer.scale_zero_point()[0], want.scale)


@given(drawn=few_updates, percentile=percentiles)
def test_affine_percentile_leaves_out_as_many_on_either_side(drawn, percentile, library):
    arrays = [update.x for update in drawn]
    values = exact(arrays)
    width, need = width_of(values), math.ceil(len(values) * percentile / 100)
    edges = [i * width for i in range(-1024, 1025)]
    hi = next(edge for edge in edges[1:] if sum(value < edge for value in values) >= need)
    lo = next(edge for edge in edges[-2::-1] if sum(value >= edge for value in values) >= need)
    ends = max(lo, min(values)), min(hi, max(values))
    observer = observed(percentile_of(percentile), arrays, library)
    # 0 belongs to either end by itself: cut below the median, lo lies above hi.
    ends = np.float32([min(float(ends[0]), 0), max(float(ends[1]), 0)])
    want = quantize(ends, symmetric=False)
    scale, zero_point = observer.scale_zero_point(symmetric=False)
    assert_same_bits(scale, want.scale)
    assert_same_bits(zero_point, want.zero_point)


@given(drawn=few_updates, bits=widths, symmetric=st.booleans())
def test_mse_scale_has_the_least_error_of_the_bins(drawn, bits, symmetric, library):
    arrays = [update.x for update in drawn]
    values = exact(arrays)
    width = width_of(values)
    bins = Counter(math.floor(value / width) for value in values)
    middles = np.array([float((i + Fraction(1, 2)) * width) for i in bins], np.float32)
    observer = observed(MAKERS["mse"], arrays, library)
    first, zero_point = observed(MAKERS["min-max"], arrays).scale_zero_point(bits, symmetric)
    errors = {}
    for candidate in mse_candidates(first):
        q = quantize(
            middles, bits=bits, symmetric=symmetric, scale=candidate, zero_point=zero_point
        )
        back = dequantize(q.codes, candidate, zero_point)
        errors[candidate.tobytes()] = (
            sum(
                count * (Fraction(float(a)) - Fraction(float(b))) ** 2
                for count, a, b in zip(bins.values(), middles, back, strict=True)
            )
            if np.isfinite(back).all()
            else math.inf
        )
    scale, got_zero_point = observer.scale_zero_point(bits, symmetric)
    assert errors[scale.tobytes()] <= min(errors.values()) * (1 + Fraction(bounds.MSE_TIE))
    assert got_zero_point == zero_point


def test_range_whose_ends_dequantize_to_infinity_is_made_smaller(library):
    # The scale of the extremes is hi / 196.8, hi's step is 197, and 197 scales exceed FLT_MAX.
    top = np.finfo(np.float32).max
    observer = library.HistogramObserver()
    observer.update(np.array([-top * (58.2 / 196.8), top, 0], np.float32))
    scale, zero_point = observer.scale_zero_point(symmetric=False)
    assert np.isfinite((np.float32(127) - np.float32(zero_point)) * scale)


def test_many_elements_are_all_counted(library):
    # More than are looked at in one go, in a layout that no view makes flat.
    x = floats((300, 1001), 1)[:, ::2].T
    got = observed(MAKERS["median"], [x], library)
    assert_same_results(got, observed(MAKERS["median"], [x], halfbyte_reference))
