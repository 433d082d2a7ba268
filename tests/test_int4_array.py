# SPDX-License-Identifier: Apache-2.0
"""An Int4Array holds 4-bit integers, two a byte, and gives them back."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_same_bits, refuses
from halfbyte import Int4Array
from halfbyte_reference import pack_nibbles
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes
from strategies import layouts, seeds

shapes = st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple)
signs = pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
remakes = pytest.mark.parametrize(
    "remake",
    [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["copy", "deepcopy", "pickle"],
)

VALUES = np.array([[1, -2, 3], [4, -5, 6]], np.int8)
X4 = Int4Array.pack(VALUES)


@signs
@given(shape=shapes, seed=seeds, layout=layouts)
def test_packed_integers_unpack_to_themselves(signed, shape, seed, layout):
    values = codes(shape, seed, 4, signed)
    if layout == "broadcast":
        values = np.broadcast_to(values[:1], values.shape)
    assert_same_bits(Int4Array.pack(strided(values, layout), signed).unpack(), values)


@signs
@given(shape=shapes, seed=seeds)
def test_bytes_are_those_of_the_reference(signed, shape, seed):
    values = codes(shape, seed, 4, signed)
    assert_same_bits(Int4Array.pack(values, signed).packed, pack_nibbles(values))


def test_first_element_lies_in_the_low_nibble():
    assert Int4Array.pack(np.array([1, -2, 7], np.int8)).packed.tolist() == [0xE1, 0x07]


@given(shape=shapes, seed=seeds, layout=st.sampled_from(("c", "sliced", "negative", "field")))
def test_bytes_of_any_layout_unpack(shape, seed, layout):
    values = codes(shape, seed, 4)
    x = Int4Array(strided(pack_nibbles(values), layout), shape)
    assert_same_bits(x.unpack(), values)


def test_bytes_are_held_without_a_copy():
    packed = np.zeros((2, 2), np.uint8)
    x = Int4Array(packed, (2, 3))
    packed[1, 0] = 0x21
    assert_same_bits(x.unpack(), np.array([[0, 0, 0], [1, 2, 0]], np.int8))


@signs
def test_ml_dtypes_integers_pack_as_their_values(signed, ml_dtypes):
    values = np.arange(*((-8, 8) if signed else (0, 16)))
    x = Int4Array.pack(values.astype(ml_dtypes.int4 if signed else ml_dtypes.uint4), signed)
    assert x == Int4Array.pack(values.astype(np.int8), signed)


@signs
def test_ml_dtypes_integers_of_the_other_sign_are_refused(signed, ml_dtypes):
    values = np.zeros(3, ml_dtypes.uint4 if signed else ml_dtypes.int4)
    with refuses(TypeError, "Int4Array.pack", "values", str(values.dtype), f"signed={not signed}"):
        Int4Array.pack(values, signed)


@signs
def test_int4_array_is_an_array_of_integers(signed):
    values = codes((3, 5), 1, 4, signed)
    assert_same_bits(np.asarray(Int4Array.pack(values, signed)), values)


def test_int4_array_is_an_array_of_the_dtype_asked_for():
    assert_same_bits(np.asarray(X4, np.float16), VALUES.astype(np.float16))


def test_int4_array_knows_its_form():
    assert (X4.shape, X4.ndim, X4.signed, X4.nbytes) == ((2, 3), 2, True, 4)


@signs
def test_int4_arrays_text_names_sign_shape_and_bytes(signed):
    text = repr(Int4Array.pack(np.zeros((3, 5), np.int8), signed))
    assert text == f"Int4Array({'signed' if signed else 'unsigned'}, shape=(3, 5), 9 bytes)"


@remakes
@signs
def test_int4_array_can_be_remade(remake, signed):
    x = Int4Array.pack(codes((3, 5), 1, 4, signed), signed)
    assert remake(x) == x


@pytest.mark.parametrize(
    "other",
    [
        Int4Array.pack(np.array([[1, -2, 3], [4, -5, 7]], np.int8)),
        Int4Array(X4.packed, (2, 3), signed=False),
        Int4Array.pack(np.pad(VALUES, ((0, 0), (0, 1)))),
        VALUES,
    ],
    ids=["values", "sign", "shape", "kind"],
)
def test_int4_arrays_that_differ_are_not_equal(other):
    assert other != X4


@pytest.mark.parametrize(
    ("values", "signed", "value"),
    [([0, 8], True, 8), ([0, -9], True, -9), ([1, -1], False, -1), ([1, 16], False, 16)],
)
def test_integer_out_of_range_is_refused(values, signed, value):
    with refuses(ValueError, "Int4Array.pack", "values", str(value), "(0, 1)"):
        Int4Array.pack(np.array([values], np.int8), signed)


@pytest.mark.parametrize("dtype", ["int16", "float32", "bool", "object"])
def test_integers_of_another_dtype_are_not_packed(dtype):
    with refuses(TypeError, "Int4Array.pack", "values", dtype, "int8"):
        Int4Array.pack(np.zeros(3, dtype))


@pytest.mark.parametrize("values", [[1, 2], 3, np.int8(3), None], ids=repr)
def test_what_is_no_array_is_not_packed(values):
    with refuses(TypeError, "Int4Array.pack", "values", type(values).__name__):
        Int4Array.pack(values)


def test_integer_without_a_dimension_is_not_packed():
    with refuses(ValueError, "Int4Array.pack", "values", "()"):
        Int4Array.pack(np.array(3, np.int8))


@pytest.mark.parametrize("shape", [(2, 5), (2, 2), (4,), (3, 3), (2, 3, 1)], ids=str)
def test_bytes_of_another_shape_are_refused(shape):
    with refuses(ValueError, "Int4Array", "packed", "(2, 2)", str(shape)):
        Int4Array(X4.packed, shape)


@pytest.mark.parametrize("shape", [(), (2, -3)], ids=str)
def test_shape_of_no_int4_array_is_refused(shape):
    with refuses(ValueError, "Int4Array", "shape", str(shape)):
        Int4Array(X4.packed, shape)


@pytest.mark.parametrize("shape", [6, (2, 3.0), (2, True), None], ids=repr)
def test_shape_that_is_no_tuple_of_integers_is_refused(shape):
    with refuses(TypeError, "Int4Array", "shape"):
        Int4Array(X4.packed, shape)


def test_bytes_with_more_than_their_row_holds_are_refused():
    with refuses(ValueError, "Int4Array", "packed", "3"):
        Int4Array(np.array([[0x21, 0x13]], np.uint8), (1, 3))


@pytest.mark.parametrize("dtype", ["int8", "uint16", "bool"])
def test_bytes_of_another_dtype_are_refused(dtype):
    with refuses(TypeError, "Int4Array", "packed", dtype, "uint8"):
        Int4Array(np.zeros((2, 2), dtype), (2, 3))


@pytest.mark.parametrize("signed", [1, None, "yes"])
def test_sign_that_is_no_bool_is_refused(signed):
    with refuses(TypeError, "Int4Array", "signed"):
        Int4Array(X4.packed, (2, 3), signed)


def test_tensor_packs_to_tensors(torch):
    x = Int4Array.pack(torch.from_numpy(VALUES))
    assert isinstance(x.packed, torch.Tensor)
    assert_same_bits(x.unpack().numpy(), VALUES)
