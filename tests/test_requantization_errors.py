# SPDX-License-Identifier: Apache-2.0
"""Bad arguments of requantize and of fake quantization are refused with what they need."""

import numpy as np
import pytest

from assertions import refuses
from backends import looks_at_values, only_numpys, without
from halfbyte_reference.inputs import floats
from halfbyte_reference.inputs_quantized import accumulators

ACC = accumulators((3, 5), 1)
X = floats((3, 5), 1)
DY = floats((3, 5), 2)
ONE_EACH = np.ones(5, np.float32)

GOOD = {
    "requantize": {"acc": ACC, "scale": ONE_EACH, "axis": 1},
    "fake_quantize": {"x": X, "scale": ONE_EACH, "axis": 1},
    "fake_quantize_backward": {"dy": DY, "x": X, "scale": ONE_EACH, "axis": 1},
}
ARRAYS = [
    ("requantize", "acc", "int32"),
    ("fake_quantize", "x", "float32"),
    ("fake_quantize_backward", "x", "float32"),
    ("fake_quantize_backward", "dy", "float32"),
]
FAKE = ("fake_quantize", "fake_quantize_backward")

arrays = pytest.mark.parametrize(("function", "argument", "need"), ARRAYS)
functions = pytest.mark.parametrize("function", GOOD)
fake = pytest.mark.parametrize("function", FAKE)


def call(backend, function, **changed):
    """Call `function` on good arguments but for what `changed` names."""
    return getattr(backend, function)(**GOOD[function] | changed)


@arrays
@pytest.mark.parametrize(
    "dtype", ["float64", "int8", "int64", "bool", "complex64", only_numpys("object")]
)
def test_array_of_another_dtype(function, argument, need, dtype, backend):
    with refuses(TypeError, function, argument, dtype, need):
        call(backend, function, **{argument: np.zeros((3, 5), dtype)})


@without("ptx", "cuda", reason="there is no such array")
@arrays
def test_array_of_swapped_bytes(function, argument, need, backend):
    swapped = np.zeros((3, 5), np.dtype(need).newbyteorder("S"))
    with refuses(TypeError, function, argument, swapped.dtype.str, need):
        call(backend, function, **{argument: swapped})


@arrays
@pytest.mark.parametrize("value", [[[1.0]], 1.0, None, "ab"], ids=repr)
def test_argument_that_is_no_array(function, argument, need, value, backend):
    with refuses(TypeError, function, argument, type(value).__name__):
        call(backend, function, **{argument: value})


@arrays
def test_masked_array(function, argument, need, backend):
    with refuses(TypeError, function, argument, "MaskedArray"):
        call(backend, function, **{argument: np.ma.masked_array(np.zeros((3, 5), need))})


@looks_at_values
@functions
@pytest.mark.parametrize("bad", [0.0, -0.0, -1.0, np.nan, np.inf])
def test_scale_that_is_not_positive_and_finite(function, bad, backend):
    with refuses(ValueError, function, "scale", "(4,)"):
        call(backend, function, scale=np.float32([1, 1, 1, 1, bad]))


@functions
@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, 1e-46, 1e39])
def test_number_that_is_no_scale(function, bad, backend):
    # requantize always has an axis, and one scale for all is fine there.
    whole = {} if function == "requantize" else {"axis": None}
    with refuses(ValueError, function, "scale"):
        call(backend, function, scale=bad, **whole)


@functions
@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", only_numpys(">f4")])
def test_scale_of_another_dtype(function, dtype, backend):
    with refuses(TypeError, function, "scale", dtype, "float32"):
        call(backend, function, scale=ONE_EACH.astype(dtype))


@functions
@pytest.mark.parametrize("scale", ["1", [1.0] * 5, 1j, None], ids=repr)
def test_scale_that_is_no_number(function, scale, backend):
    with refuses(TypeError, function, "scale", type(scale).__name__):
        call(backend, function, scale=scale)


@functions
@pytest.mark.parametrize("shape", [(1,), (3,), (1, 5), (3, 5)], ids=str)
def test_scale_of_another_shape(function, shape, backend):
    with refuses(ValueError, function, "scale", str(shape), "(5,)"):
        call(backend, function, scale=np.ones(shape, np.float32))


@functions
@pytest.mark.parametrize("shape", [(1,), (3,), (1, 5)], ids=str)
def test_zero_point_of_another_shape(function, shape, backend):
    with refuses(ValueError, function, "zero_point", str(shape), "(5,)"):
        call(backend, function, zero_point=np.zeros(shape, np.int32))


@looks_at_values
@functions
@pytest.mark.parametrize("bad", [128, -129])
def test_zero_point_out_of_the_range_of_codes(function, bad, backend):
    with refuses(ValueError, function, "zero_point", str(bad), "(3,)"):
        call(backend, function, zero_point=np.int32([0, 0, 0, bad, 0]))


@pytest.mark.parametrize("bad", [-1, 256])
def test_zero_point_out_of_the_range_of_uint8(bad, backend):
    with refuses(ValueError, "requantize", "zero_point", str(bad)):
        call(backend, "requantize", zero_point=bad, dtype=np.uint8)


