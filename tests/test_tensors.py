# SPDX-License-Identifier: Apache-2.0
"""A QuantizedTensor holds what it was given, and it and Int4Array behave as values do."""

import copy
import pickle

import numpy as np
import pytest

import halfbyte
from assertions import assert_same_bits, refuses
from halfbyte import Int4Array, QuantizedTensor
from halfbyte_reference import dequantize, pack_nibbles
from halfbyte_reference.inputs_quantized import codes, scales

signs = pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
remakes = pytest.mark.parametrize(
    "remake",
    [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["copy", "deepcopy", "pickle"],
)

VALUES = np.array([[1, -2, 3], [4, -5, 6]], np.int8)
# One tensor of each way to hold scales and zero points.
TENSORS = {
    "per-tensor": QuantizedTensor(VALUES, 0.5),
    "per-channel": QuantizedTensor(VALUES, np.float32([1, 2, 4]), axis=1),
    "grouped": QuantizedTensor(VALUES, np.float32([[1, 2], [4, 8]]), group_size=2),
    "affine": QuantizedTensor(VALUES, 0.5, 3),
    "unsigned": QuantizedTensor(VALUES.view(np.uint8), np.float32(0.5), 3, signed=False),
    "int4": QuantizedTensor(Int4Array.pack(VALUES), np.float32([1, 2]), bits=4, axis=0),
    "two-bits": QuantizedTensor(VALUES % 2, 0.5, bits=2),
}
tensors = pytest.mark.parametrize("q", TENSORS.values(), ids=TENSORS)
X4 = Int4Array.pack(VALUES)


def parts(bits=8, signed=True, k=5):
    """Return values, scale and zero point for two rows of k codes with a scale each."""
    values = codes((2, k), 1, bits, signed)
    return (
        pack_nibbles(values) if bits == 4 else values,
        scales(2, 2),
        codes(2, 3, bits, signed).astype(np.int32),
    )


@signs
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_parts_are_held_as_given(bits, signed):
    values, scale, zero_point = parts(bits, signed)
    q = QuantizedTensor(values, scale, zero_point, bits=bits, axis=-2, signed=signed, shape=(2, 5))
    assert (q.bits, q.axis, q.group_size, q.signed, q.shape) == (bits, 0, None, signed, (2, 5))
    assert np.shares_memory(q.values, values)
    assert np.shares_memory(q.scale, scale)
    assert np.shares_memory(q.zero_point, zero_point)


@pytest.mark.parametrize(
    ("shape", "axis", "group_size", "need"),
    [
        *(((), None, None, ()), ((3, 5), None, None, ()), ((3, 5), 0, None, (3,))),
        *(((3, 5), -1, None, (5,)), ((3, 5), None, 2, (3, 3)), ((3, 5), None, 5, (3, 1))),
        *(((3, 5), None, 9, (3, 1)), ((0, 5), None, 2, (0, 3)), ((3, 0), None, 2, (3, 0))),
        *(((2, 3, 4), 1, None, (3,)), ((2, 3, 4), None, 3, (2, 3, 2)), ((4,), None, 4, (1,))),
    ],
)
def test_scales_have_exactly_their_shape(shape, axis, group_size, need):
    values = np.zeros(shape, np.int8)
    q = QuantizedTensor(values, np.ones(need, np.float32), axis=axis, group_size=group_size)
    assert q.scale.shape == need
    with refuses(ValueError, "QuantizedTensor", "scale", str((*need, 1)), str(need)):
        QuantizedTensor(values, np.ones((*need, 1), np.float32), axis=axis, group_size=group_size)


@tensors
def test_equal_tensors_are_equal(q):
    assert copy.deepcopy(q) == q


@tensors
@remakes
def test_tensor_can_be_remade(q, remake):
    assert remake(q) == q


def test_deep_copy_has_memory_of_its_own():
    q = TENSORS["affine"]
    assert not np.shares_memory(copy.deepcopy(q).values, q.values)


def test_pickle_of_parts_that_were_made_wrong_is_refused():
    q = copy.deepcopy(TENSORS["affine"])
    q.scale[...] = -1
    with refuses(ValueError, "QuantizedTensor", "scale"):
        pickle.loads(pickle.dumps(q))


def same(**changed):
    """Return the tensor `per-channel` made affine, but for what is changed."""
    good = {
        "values": VALUES,
        "scale": np.float32([1, 2, 4]),
        "zero_point": np.int32([0, 1, 2]),
        "axis": 1,
    }
    return QuantizedTensor(**good | changed)


@pytest.mark.parametrize(
    "other",
    [
        same(values=VALUES + np.int8(1)),
        same(scale=np.nextafter(np.float32([1, 2, 4]), np.float32(9))),
        same(zero_point=np.int32([0, 1, 3])),
        same(zero_point=None),
        same(values=VALUES % 2, bits=3),
        same(values=VALUES.view(np.uint8), signed=False),
        same(scale=0.5, zero_point=0, axis=None),
        same(values=VALUES.reshape(1, 2, 3), axis=2),
        VALUES,
        None,
    ],
    ids=["values", "scale", "zero_point", "affinity", "bits", "sign", "axis", "shape", "array",
         "None"],
)  # fmt: skip
def test_tensors_that_differ_are_not_equal(other):
    assert other != same()
    assert same() != other


def test_tensors_of_two_group_sizes_are_not_equal():
    scale = np.ones((2, 1), np.float32)
    first, second = (QuantizedTensor(VALUES, scale, group_size=size) for size in (3, 4))
    assert first != second


@tensors
def test_bytes_are_those_of_all_arrays(q):
    arrays = [x for x in (q.values, q.scale, q.zero_point) if x is not None]
    assert q.nbytes == sum(x.nbytes for x in arrays)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("per-tensor", "8 bits, signed, symmetric, shape=(2, 3), per tensor, 10 bytes"),
        ("per-channel", "8 bits, signed, symmetric, shape=(2, 3), axis=1, 18 bytes"),
        ("grouped", "8 bits, signed, symmetric, shape=(2, 3), group_size=2, 22 bytes"),
        ("unsigned", "8 bits, unsigned, affine, shape=(2, 3), per tensor, 14 bytes"),
        ("int4", "4 bits, signed, symmetric, shape=(2, 3), axis=0, 12 bytes"),
    ],
)
def test_text_tells_what_it_is(name, text):
    assert repr(TENSORS[name]) == f"QuantizedTensor({text})"


