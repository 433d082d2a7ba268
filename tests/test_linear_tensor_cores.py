# SPDX-License-Identifier: Apache-2.0
"""On a GPU linear with float16 weights is gemm_f16 with w transposed, whatever x and the result."""

import numpy as np
import pytest

import halfbyte
from assertions import assert_same_bits, assert_within
from halfbyte import QuantizedTensor
from halfbyte_reference import linear, quantize, to_f16
from halfbyte_reference.inputs import floats, halves, strided
from planned_products import bounded

W = halves((33, 72), 1)
BIAS = floats(33, 2)
CODES = pytest.mark.parametrize(("dtype", "zero_point"), [("int8", None), ("uint8", 100)])


@pytest.mark.parametrize("out_dtype", ["float32", "float16"])
def test_layer_of_halves_is_the_product(out_dtype, device):
    x = halves((2, 9, 72), 3)
    want = device.gemm_f16(x, W.T, out_dtype=out_dtype)
    assert_same_bits(device.linear(x, W, out_dtype=out_dtype), want, device)


def test_layer_of_packed_weights_is_within_the_bound(device):
    def call(x, w):
        return halfbyte.linear(x, halfbyte.prepack(w.T))

    x = halves((9, 72), 3)
    assert_within(device.call(call, x, W), bounded(x, W.T), device)


@pytest.mark.parametrize("layout", ["c", "sliced", "unaligned"])
def test_float32_input_is_rounded_to_halves(layout, device):
    x = floats((9, 72), 3)
    want = device.linear(to_f16(x), W, BIAS, activation="gelu")
    got = device.linear(strided(x, layout), W, BIAS, activation="gelu")
    assert_same_bits(got, want, device)


@pytest.mark.parametrize("make", [halves, floats])
def test_layer_of_one_vector_is_the_product_of_a_row(make, device):
    x = make(72, 3)
    want = device.gemm_f16(to_f16(x[None]), W.T, bias=BIAS)[0]
    assert_same_bits(device.linear(x, W, BIAS), want, device)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (20, 0)], ids=str)
def test_k_zero_gives_bias_and_activation(shape, device):
    x, w = np.zeros(shape, np.float16), np.zeros((33, 0), np.float16)
    want = linear(x, w, BIAS, activation="relu")
    assert_same_bits(device.linear(x, w, BIAS, activation="relu"), want, device)


@pytest.mark.parametrize("shape", [(0, 72), (2, 0, 72)], ids=str)
def test_no_rows_give_no_rows(shape, device):
    want = np.zeros((*shape[:-1], 33), np.float32)
    assert_same_bits(device.linear(np.zeros(shape, np.float16), W), want, device)


@pytest.mark.parametrize("leading", [(), (9,), (2, 3)], ids=str)
@pytest.mark.parametrize("layout", ["c", "transposed", "negative", "field"])
def test_out_of_any_strides_is_filled_and_returned(layout, leading, device):
    x = halves((*leading, 72), 3)
    out = strided(np.zeros((*leading, 33), np.float16), layout)
    want = device.linear(x, W, BIAS, out_dtype=np.float16)
    assert device.linear(x, W, BIAS, out=out) is out
    assert_same_bits(out, want, device)


@CODES
@pytest.mark.parametrize("leading", [(), (9,)], ids=str)
def test_quantized_result_has_the_codes_of_the_float32_one(dtype, zero_point, leading, device):
    x = halves((*leading, 72), 3)
    got = device.linear(x, W, BIAS, out_dtype=dtype, out_scale=0.3, out_zero_point=zero_point)
    assert_same_bits(got.values, codes(device.linear(x, W, BIAS), dtype, zero_point), device)


@CODES
def test_quantized_result_has_the_scale_and_zero_point_it_was_given(dtype, zero_point, device):
    x = halves((9, 72), 3)
    got = device.linear(x, W, out_dtype=dtype, out_scale=0.3, out_zero_point=zero_point)
    assert isinstance(got, QuantizedTensor)
    assert (got.scale, got.zero_point) == (np.float32(0.3), zero_point)


@CODES
def test_codes_of_a_quantized_result_go_where_they_are_told_to(dtype, zero_point, device):
    x = halves((9, 72), 3)
    out = strided(np.zeros((9, 33), dtype), "sliced")
    got = device.linear(x, W, out=out, out_scale=0.3, out_zero_point=zero_point)
    assert got.values is out
    assert_same_bits(out, codes(device.linear(x, W), dtype, zero_point), device)


def codes(y, dtype, zero_point):
    """Return the codes of a float32 result."""
    zero_point = None if zero_point is None else np.int32(zero_point)
    given = {"scale": np.float32(0.3), "zero_point": zero_point, "signed": dtype == "int8"}
    return quantize(y, symmetric=zero_point is None, **given).codes
