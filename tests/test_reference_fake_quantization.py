# SPDX-License-Identifier: Apache-2.0
"""Fake quantization and its gradients against rational arithmetic and exact differences."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference as reference
from assertions import assert_same_bits, assert_within
from halfbyte_reference import bounds
from halfbyte_reference.inputs import floats, halves
from halfbyte_reference.inputs_quantized import (
    near_ties,
)
from quantized_cases import affine_case, every_bits, every_range, scale_kinds
from rational import rational, single
from strategies import seeds


def surrogate(x, scale, z, offset, qmin, qmax) -> Fraction:
    """Return what LSQ differentiates: rint(t) replaced by t plus a constant, exactly."""
    return (min(max(x / scale + offset + z, qmin), qmax) - z) * scale


@given(seed=seeds, signed=st.booleans(), exponent=st.integers(-20, 20))
def test_gradients_are_differences_of_what_lsq_differentiates(seed, signed, exponent):
    # A power of two: x / scale is exact but for underflow, and the surrogate piecewise linear, so
    # differences are derivatives to the last bit. Codes at an end have one-sided derivatives.
    qmin, qmax = reference.code_range(4, signed, False)
    scale, z = np.float32(2.0**exponent), 3
    x = near_ties(np.full(40, scale), [seed, 0], 20)
    t = np.float64(x) / scale
    code = np.rint(t) + z
    kept = (code != qmin) & (code != qmax) & (np.abs(t) < 1000)
    with np.errstate(over="ignore"):
        kept &= np.float32(t) == t
    x, t, dy = x[kept], t[kept], floats(40, [seed, 1])[kept]
    dx, dscale, _ = reference.fake_quantize_backward(dy, x, scale, z, bits=4, signed=signed)
    s, h = rational(scale), rational(scale) / 2**20
    slope_x, slope_s = [], Fraction(0)
    for a, b, g in zip(x, t, dy, strict=True):
        offset = round(Fraction(float(b))) - Fraction(float(b))
        ends = (z, offset, qmin, qmax)
        a, g = rational(a), rational(g)
        slope_x.append(g * (surrogate(a + h, s, *ends) - surrogate(a - h, s, *ends)) / (2 * h))
        slope_s += g * (surrogate(a, s + h, *ends) - surrogate(a, s - h, *ends)) / (2 * h)
    assert_same_bits(dx, np.float32([float(value) for value in slope_x]))
    assert float(dscale) == float(slope_s)


@given(seed=seeds, kind=scale_kinds, bits=every_bits, ends=every_range)
def test_gradients_are_those_of_the_scalar_formula(seed, kind, bits, ends):
    x, scale, zero_point = affine_case((3, 8), seed, kind, bits, *ends)
    dy = floats((3, 8), [seed, 3])
    scale, zero_point = scale[0], zero_point[0]
    qmin, qmax = reference.code_range(bits, *ends)
    named = {"bits": bits, "signed": ends[0], "narrow_range": ends[1], "axis": 1}
    dx, dscale, magnitude = reference.fake_quantize_backward(dy, x, scale, zero_point, **named)
    want, total, size = np.zeros((3, 8), np.float32), [Fraction(0)] * 8, [Fraction(0)] * 8
    for i, j in np.ndindex(3, 8):
        if np.isnan(x[i, j]):
            continue
        z = int(zero_point[j])
        t = float(x[i, j])
        t = t if math.isinf(t) else single(rational(t) / rational(scale[j]))
        code = math.copysign(2**200, t) if math.isinf(t) else round(Fraction(t)) + z
        if code < qmin:
            slope = Fraction(qmin - z)
        elif code > qmax:
            slope = Fraction(qmax - z)
        else:
            slope = round(Fraction(t)) - Fraction(t)
            want[i, j] = dy[i, j]
        term = rational(dy[i, j]) * slope
        total[j] += term
        size[j] += abs(term)
    assert_same_bits(dx, want)
    assert dscale.tolist() == [float(value) for value in total]
    # Two roundings of three exact products' sum, and one here: at most 3 * 2^-53 of it.
    assert magnitude == pytest.approx([float(value) for value in size], rel=2.0**-50)


def test_gradient_of_halves_is_half():
    dx, _, _ = reference.fake_quantize_backward(halves(5, 1), halves(5, 2), np.float32(0.1))
    assert dx.dtype == np.float16


def test_fake_quantized_halves_are_halves():
    x = halves(50, 1)
    got = reference.fake_quantize(x, np.float32(0.1))
    codes = np.clip(np.rint(x.astype(np.float32) / np.float32(0.1)), -127, 127)
    assert_same_bits(got, (codes * np.float32(0.1)).astype(np.float16))


def test_dscale_bound_rejects_a_sum_in_fp32():
    x, dy, scale = floats(10_000, 1), floats(10_000, 2), np.float32(0.02)
    _, dscale, magnitude = reference.fake_quantize_backward(dy, x, scale)
    t = x / scale
    slope = np.where(np.abs(np.rint(t)) > 127, np.copysign(np.float32(127), t), np.rint(t) - t)
    got = np.cumsum(dy * slope, dtype=np.float32)[-1:]
    bounded = bounds.dscale(dscale.reshape(1), magnitude, 10_000)
    assert_within(np.float64(np.float32(dscale)).reshape(1), bounded)
    with pytest.raises(AssertionError):
        assert_within(got, bounded)
