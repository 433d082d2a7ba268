# SPDX-License-Identifier: Apache-2.0
"""Bad arguments of quantize are refused: function, argument, what it got, what it needs."""

import numpy as np
import pytest

from assertions import refuses
from backends import looks_at_values, only_numpys
from halfbyte_reference.inputs import floats

X = floats((3, 5), 1)
S = np.float32([0.1, 0.2, 0.3])
Z = np.int32([0, 1, 2])
ROWS = {"axis": 0, "scale": S}
AFFINE = ROWS | {"zero_point": Z, "symmetric": False}

BAD_NUMBERS = (0.0, -0.0, -1.0, np.nan, np.inf, -np.inf)
bad_numbers = pytest.mark.parametrize("bad", BAD_NUMBERS, ids=str)


@pytest.mark.parametrize(
    "dtype", ["float64", "int8", "int32", "bool", "complex64", "object", ">f4", ">f2"]
)
def test_x_of_another_dtype(dtype, backend):
    with refuses(TypeError, "quantize", "x", dtype, "float32", "float16"):
        backend.quantize(np.zeros(3, dtype))


@pytest.mark.parametrize("x", [[1.0], 1.0, None, "ab", np.float32(1)], ids=repr)
def test_x_that_is_no_array(x, backend):
    with refuses(TypeError, "quantize", "x", type(x).__name__):
        backend.quantize(x)


def test_masked_x(backend):
    with refuses(TypeError, "quantize", "x", "MaskedArray"):
        backend.quantize(np.ma.masked_array(X))


@pytest.mark.parametrize("bits", [1, 0, -8, 5, 9, 16])
def test_other_widths(bits, backend):
    with refuses(ValueError, "quantize", "bits", str(bits)):
        backend.quantize(X, bits=bits)


@pytest.mark.parametrize("bits", [3.5, 8.0, "8", None, True], ids=repr)
def test_width_that_is_no_integer(bits, backend):
    with refuses(TypeError, "quantize", "bits", type(bits).__name__):
        backend.quantize(X, bits=bits)


@pytest.mark.parametrize("axis", [2, -3, 100])
def test_axis_out_of_range(axis, backend):
    with refuses(ValueError, "quantize", "axis", str(axis)):
        backend.quantize(X, axis=axis)


@pytest.mark.parametrize("axis", [1.0, "0", (0,), True], ids=repr)
def test_axis_that_is_no_integer(axis, backend):
    with refuses(TypeError, "quantize", "axis", type(axis).__name__):
        backend.quantize(X, axis=axis)


@pytest.mark.parametrize("named", [{"axis": 0}, {"axis": -1}, {"group_size": 2}, {"bits": 4}])
def test_array_without_dimensions_has_no_axis(named, backend):
    with refuses(ValueError, "quantize"):
        backend.quantize(np.zeros((), np.float32), **named)


@pytest.mark.parametrize("group_size", [0, -1])
def test_group_size_below_one(group_size, backend):
    with refuses(ValueError, "quantize", "group_size", str(group_size)):
        backend.quantize(X, group_size=group_size)


@pytest.mark.parametrize("group_size", [2.0, "2", True], ids=repr)
def test_group_size_that_is_no_integer(group_size, backend):
    with refuses(TypeError, "quantize", "group_size", type(group_size).__name__):
        backend.quantize(X, group_size=group_size)


def test_axis_with_group_size(backend):
    with refuses(ValueError, "quantize", "axis", "group_size"):
        backend.quantize(X, axis=0, group_size=2)


def test_unsigned_codes_that_are_symmetric(backend):
    with refuses(ValueError, "quantize", "signed", "symmetric"):
        backend.quantize(X, signed=False)


def test_unsigned_codes_of_a_narrow_range(backend):
    with refuses(ValueError, "quantize", "narrow_range", "signed"):
        backend.quantize(X, signed=False, symmetric=False, narrow_range=True)


def test_symmetric_codes_with_a_zero_point(backend):
    with refuses(ValueError, "quantize", "symmetric", "zero_point"):
        backend.quantize(X, **ROWS, zero_point=Z)


