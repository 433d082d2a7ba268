# SPDX-License-Identifier: Apache-2.0
"""Parts that make no QuantizedTensor are refused: which, what it is, what is needed."""

import numpy as np
import pytest

from assertions import refuses
from halfbyte import Int4Array, QuantizedTensor
from halfbyte_reference import code_range

signs = pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])

VALUES = np.array([[1, -2, 3], [4, -5, 6]], np.int8)
X4 = Int4Array.pack(VALUES)


@pytest.mark.parametrize("bits", [1, 5, 16, 0, -8])
def test_other_widths_are_refused(bits):
    with refuses(ValueError, "QuantizedTensor", "bits", str(bits)):
        QuantizedTensor(VALUES, 0.5, bits=bits)


@pytest.mark.parametrize("bits", [8.0, "8", True, None], ids=repr)
def test_width_that_is_no_integer_is_refused(bits):
    with refuses(TypeError, "QuantizedTensor", "bits", type(bits).__name__):
        QuantizedTensor(VALUES, 0.5, bits=bits)


@pytest.mark.parametrize(
    ("bits", "signed", "dtype", "need"),
    [
        *((8, True, "uint8", "int8"), (8, False, "int8", "uint8"), (2, True, "uint8", "int8")),
        *((4, True, "int8", "uint8"), (8, True, "int16", "int8"), (8, True, "float32", "int8")),
    ],
)
def test_values_of_another_dtype_are_refused(bits, signed, dtype, need):
    with refuses(TypeError, "QuantizedTensor", "values", dtype, need):
        QuantizedTensor(np.zeros((2, 3), dtype), 0.5, 0, bits=bits, signed=signed, shape=(2, 3))


@pytest.mark.parametrize("values", [[[1]], 1, None], ids=repr)
def test_values_that_are_no_array_are_refused(values):
    with refuses(TypeError, "QuantizedTensor", "values", type(values).__name__):
        QuantizedTensor(values, 0.5)


@pytest.mark.parametrize(
    ("bits", "signed", "bad"),
    [(2, True, 2), (2, True, -3), (2, False, 4), (3, True, 4), (3, True, -5), (3, False, 8)],
)
def test_code_out_of_range_is_refused(bits, signed, bad):
    values = np.zeros((2, 3), np.int8 if signed else np.uint8)
    values[1, 2] = bad
    with refuses(ValueError, "QuantizedTensor", "values", str(bad), "(1, 2)"):
        QuantizedTensor(values, 0.5, 0, bits=bits, signed=signed)


@signs
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("end", [0, 1], ids=["below", "above"])
def test_zero_point_out_of_the_range_of_codes_is_refused(bits, signed, end):
    bad = code_range(bits, signed, narrow=False)[end] + (-1, 1)[end]
    values = np.zeros((2, 3 if bits == 4 else 5), np.int8 if signed and bits != 4 else np.uint8)
    scale, zero_point = np.float32([1, 2]), np.int32([0, bad])
    with refuses(ValueError, "QuantizedTensor", "zero_point", str(bad), "(1,)"):
        QuantizedTensor(values, scale, zero_point, bits=bits, axis=0, signed=signed, shape=(2, 5))


def test_unsigned_codes_without_a_zero_point_are_refused():
    with refuses(ValueError, "QuantizedTensor", "signed", "zero_point"):
        QuantizedTensor(VALUES.view(np.uint8), 0.5, signed=False)


@pytest.mark.parametrize(
    "bad", [0.0, -0.0, -1.0, np.inf, np.nan, 1e-60, 1e39, 10**309, 0], ids=lambda bad: str(bad)[:5]
)
def test_scale_that_is_not_positive_and_finite_is_refused(bad):
    with refuses(ValueError, "QuantizedTensor", "scale"):
        QuantizedTensor(VALUES, bad)


@pytest.mark.parametrize("bad", [0, -0.0, -1, np.inf, -np.inf, np.nan, -1e-45])
def test_array_of_scales_that_are_not_positive_and_finite_is_refused(bad):
    scale = np.float32([1, bad])
    with refuses(ValueError, "QuantizedTensor", "scale", "(1,)"):
        QuantizedTensor(VALUES, scale, axis=0)


@pytest.mark.parametrize(
    "scale",
    [
        np.float64(0.5),
        np.array(0.5),
        np.float16(0.5),
        np.int64(1),
        True,
        np.True_,
        "1",
        [0.5],
        None,
    ],
    ids=repr,
)
def test_scale_that_is_no_float32_is_refused(scale):
    with refuses(TypeError, "QuantizedTensor", "scale"):
        QuantizedTensor(VALUES, scale)


