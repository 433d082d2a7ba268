# SPDX-License-Identifier: Apache-2.0
"""linear with quantized weights returns the bits of the reference, for every option."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference as reference
from assertions import assert_only_elements_change, assert_same_bits, assert_within
from backends import sums_differ, threads
from halfbyte import QuantizedTensor
from halfbyte_reference import bounds
from halfbyte_reference.inputs import floats, strided
from integer_cases import packings
from linear_cases import FORMS_OF_BITS, INTEGER_FORMS, WEIGHT_ONLY_FORMS, X_FORMS, layers
from quantized_tensors import tensor
from strategies import few_rows, layouts, out_layouts, seeds, small_sizes, thread_counts

integer_forms = st.sampled_from(INTEGER_FORMS)
weight_only_forms = st.sampled_from(WEIGHT_ONLY_FORMS)
out_dtypes = st.sampled_from((None, np.float32, np.float16))


# ---- every option --------------------------------------------------------------------------------
@pytest.mark.parametrize("x_form", INTEGER_FORMS)
@given(data=st.data(), dtype=out_dtypes, packed=packings, count=thread_counts)
def test_layer_has_the_bits_of_the_reference(x_form, data, dtype, packed, count, integer_backend):
    case = data.draw(layers(x_form))
    with threads(count):
        got = case.layer(integer_backend, packed, out_dtype=dtype)
    assert_same_bits(got, case.called(out_dtype=dtype), integer_backend)


@sums_differ
@given(
    case=weight_only_forms.flatmap(layers), dtype=out_dtypes, packed=packings, count=thread_counts
)
def test_weight_only_layer_has_the_bits_of_the_reference(case, dtype, packed, count, backend):
    with threads(count):
        got = case.layer(backend, packed, out_dtype=dtype)
    assert_same_bits(got, case.called(out_dtype=dtype), backend)


def deep_layers(x_form):
    """A few rows and long ones, with groups that are not tiny: the reference takes one by one."""
    k, few_columns = st.sampled_from((511, 1025, 2050)), st.sampled_from((1, 63, 64, 65, 70, 129))
    groups = st.sampled_from((32, 33, 64, 100, 128, 1000))
    return layers(x_form, few_rows, k, few_columns, group_size=groups)


@given(case=integer_forms.flatmap(deep_layers), packed=packings)
def test_decoding_has_the_bits_of_the_reference(case, packed, integer_backend):
    assert_same_bits(case.layer(integer_backend, packed), case.called(), integer_backend)


@sums_differ
@given(case=weight_only_forms.flatmap(deep_layers), packed=packings)
def test_weight_only_decoding_has_the_bits_of_the_reference(case, packed, backend):
    assert_same_bits(case.layer(backend, packed), case.called(), backend)


# ---- out -----------------------------------------------------------------------------------------
@given(
    case=st.sampled_from(INTEGER_FORMS).flatmap(layers),
    layout=out_layouts,
    dtype=st.sampled_from((np.float32, np.float16)),
)
def test_out_of_any_strides_is_filled_and_returned(case, layout, dtype, integer_backend):
    out = strided(np.zeros((case.m, case.n), dtype), layout)
    assert case.layer(integer_backend, out=out) is out
    assert_same_bits(out, case.called(out_dtype=dtype), integer_backend)


@given(
    case=st.sampled_from(X_FORMS).flatmap(lambda form: layers(form, small_sizes, small_sizes)),
    layout=st.sampled_from(("sliced", "padded", "field")),
    dtype=st.sampled_from((np.float32, np.float16, np.int8)),
)
def test_bytes_between_the_elements_of_out_are_left_alone(case, layout, dtype, backend):
    out = strided(np.zeros((case.m, case.n), dtype), layout)
    named = {"out_scale": 0.37} if dtype is np.int8 else {}
    assert_only_elements_change(out, lambda: case.layer(backend, out=out, **named))


# ---- activations ---------------------------------------------------------------------------------
@pytest.mark.parametrize("x_form", FORMS_OF_BITS)
@given(
    data=st.data(),
    name=st.sampled_from(("gelu", "silu")),
    dtype=st.sampled_from((np.float32, np.float16)),
    packed=packings,
)
def test_smooth_activation_is_within_its_tolerance(x_form, data, name, dtype, packed, backend):
    case = data.draw(layers(x_form, few_rows))
    got = case.layer(backend, packed, activation=name, out_dtype=dtype)
    bounded = bounds.activated(case.called(activation=None), name, dtype)
    assert_within(got, bounded, backend)


# ---- what does not matter ------------------------------------------------------------------------
@given(case=st.sampled_from(X_FORMS).flatmap(lambda form: layers(form, small_sizes)))
def test_inputs_are_left_alone(case, backend):
    x, w, bias = case.x_given, case.w, case.bias
    parts = [x.values, x.scale, x.zero_point] if isinstance(x, QuantizedTensor) else [x]
    parts += [w.values, w.scale, w.zero_point, bias]
    parts = [part for part in parts if part is not None]
    before = [part.tobytes() for part in parts]
    backend.linear(x, w, bias, x_bits=case.x_named.get("x_bits", 8))
    assert [part.tobytes() for part in parts] == before


@given(layout=layouts, half=st.booleans(), seed=seeds)
def test_bias_may_have_any_layout(layout, half, seed, backend):
    x, w = floats((3, 40), [seed, 0]), tensor((70, 40), [seed, 1])
    bias = floats(70, [seed, 2])
    bias = strided(reference.to_f16(bias) if half else bias, layout)
    want = reference.linear_int(x, w.values, w.scale, bias=bias)
    assert_same_bits(backend.linear(x, w, bias), want, backend)