def test_affine_codes_with_a_scale_and_no_zero_point(backend):
    with refuses(ValueError, "quantize", "zero_point", "scale"):
        backend.quantize(X, **ROWS, symmetric=False)


def test_zero_point_without_a_scale(backend):
    with refuses(ValueError, "quantize", "zero_point", "scale"):
        backend.quantize(X, zero_point=0, symmetric=False)


@pytest.mark.parametrize("name", ["symmetric", "signed", "check_finite"])
@pytest.mark.parametrize("value", [1, None, "yes", only_numpys(np.ones(2, bool))], ids=str)
def test_switch_that_is_neither_true_nor_false(name, value, backend):
    with refuses(TypeError, "quantize", name, type(value).__name__):
        backend.quantize(X, **{name: value})


@pytest.mark.parametrize("value", [1, "yes"], ids=repr)
def test_narrow_range_that_is_neither_true_false_nor_none(value, backend):
    with refuses(TypeError, "quantize", "narrow_range", type(value).__name__):
        backend.quantize(X, narrow_range=value)


@bad_numbers
def test_scale_that_is_not_positive_and_finite(bad, backend):
    with refuses(ValueError, "quantize", "scale"):
        backend.quantize(X, scale=bad)


@looks_at_values
@bad_numbers
def test_one_of_many_scales_that_is_not_positive_and_finite(bad, backend):
    with refuses(ValueError, "quantize", "scale", "(1,)"):
        backend.quantize(X, axis=0, scale=np.float32([1, bad, 1]))


@pytest.mark.parametrize("scale", [1e-46, 1e39, 10**400])
def test_scale_that_float32_does_not_hold(scale, backend):
    with refuses(ValueError, "quantize", "scale"):
        backend.quantize(X, scale=scale)


@pytest.mark.parametrize(
    "scale",
    [np.float64(0.1), np.array(0.1), np.float16(0.1), np.int32(1), only_numpys(np.array(1, ">f4"))],
    ids=lambda scale: f"{type(scale).__name__} {scale.dtype}",
)
def test_scale_of_another_dtype(scale, backend):
    with refuses(TypeError, "quantize", "scale", scale.dtype.name, "float32"):
        backend.quantize(X, scale=scale)


@pytest.mark.parametrize("scale", [np.float64(0.1), np.int64(1), np.float16(1)], ids=repr)
def test_scale_of_all_of_another_dtype_is_to_be_a_float(scale, backend):
    with refuses(TypeError, "quantize", "scale", scale.dtype.name, "a Python float"):
        backend.quantize(X, scale=scale)


@pytest.mark.parametrize("scale", ["1", [1.0], 1j, True], ids=repr)
def test_scale_that_is_no_number(scale, backend):
    with refuses(TypeError, "quantize", "scale", type(scale).__name__):
        backend.quantize(X, scale=scale)


@pytest.mark.parametrize(
    ("named", "shape", "need"),
    [
        ({}, (1,), "()"),
        ({}, (3,), "()"),
        ({"axis": 0}, (), "(3,)"),
        ({"axis": 0}, (5,), "(3,)"),
        ({"axis": 0}, (3, 1), "(3,)"),
        ({"axis": -1}, (1,), "(5,)"),
        ({"group_size": 2}, (3, 2), "(3, 3)"),
        ({"group_size": 2}, (9,), "(3, 3)"),
        ({"group_size": 9}, (3,), "(3, 1)"),
    ],
    ids=str,
)
def test_scale_of_another_shape(named, shape, need, backend):
    with refuses(ValueError, "quantize", "scale", str(shape), need):
        backend.quantize(X, **named, scale=np.ones(shape, np.float32))


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 1)], ids=str)
def test_zero_point_of_another_shape(shape, backend):
    with refuses(ValueError, "quantize", "zero_point", str(shape), "(3,)"):
        backend.quantize(X, **AFFINE | {"zero_point": np.zeros(shape, np.int32)})