@pytest.mark.parametrize("function", [halfbyte.gemm_f16, halfbyte.gemm_int])
@pytest.mark.parametrize("place", [0, 1])
def test_product_of_a_tensor_is_left_to_linear(function, place):
    dtype = np.float16 if function is halfbyte.gemm_f16 else np.int8
    operands = [np.ones((2, 2), dtype), np.ones((2, 2), dtype)]
    operands[place] = QuantizedTensor(np.ones((2, 2), np.int8), 1.0)
    with refuses(
        TypeError, function.__name__, "ab"[place], "is a halfbyte.QuantizedTensor;", "linear",
        "q.values",
    ):  # fmt: skip
        function(*operands)


def test_saved_parts_are_loaded_as_they_were(tmp_path):
    q = halfbyte.quantize(np.ones((3, 5), np.float32), bits=4, group_size=2, symmetric=False)
    parts = {name: getattr(q, name) for name in QuantizedTensor.__slots__}
    np.savez(tmp_path / "q.npz", **{name: x for name, x in parts.items() if x is not None})
    loaded = np.load(tmp_path / "q.npz")
    arrays = ("values", "scale", "zero_point")
    named = {name: x if name in arrays else x.tolist() for name, x in loaded.items()}
    assert QuantizedTensor(**named) == q


def test_float_scale_is_rounded_once():
    assert_same_bits(QuantizedTensor(VALUES, 0.1).scale, np.array(0.1, np.float32))


def test_subnormal_scale_is_positive():
    scale = np.array([1, 0x7FFFFF], np.uint32).view(np.float32)
    assert_same_bits(QuantizedTensor(VALUES, scale, axis=0).scale, scale)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_zero_point_of_any_integer_dtype_becomes_int32(dtype):
    q = QuantizedTensor(VALUES, np.float32([1, 2]), np.array([0, 127], dtype), axis=0)
    assert_same_bits(q.zero_point, np.int32([0, 127]))


