# SPDX-License-Identifier: Apache-2.0
"""A quantized layer whose result is quantized, too: the codes, and layers that chain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference as reference
from assertions import assert_same_bits
from backends import sums_differ, threads
from halfbyte import QuantizedTensor
from halfbyte_reference.inputs import floats, strided
from integer_cases import packings
from linear_cases import INTEGER_FORMS, WEIGHT_ONLY_FORMS, layers
from quantized_tensors import tensor
from strategies import few_rows, out_layouts, seeds, sizes, thread_counts

integer_forms = st.sampled_from(INTEGER_FORMS)
weight_only_forms = st.sampled_from(WEIGHT_ONLY_FORMS)


def assert_quantized(got, want, where):
    assert isinstance(got, QuantizedTensor)
    assert_same_bits(got.values, want.codes, f"{where}, values")
    assert_same_bits(got.scale, want.scale, f"{where}, scale")
    told = (got.bits, got.axis, got.group_size, got.signed, got.shape)
    assert told == (8, None, None, want.codes.dtype == np.int8, want.codes.shape)
    assert (got.zero_point is None) == (want.zero_point is None)
    if got.zero_point is not None:
        assert_same_bits(got.zero_point, want.zero_point, f"{where}, zero_point")


@given(
    case=integer_forms.flatmap(layers),
    dtype=st.sampled_from((None, np.int8, np.uint8)),
    affine=st.booleans(),
    packed=packings,
    count=thread_counts,
)
def test_requantized_layer_has_the_codes_of_the_reference(
    case, dtype, affine, packed, count, integer_backend
):
    named = case.output(dtype, affine)
    with threads(count):
        got = case.layer(integer_backend, packed, **named)
    assert_quantized(got, case.called(**named), integer_backend)


@sums_differ
@given(
    case=weight_only_forms.flatmap(layers),
    dtype=st.sampled_from((None, np.int8, np.uint8)),
    affine=st.booleans(),
    packed=packings,
)
def test_requantized_weight_only_layer_has_the_codes_of_the_reference(
    case, dtype, affine, packed, backend
):
    named = case.output(dtype, affine)
    assert_quantized(case.layer(backend, packed, **named), case.called(**named), backend)


@pytest.mark.parametrize("number", [float, np.float32, np.asarray], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("integer", [int, np.uint8, np.int64], ids=lambda kind: kind.__name__)
def test_scale_of_the_result_may_be_any_scalar(number, integer, backend):
    x, w = floats((3, 40), 1), tensor((5, 40), 2)
    named = {"out_dtype": np.uint8, "out_zero_point": 100, "out_scale": np.float32(0.37)}
    want = reference.linear_int(x, w.values, w.scale, **named)
    named |= {"out_scale": number(named["out_scale"]), "out_zero_point": integer(100)}
    assert_quantized(backend.linear(x, w, **named), want, backend)


def test_scale_of_the_result_is_rounded_once(backend):
    x, w = floats((3, 40), 1), tensor((5, 40), 2)
    got = backend.linear(x, w, out_scale=0.1)
    assert_same_bits(got.scale, np.asarray(np.float32(0.1)), backend)


@given(
    case=integer_forms.flatmap(layers), affine=st.booleans(), name=st.sampled_from(("gelu", "silu"))
)
def test_smooth_layer_is_quantized_from_its_float32_result(case, affine, name, integer_backend):
    named = case.output(np.int8, affine)
    got = case.layer(integer_backend, activation=name, **named)
    want = reference.quantize(
        case.layer(integer_backend, activation=name),
        symmetric=named["out_zero_point"] is None,
        scale=named["out_scale"],
        zero_point=named["out_zero_point"],
    )
    assert_quantized(got, want, integer_backend)


@given(m=few_rows, width=sizes, seed=seeds, bits=st.sampled_from((8, 4)), packed=packings)
def test_integer_layers_chain(m, width, seed, bits, packed, integer_backend):
    first, second = tensor((width, 64), [seed, 0], bits=bits), tensor((7, width), [seed, 1], axis=0)
    x, bias = floats((m, 64), [seed, 2]), floats(width, [seed, 3])
    named = {"activation": "relu", "out_scale": 0.37, "out_dtype": np.uint8, "out_zero_point": 3}
    hidden = reference.linear_int(x, first._codes(), first.scale, bias=bias, **named)
    want = reference.linear_int(
        hidden.codes, second.values, second.scale, axis=0,
        x_scale=hidden.scale, x_zero_point=hidden.zero_point,
    )  # fmt: skip
    if packed:
        first, second = integer_backend.prepack(first), integer_backend.prepack(second)
    got = integer_backend.linear(integer_backend.linear(x, first, bias, **named), second)
    assert_same_bits(got, want, integer_backend)


@given(
    case=integer_forms.flatmap(layers),
    layout=out_layouts,
    dtype=st.sampled_from((np.int8, np.uint8)),
)
def test_out_of_a_requantized_layer_is_the_values_of_what_is_returned(
    case, layout, dtype, integer_backend
):
    named = case.output(dtype, affine=False)
    out = strided(np.zeros((case.m, case.n), dtype), layout)
    got = case.layer(integer_backend, out=out, **named | {"out_dtype": None})
    assert got.values.__array_interface__ == out.__array_interface__
    assert_quantized(got, case.called(**named), integer_backend)