@looks_at_values
@pytest.mark.parametrize(
    ("named", "bad"),
    [
        ({}, 128),
        ({}, -129),
        ({"bits": 4}, 8),
        ({"bits": 2}, -3),
        ({"signed": False}, -1),
        ({"signed": False}, 256),
        ({"signed": False, "bits": 3}, 8),
        ({"narrow_range": True}, -128),
    ],
    ids=str,
)
def test_zero_point_out_of_the_range_of_codes(named, bad, backend):
    with refuses(ValueError, "quantize", "zero_point", str(bad), "(2,)"):
        backend.quantize(X, **AFFINE | named | {"zero_point": np.int32([0, 0, bad])})


@pytest.mark.parametrize("zero_point", [1.5, 1.0, "1", [1], True], ids=repr)
def test_zero_point_that_is_no_integer(zero_point, backend):
    with refuses(TypeError, "quantize", "zero_point", type(zero_point).__name__):
        backend.quantize(X, scale=1.0, symmetric=False, zero_point=zero_point)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bool", only_numpys(">i4")])
def test_zero_points_of_another_dtype(dtype, backend):
    with refuses(TypeError, "quantize", "zero_point", dtype):
        backend.quantize(X, **AFFINE | {"zero_point": Z.astype(dtype)})


@pytest.mark.parametrize("given", [{}, {"scale": 1.0}], ids=["data", "scale"])
@pytest.mark.parametrize("name", ["max", "", "ABSMAX"])
def test_unknown_method(name, given, backend):
    with refuses(ValueError, "quantize", "method", repr(name), "absmax", "mse"):
        backend.quantize(X, method=name, **given)


@pytest.mark.parametrize("name", ["up", "", "Nearest"])
def test_unknown_rounding(name, backend):
    with refuses(ValueError, "quantize", "rounding", repr(name), "nearest", "stochastic"):
        backend.quantize(X, rounding=name)


@pytest.mark.parametrize("argument", ["method", "rounding"])
@pytest.mark.parametrize("value", [None, 1, ["mse"], only_numpys(np.ones(2))], ids=repr)
def test_name_that_is_no_text(argument, value, backend):
    with refuses(TypeError, "quantize", argument, type(value).__name__):
        backend.quantize(X, **{argument: value})


def test_stochastic_rounding_without_a_seed(backend):
    with refuses(ValueError, "quantize", "seed", "stochastic"):
        backend.quantize(X, rounding="stochastic")


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("seed", [-1, 2**64, 10**30])
def test_seed_out_of_range(seed, rounding, backend):
    with refuses(ValueError, "quantize", "seed", str(seed)):
        backend.quantize(X, rounding=rounding, seed=seed)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("seed", [1.0, "1", True], ids=repr)
def test_seed_that_is_no_integer(seed, rounding, backend):
    with refuses(TypeError, "quantize", "seed", type(seed).__name__):
        backend.quantize(X, rounding=rounding, seed=seed)


@pytest.mark.parametrize("method", ["absmax", "mse"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({}, ("(2, 3)",)),
        ({"axis": 0}, ("channel", "2", "axis", "0")),
        ({"axis": 1}, ("channel", "3", "axis", "1")),
        ({"axis": -1}, ("channel", "3", "axis", "1")),
        ({"group_size": 2}, ("group", "(2, 1)")),
    ],
    ids=str,
)
def test_non_finite_data_name_their_channel(named, words, bad, method, backend):
    x = X.copy()
    x[2, 3] = bad
    with refuses(ValueError, "quantize", "x", *words):
        backend.quantize(x, **named, method=method)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("place", [0, 1, 31, 32, 33, 98])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=lambda dtype: dtype.__name__)
def test_non_finite_data_are_found_anywhere(bad, place, symmetric, dtype, backend):
    x = floats(99, 1).astype(dtype)
    x[place] = bad
    with refuses(ValueError, "quantize", "x"):
        backend.quantize(x, symmetric=symmetric)


def test_first_of_several_non_finite_channels_is_named(backend):
    x = floats((300, 40), 1)
    x[[7, 123, 299], 5] = np.nan
    with refuses(ValueError, "quantize", "x", "channel", "7"):
        backend.quantize(x, axis=0)