@signs
def test_int4_arrays_and_bytes_and_ml_dtypes_make_equal_tensors(signed, ml_dtypes):
    values = codes((3, 5), 1, 4, signed)
    made = [
        QuantizedTensor(x, 0.5, 1, bits=4, signed=signed, shape=(3, 5))
        for x in (
            pack_nibbles(values),
            Int4Array.pack(values, signed),
            values.astype(ml_dtypes.int4 if signed else ml_dtypes.uint4),
        )
    ]
    assert made[0] == made[1] == made[2]


def test_int4_array_tells_the_shape():
    assert QuantizedTensor(X4, 0.5, bits=4).shape == (2, 3)


def test_tensors_of_torch_are_held_as_tensors(torch):
    values, scale = torch.from_numpy(VALUES), torch.ones(2)
    q = QuantizedTensor(values, scale, torch.ones(2, dtype=torch.int8), axis=0)
    assert [type(x) for x in (q.values, q.scale, q.zero_point)] == [torch.Tensor] * 3
    assert q.values.data_ptr() == values.data_ptr()
    assert q.zero_point.dtype is torch.int32


@remakes
def test_tensor_of_torch_can_be_remade(remake, torch):
    q = QuantizedTensor(torch.from_numpy(VALUES.copy()), 0.5, 3)
    assert remake(q) == q
    assert isinstance(remake(q).values, torch.Tensor)


def test_arrays_of_two_libraries_are_refused(torch):
    with refuses(TypeError, "QuantizedTensor", "values", "scale", "torch", "numpy"):
        QuantizedTensor(VALUES, torch.ones(2), axis=0)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("grouped", [False, True], ids=["axis", "grouped"])
def test_dequantized_tensor_has_the_bits_of_the_reference(bits, grouped):
    values, zero_point = codes((3, 5), 1, bits), codes((3, 2), 3, bits).astype(np.int32)
    scale = scales((3, 2), 2)
    where = {"group_size": 3} if grouped else {"axis": 0}
    if not grouped:
        scale, zero_point = scale[:, 0].copy(), zero_point[:, 0].copy()
    held = Int4Array.pack(values) if bits == 4 else values
    q = QuantizedTensor(held, scale, zero_point, bits=bits, **where)
    want = dequantize(values, scale, zero_point, **where)
    assert_same_bits(q.dequantize(), want)
    assert_same_bits(np.asarray(q), want)


@pytest.mark.parametrize("dtype", ["float16", "float64", "float32"])
def test_tensor_is_an_array_of_the_dtype_asked_for(dtype):
    q = TENSORS["affine"]
    assert_same_bits(np.asarray(q, dtype), dequantize(VALUES, 0.5, 3).astype(dtype))


def test_tensor_dequantizes_into_out():
    out = np.zeros((2, 3), np.float16)
    assert TENSORS["affine"].dequantize(dtype=np.float16, out=out) is out
    assert_same_bits(out, dequantize(VALUES, 0.5, 3, dtype=np.float16))


@pytest.mark.parametrize("x", [X4, TENSORS["affine"]], ids=["int4", "quantized"])
@pytest.mark.parametrize("name", ["shape", "signed", "anything"])
def test_attribute_cannot_be_set(x, name):
    with pytest.raises(AttributeError, match=f"{name}.*immutable"):
        setattr(x, name, 1)


@pytest.mark.parametrize("x", [X4, TENSORS["affine"]], ids=["int4", "quantized"])
def test_attribute_cannot_be_deleted(x):
    with pytest.raises(AttributeError, match=r"shape.*immutable"):
        del x.shape


@pytest.mark.parametrize("x", [X4, TENSORS["affine"]], ids=["int4", "quantized"])
def test_what_can_be_written_to_has_no_hash(x):
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)


@pytest.mark.parametrize("x", [X4, TENSORS["affine"]], ids=["int4", "quantized"])
def test_no_ufunc_takes_it(x):
    with pytest.raises(TypeError):
        np.ones(3) + x


@pytest.mark.parametrize("x", [X4, TENSORS["affine"]], ids=["int4", "quantized"])
def test_no_view_is_to_be_had(x):
    with refuses(ValueError, type(x).__name__, "copy"):
        np.asarray(x, copy=False)


def test_packed_matrix_is_still_found():
    assert halfbyte.tensors.PackedMatrix is halfbyte.PackedMatrix