def test_number_does_not_stand_for_many_scales():
    with refuses(ValueError, "QuantizedTensor", "scale", "()", "(2,)"):
        QuantizedTensor(VALUES, 0.5, axis=0)


@pytest.mark.parametrize(
    "zero_point", [1.0, np.float32(1), np.array(1.0), True, np.True_, "1", [1]], ids=repr
)
def test_zero_point_that_is_no_integer_is_refused(zero_point):
    with refuses(TypeError, "QuantizedTensor", "zero_point"):
        QuantizedTensor(VALUES, 0.5, zero_point)


def test_zero_points_of_another_shape_are_refused():
    with refuses(ValueError, "QuantizedTensor", "zero_point", "(3,)", "(2,)"):
        QuantizedTensor(VALUES, np.float32([1, 2]), np.int32([1, 2, 3]), axis=0)


@pytest.mark.parametrize("axis", [2, -3, 10**30])
def test_axis_that_is_none_is_refused(axis):
    with refuses(ValueError, "QuantizedTensor", "axis", str(axis)):
        QuantizedTensor(VALUES, np.float32([1, 2]), axis=axis)


def test_axis_of_a_scalar_is_refused():
    with refuses(ValueError, "QuantizedTensor", "axis", "0"):
        QuantizedTensor(np.array(1, np.int8), np.float32([1]), axis=0)


@pytest.mark.parametrize("name", ["axis", "group_size"])
@pytest.mark.parametrize("bad", [1.0, "1", True, (1,)], ids=repr)
def test_axis_and_group_size_are_integers(name, bad):
    with refuses(TypeError, "QuantizedTensor", name, type(bad).__name__):
        QuantizedTensor(VALUES, 0.5, **{name: bad})


@pytest.mark.parametrize("group_size", [0, -1])
def test_group_of_no_elements_is_refused(group_size):
    with refuses(ValueError, "QuantizedTensor", "group_size", str(group_size)):
        QuantizedTensor(VALUES, 0.5, group_size=group_size)


def test_axis_with_groups_is_refused():
    with refuses(ValueError, "QuantizedTensor", "axis", "group_size"):
        QuantizedTensor(VALUES, np.ones((2, 2), np.float32), axis=0, group_size=2)


def test_groups_of_a_scalar_are_refused():
    with refuses(ValueError, "QuantizedTensor", "group_size"):
        QuantizedTensor(np.array(1, np.int8), 0.5, group_size=1)


def test_packed_bytes_need_a_shape():
    with refuses(ValueError, "QuantizedTensor", "shape", "3", "4"):
        QuantizedTensor(X4.packed, 0.5, bits=4)


@pytest.mark.parametrize(
    ("values", "bits", "shape"),
    [(VALUES, 8, (2, 4)), (VALUES, 8, (6,)), (X4, 4, (2, 4)), (X4.packed, 4, (2, 5))],
)
def test_shape_that_values_do_not_have_is_refused(values, bits, shape):
    with refuses(ValueError, "QuantizedTensor", "shape", str(shape)):
        QuantizedTensor(values, 0.5, bits=bits, shape=shape)


def test_bytes_with_more_codes_than_the_shape_are_refused():
    with refuses(ValueError, "QuantizedTensor", "values", "3"):
        QuantizedTensor(np.array([[0x21, 0x13]], np.uint8), 0.5, bits=4, shape=(1, 3))


def test_four_bits_without_a_dimension_are_refused():
    with refuses(ValueError, "QuantizedTensor", "values", "()"):
        QuantizedTensor(np.array(1, np.uint8), 0.5, bits=4, shape=())


def test_int4_array_of_other_bits_is_refused():
    with refuses(ValueError, "QuantizedTensor", "values", "bits", "4", "8"):
        QuantizedTensor(X4, 0.5)


def test_int4_array_of_the_other_sign_is_refused():
    with refuses(TypeError, "QuantizedTensor", "values", "signed=True"):
        QuantizedTensor(X4, 0.5, 0, bits=4, signed=False)


@pytest.mark.parametrize("signed", [1, None, "yes"])
def test_sign_of_codes_is_a_bool(signed):
    with refuses(TypeError, "QuantizedTensor", "signed"):
        QuantizedTensor(VALUES, 0.5, signed=signed)
