# SPDX-License-Identifier: Apache-2.0
"""The bound of the layer with quantized weights and halves: what it holds and what it rejects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference as reference
from assertions import assert_within
from halfbyte_reference import bounds
from halfbyte_reference.inputs import floats, halves
from halfbyte_reference.inputs_quantized import codes, scales
from strategies import finite_kinds, seeds, small_sizes


def weight_only(m, k, n, seed, group_size, kind="normal"):
    """Return x, codes, their scale and zero point."""
    shape = () if group_size is None else (n, -(-k // group_size))
    zero_point = codes(shape, [seed, 1], 4, False).astype(np.int32)
    x = halves((m, k), [seed, 2], kind)
    return x, codes((n, k), [seed, 0], 4, False), scales(shape, [seed, 3]), zero_point


def bound_of(x, values, scale, zero_point, group_size, **steps):
    w = reference.dequantize(values, np.ones_like(scale), zero_point, group_size=group_size)
    value, bound = bounds.weight_only_tensor_core(x, w, scale, group_size)
    return bounds.layer_epilogue(value, bound, **steps)


@given(
    *(small_sizes, small_sizes, small_sizes, seeds),
    st.sampled_from((None, 1, 3, 16)),
    finite_kinds,
    st.sampled_from((None, "relu", "gelu", "silu")),
    st.sampled_from((np.float32, np.float16)),
)
def test_weight_only_is_within_the_bound(m, k, n, seed, group_size, kind, activation, dtype):
    case = weight_only(m, k, n, seed, group_size, kind)
    steps = {"bias": floats(n, [seed, 4]), "activation": activation, "out_dtype": dtype}
    got = reference.linear_int(*case, group_size=group_size, x_bits=16, **steps)
    assert_within(got, bound_of(*case, group_size, **steps))


@pytest.mark.parametrize("group_size", [None, 32])
def test_weight_only_bound_rejects_weights_rounded_to_halves(group_size):
    case = weight_only(20, 128, 20, 1, group_size)
    w = reference.dequantize(*case[1:], group_size=group_size, dtype=np.float16)
    with pytest.raises(AssertionError):
        assert_within(reference.linear(case[0], w), bound_of(*case, group_size))


def test_weight_only_bound_rejects_a_lost_product():
    x, *weights = weight_only(20, 128, 20, 1, 32)
    less = x.copy()
    less[:, 77] = 0
    got = reference.linear_int(less, *weights, group_size=32, x_bits=16)
    with pytest.raises(AssertionError):
        assert_within(got, bound_of(x, *weights, 32))


def test_weight_only_bound_is_the_formula():
    x, w = np.float16([[1, -2, 3]]), np.int8([[1, 1, -1]])
    scale = np.float32([[0.5, 4]])
    value, bound = bounds.weight_only_tensor_core(x, w, scale, 2, splits=2)
    e = 3 * bounds.gamma(4, 2.0**-23), 3 * bounds.gamma(3, 2.0**-23)
    terms = 0.5 * (3 + e[0]) + 4 * (3 + e[1])
    want = 0.5 * e[0] + 4 * e[1] + bounds.gamma(3, 2.0**-24) * terms + 2 * 2.0**-150
    assert value == [[0.5 * -1 + 4 * -3]]
    # The same positive terms in another order: about four roundings of 2^-53 on either side.
    assert bound == pytest.approx(want, rel=2.0**-50)
