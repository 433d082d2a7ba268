# SPDX-License-Identifier: Apache-2.0
"""The quantized layer of the reference against rational arithmetic and ONNX."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference as reference
from assertions import assert_same_bits
from halfbyte_reference.inputs import floats
from halfbyte_reference.inputs_quantized import codes, scales
from linear_cases import CODES, X_FORMS, cases
from onnx_nodes import evaluate
from rational import scalar_code
from rational_linear import half
from strategies import few_rows, kinds, seeds, small_sizes

every_form = pytest.mark.parametrize("x_form", X_FORMS)


# ---- against scalars -----------------------------------------------------------------------------
@every_form
@given(data=st.data())
def test_layer_is_that_of_rational_arithmetic(x_form, data):
    case = data.draw(cases(x_form))
    want = case.one_by_one()
    assert_same_bits(case.called(), want)
    want = np.array([half(y) for y in want.ravel().tolist()], np.float16).reshape(want.shape)
    assert_same_bits(case.called(out_dtype=np.float16), want)


@pytest.mark.parametrize("x_form", CODES)
@given(data=st.data())
def test_sums_that_float32_does_not_hold_are_rounded_once(x_form, data):
    deep = st.sampled_from((1025, 2049))
    case = data.draw(cases(x_form, st.just(2), deep, st.just(2), ("tensor", "axis")))
    assert_same_bits(case.called(), case.one_by_one())


@every_form
@given(data=st.data(), dtype=st.sampled_from((None, np.int8, np.uint8)), affine=st.booleans())
def test_requantized_layer_is_that_of_rational_arithmetic(x_form, data, dtype, affine):
    case = data.draw(cases(x_form))
    signed, affine = dtype is not np.uint8, affine or dtype is np.uint8
    scale = scales((), [case.seed, 7], case.scale_kind)
    zero_point = int(codes((), [case.seed, 8], 8, signed)) if affine else None
    got = case.called(out_dtype=dtype, out_scale=scale, out_zero_point=zero_point)
    limits = reference.code_range(8, signed, not affine)
    y = case.one_by_one()
    want = [scalar_code(one, scale, zero_point or 0, *limits) for one in y.ravel()]
    assert_same_bits(got.codes, np.array(want, dtype or np.int8).reshape(y.shape))
    assert_same_bits(got.scale, scale)
    assert got.zero_point == zero_point


# ---- shapes --------------------------------------------------------------------------------------
@every_form
@given(data=st.data())
def test_row_does_not_depend_on_the_others(x_form, data):
    case = data.draw(cases(x_form, few_rows))
    row = case.seed % case.m
    own = {
        name: values[row]
        for name, values in case.x_named.items()
        if name in ("x_scale", "x_zero_point") and values.ndim
    }
    assert_same_bits(case.called(case.x[row], **own), case.called()[row])


@pytest.mark.parametrize("axis", [0, 1, -2, -3])
def test_scale_of_given_codes_lies_along_any_axis_but_the_last(axis):
    x, w = codes((2, 3, 5), 1), codes((4, 5), 2)
    length = x.shape[axis]
    scale, zero_point = scales(length, 3), codes(length, 4).astype(np.int32)
    got = reference.linear_int(
        x, w, np.float32(0.1), x_scale=scale, x_zero_point=zero_point, x_axis=axis
    )
    of = np.broadcast_to(np.arange(length).reshape((-1, 1) if axis in (0, -3) else -1), (2, 3))
    want = np.zeros((2, 3, 4), np.float32)
    for index in np.ndindex(2, 3):
        own = {"x_scale": scale[of[index]], "x_zero_point": zero_point[of[index]]}
        want[index] = reference.linear_int(x[index], w, np.float32(0.1), **own)
    assert_same_bits(got, want)


# ---- what the formulas say -----------------------------------------------------------------------
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_row_with_a_value_that_is_not_finite_is_nan_alone(value):
    x, w = floats((3, 8), 1), codes((5, 8), 2)
    x[1, 4] = value
    got = reference.linear_int(x, w, np.float32(0.1), bias=floats(5, 3), activation="relu")
    assert np.isnan(got[1]).all()
    assert np.isfinite(got[[0, 2]]).all()


def test_row_of_nan_is_the_zero_point_when_requantized():
    got = reference.linear_int(
        np.float32([[np.inf]]), np.int8([[3]]), np.float32(1), out_scale=1.0, out_zero_point=-7
    )
    assert got.codes.tolist() == [[-7]]


def test_weight_only_row_with_an_infinity_follows_the_chain():
    x = np.float32([[np.inf, 1]])
    got = reference.linear_int(x, np.int8([[2, 1], [-1, 0], [0, 1]]), np.float32(0.5), x_bits=16)
    assert_same_bits(got, np.float32([[np.inf, -np.inf, np.nan]]))


def test_scale_of_the_row_comes_first_unless_grouped():
    x, w, scale = codes((40, 16), 1), codes((40, 16), 2), scales(40, 3)
    named = {"x_scale": np.float32(0.1)}
    plain = reference.linear_int(x, w, scale, axis=0, **named)
    one_group = reference.linear_int(x, w, scale[:, None], group_size=16, **named)
    acc = reference.gemm_int(x, w.T).astype(np.float32)
    assert_same_bits(plain, acc * np.float32(0.1) * scale)
    assert_same_bits(one_group, acc * scale * np.float32(0.1))
    assert (plain != one_group).any()


@every_form
@given(data=st.data())
def test_layer_of_no_inputs_is_its_bias(x_form, data):
    case = data.draw(cases(x_form, k=st.just(0)))
    bias = np.float32(0) if case.bias is None else np.float32(case.bias)
    want = bias if case.activation is None else reference.relu(bias)
    assert_same_bits(case.called(), np.zeros((case.m, case.n), np.float32) + want)


@pytest.mark.parametrize(("group_size", "zero"), [(None, -0.0), (1, 0.0)])
def test_groups_are_added_to_plus_zero(group_size, zero):
    # Half of the smallest subnormal, negated, is a zero of either sign.
    x, w = np.float16([[2.0**-1]]), np.int8([[-1]])
    scale = np.full((1, 1) if group_size else (), 2.0**-149, np.float32)
    got = reference.linear_int(x, w, scale, group_size=group_size, x_bits=16)
    assert_same_bits(got, np.float32([[zero]]))


@given(m=small_sizes, k=small_sizes, n=small_sizes, seed=seeds, kind=kinds)
def test_weight_only_with_a_scale_of_one_is_the_layer_of_halves(m, k, n, seed, kind):
    x, w, bias = floats((m, k), [seed, 0], kind), codes((n, k), [seed, 1]), floats(n, [seed, 2])
    got = reference.linear_int(x, w, np.float32(1), bias=bias, x_bits=16)
    assert_same_bits(got, reference.linear(x, w.astype(np.float16), bias))


@every_form
@pytest.mark.parametrize("name", ["gelu", "silu"])
@given(data=st.data())
def test_activation_follows_the_bias_in_float32(x_form, name, data):
    case = data.draw(cases(x_form))
    plain, smooth = (case.called(activation=activation) for activation in (None, name))
    assert_same_bits(smooth, reference.ACTIVATIONS[name](plain))


# ---- ONNX ----------------------------------------------------------------------------------------
@given(few_rows, small_sizes, few_rows, seeds, st.booleans(), st.booleans())
def test_requantized_layer_is_qlinearmatmul_where_scales_are_powers_of_two(
    m, k, n, seed, x_signed, out_signed
):
    # It multiplies by a product of scales, we by one after the other and divide: both are exact.
    # Its evaluator adds the zero point before it rounds: the same for an even one, ties included.
    x, w = codes((m, k), [seed, 0], 8, x_signed), codes((n, k), [seed, 1])
    sx, sw, sy = (np.float32(2.0**e) for e in np.random.default_rng(seed).integers(-9, 3, 3))
    zeros = [codes((), [seed, i], 8, s) for i, s in ((2, x_signed), (3, True), (4, out_signed))]
    zx, zw, zy = zeros
    zy = zy // 2 * 2
    got = reference.linear_int(
        x, w, sw, zw, x_scale=sx, x_zero_point=zx,
        out_dtype=zy.dtype, out_scale=sy, out_zero_point=zy,
    )  # fmt: skip
    assert_same_bits(got.codes, evaluate("QLinearMatMul", x, sx, zx, w.T, sw, zw, sy, zy))
