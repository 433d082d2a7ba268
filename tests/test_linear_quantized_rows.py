# SPDX-License-Identifier: Apache-2.0
"""Rows of a quantized layer: each stands alone, however x is shaped and whatever it holds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference as reference
from assertions import assert_same_bits
from backends import sums_differ
from halfbyte import QuantizedTensor
from halfbyte_reference.inputs import floats, strided
from halfbyte_reference.inputs_quantized import codes, scales
from linear_cases import FORMS_OF_BITS, X_FORMS, layers
from quantized_cases import stored
from quantized_tensors import tensor
from strategies import few_rows, seeds, sizes


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 8, 40])
@pytest.mark.parametrize("group_size", [None, 32])
@pytest.mark.parametrize("place", [0, 37, 69])
def test_row_with_a_value_that_is_not_finite_is_nan_alone(
    place, group_size, rows, half, value, integer_backend
):
    x, w = floats((rows, 70), 1), tensor((65, 70), 2, bits=4, group_size=group_size)
    x[rows // 2, place] = value
    x = reference.to_f16(x) if half else x
    with_nan = np.isnan(integer_backend.linear(x, w, floats(65, 3), activation="relu"))
    assert with_nan.all(axis=1).tolist() == [i == rows // 2 for i in range(rows)]
    assert with_nan.any(axis=1).tolist() == [i == rows // 2 for i in range(rows)]


@pytest.mark.parametrize(("named", "code"), [({"out_zero_point": -7}, -7), ({}, 0)], ids=str)
def test_row_of_nan_is_the_zero_point_when_requantized(named, code, integer_backend):
    x, w = floats((5, 70), 1), tensor((65, 70), 2)
    x[2, 3] = np.inf
    got = integer_backend.linear(x, w, out_scale=1.0, **named)
    assert (got.values == code).all(axis=1).tolist() == [i == 2 for i in range(5)]


@pytest.mark.parametrize("x_form", FORMS_OF_BITS)
@given(data=st.data())
def test_row_does_not_depend_on_its_batch(x_form, data, integer_backend):
    case = data.draw(layers(x_form, st.integers(1, 40)))
    row = case.seed % case.m
    whole = case.layer(integer_backend, activation="gelu")
    x = case.x_given
    if isinstance(x, QuantizedTensor):
        own = {
            name: None if part is None else part[row : row + 1] if part.ndim else part
            for name, part in (("scale", x.scale), ("zero_point", x.zero_point))
        }
        x = QuantizedTensor(
            x.values[row : row + 1], **own,
            bits=x.bits, axis=x.axis, signed=x.signed, shape=(1, case.k),
        )  # fmt: skip
    else:
        x = x[row : row + 1]
    x_bits = case.x_named.get("x_bits", 8)
    alone = integer_backend.linear(x, case.w, case.bias, activation="gelu", x_bits=x_bits)
    assert_same_bits(alone[0], whole[row], integer_backend)


@given(m=few_rows, k=sizes, n=sizes, seed=seeds, group_size=st.sampled_from((None, 5, 32)))
def test_numbers_are_those_of_their_quantized_rows(m, k, n, seed, group_size, integer_backend):
    x, w = floats((m, k), [seed, 0]), tensor((n, k), [seed, 1], group_size=group_size)
    q = integer_backend.quantize(x, axis=0)
    assert_same_bits(integer_backend.linear(x, w), integer_backend.linear(q, w), integer_backend)


@pytest.mark.parametrize("x_form", X_FORMS)
@given(data=st.data())
def test_layer_of_no_inputs_is_its_bias(x_form, data, integer_backend):
    case = data.draw(layers(x_form, few_rows, st.just(0)))
    assert_same_bits(case.layer(integer_backend), case.called(), integer_backend)


# ---- shapes of x ---------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(33,), (2, 3, 33), (2, 1, 3, 33), (0, 33), (2, 0, 33)], ids=str)
@pytest.mark.parametrize("layout", ["c", "transposed", "sliced"])
@pytest.mark.parametrize("x_bits", [8, pytest.param(16, marks=sums_differ)])
def test_leading_dimensions_of_numbers_are_kept(x_bits, layout, shape, backend):
    x, w = strided(floats(shape, 1), layout), tensor((70, 33), 2, group_size=8)
    want = reference.linear_int(x, w.values, w.scale, group_size=8, x_bits=x_bits)
    assert_same_bits(backend.linear(x, w, x_bits=x_bits), want, backend)


@pytest.mark.parametrize("layout", ["c", "transposed", "sliced"])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("axis", [None, 0, 1, -2, -3])
def test_codes_have_a_scale_along_any_axis_but_the_last(axis, bits, layout, backend):
    x, w = codes((2, 3, 33), 1, bits), tensor((70, 33), 2, axis=0)
    shape = () if axis is None else x.shape[axis]
    scale, zero_point = scales(shape, 3), codes(shape, 4, bits).astype(np.int32)
    q = QuantizedTensor(
        strided(stored(x, bits), layout), scale, zero_point, bits=bits, axis=axis, shape=x.shape
    )
    want = reference.linear_int(
        x, w.values, w.scale, axis=0, x_scale=scale, x_zero_point=zero_point, x_axis=axis
    )
    assert_same_bits(backend.linear(q, w), want, backend)


def test_vector_of_codes_gives_a_vector(backend):
    q, w = tensor((33,), 1, affine=True), tensor((70, 33), 2)
    want = reference.linear_int(
        q.values, w.values, w.scale, x_scale=q.scale, x_zero_point=q.zero_point
    )
    assert_same_bits(backend.linear(q, w), want, backend)