@functions
@pytest.mark.parametrize("dtype", ["float32", "float64", "bool"])
def test_zero_points_of_another_dtype(function, dtype, backend):
    with refuses(TypeError, function, "zero_point", dtype):
        call(backend, function, zero_point=np.zeros(5, dtype))


@functions
@pytest.mark.parametrize("zero_point", [1.5, "1", [1] * 5, True], ids=repr)
def test_zero_point_that_is_no_integer(function, zero_point, backend):
    with refuses(TypeError, function, "zero_point", type(zero_point).__name__):
        call(backend, function, zero_point=zero_point)


@functions
@pytest.mark.parametrize("axis", [2, -3])
def test_axis_out_of_range(function, axis, backend):
    with refuses(ValueError, function, "axis", str(axis)):
        call(backend, function, axis=axis)


@functions
@pytest.mark.parametrize("axis", [1.0, "1"], ids=repr)
def test_axis_that_is_no_integer(function, axis, backend):
    with refuses(TypeError, function, "axis", type(axis).__name__):
        call(backend, function, axis=axis)


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 5), (3, 5)], ids=str)
def test_bias_of_another_shape(shape, backend):
    with refuses(ValueError, "requantize", "bias", str(shape), "(5,)"):
        call(backend, "requantize", bias=np.zeros(shape, np.float32))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_bias_of_another_dtype(dtype, backend):
    with refuses(TypeError, "requantize", "bias", dtype, "float32"):
        call(backend, "requantize", bias=np.zeros(5, dtype))


def test_bias_beyond_every_float(backend):
    with refuses(ValueError, "requantize", "bias"):
        call(backend, "requantize", bias=10**400)


@pytest.mark.parametrize("bias", ["1", [1.0] * 5, 1j], ids=repr)
def test_bias_that_is_no_array(bias, backend):
    with refuses(TypeError, "requantize", "bias", type(bias).__name__):
        call(backend, "requantize", bias=bias)


@pytest.mark.parametrize("name", ["gelu", "silu", "tanh", "", "RELU"])
def test_activation_that_requantize_does_not_have(name, backend):
    with refuses(ValueError, "requantize", "activation", repr(name), "relu"):
        call(backend, "requantize", activation=name)


@pytest.mark.parametrize("value", [np.tanh, 1, ["relu"]], ids=["function", "int", "list"])
def test_activation_that_is_no_name(value, backend):
    with refuses(TypeError, "requantize", "activation", type(value).__name__):
        call(backend, "requantize", activation=value)


@pytest.mark.parametrize("dtype", ["int16", "float32", "bool", "int32"])
def test_dtype_that_is_neither_int8_nor_uint8(dtype, backend):
    with refuses(TypeError, "requantize", "dtype", dtype, "int8", "uint8"):
        call(backend, "requantize", dtype=np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["no such dtype", 3, [1]], ids=repr)
def test_dtype_that_names_none(dtype, backend):
    with refuses(TypeError, "requantize", "dtype"):
        call(backend, "requantize", dtype=dtype)


@fake
@pytest.mark.parametrize("bits", [1, 9, 0])
def test_other_widths(function, bits, backend):
    with refuses(ValueError, function, "bits", str(bits)):
        call(backend, function, bits=bits)


@fake
@pytest.mark.parametrize("bits", [3.5, "8", None], ids=repr)
def test_width_that_is_no_integer(function, bits, backend):
    with refuses(TypeError, function, "bits", type(bits).__name__):
        call(backend, function, bits=bits)


@fake
def test_axis_with_group_size(function, backend):
    with refuses(ValueError, function, "axis", "group_size"):
        call(backend, function, group_size=2)


@fake
@pytest.mark.parametrize("group_size", [0, -1])
def test_group_size_below_one(function, group_size, backend):
    with refuses(ValueError, function, "group_size", str(group_size)):
        call(backend, function, axis=None, group_size=group_size)


@fake
def test_unsigned_codes_without_a_zero_point(function, backend):
    with refuses(ValueError, function, "signed", "zero_point"):
        call(backend, function, signed=False)


@fake
def test_unsigned_codes_of_a_narrow_range(function, backend):
    with refuses(ValueError, function, "narrow_range", "signed"):
        call(backend, function, signed=False, narrow_range=True, zero_point=np.zeros(5, np.int32))


@pytest.mark.parametrize("shape", [(5, 3), (5,), (1, 5), (), (1, 3, 5)], ids=str)
def test_gradient_of_another_shape(shape, backend):
    with refuses(ValueError, "fake_quantize_backward", "dy", str(shape), "(3, 5)"):
        call(backend, "fake_quantize_backward", dy=np.zeros(shape, np.float32))


@looks_at_values
@functions
def test_refusal_leaves_out_alone(function, backend):
    out = np.full((3, 5), 42, np.int8 if function == "requantize" else np.float32)
    with refuses(ValueError, function):
        call(backend, function, out=out, scale=-ONE_EACH)
    assert (out == 42).all()
