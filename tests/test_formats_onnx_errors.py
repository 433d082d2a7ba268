# SPDX-License-Identifier: Apache-2.0
"""What ONNX and MatMulNBits cannot hold, and tensors that are none of theirs, are refused."""

import numpy as np
import pytest

from assertions import refuses
from halfbyte.formats import decode_matmul_nbits, decode_onnx, encode_matmul_nbits, encode_onnx
from quantized_tensors import tensor

PARTS = encode_matmul_nbits(tensor((3, 40), 1, bits=4, group_size=16, signed=False))._asdict()
ONNX = encode_onnx(tensor((3, 5), 1, bits=4, axis=0, affine=True))._asdict()
BLOCKED = encode_onnx(tensor((3, 5), 1, bits=4, group_size=2), axis=0)._asdict()


@pytest.mark.parametrize(
    "q", [tensor((40,), 1, group_size=16), tensor((2, 3, 16), 1, group_size=16)]
)
def test_weights_of_other_than_two_dimensions_are_refused(q):
    with refuses(ValueError, "encode_matmul_nbits", "q", str(q.shape), "(n, k)"):
        encode_matmul_nbits(q)


@pytest.mark.parametrize("place", [{}, {"axis": 0}], ids=str)
def test_weights_without_groups_are_refused(place):
    with refuses(ValueError, "encode_matmul_nbits", "q", "group_size"):
        encode_matmul_nbits(tensor((3, 40), 1, **place))


@pytest.mark.parametrize("size", [8, 24, 48, 1])
def test_block_size_of_no_power_of_two_is_not_written(size):
    with refuses(ValueError, "encode_matmul_nbits", "q.group_size", str(size)):
        encode_matmul_nbits(tensor((3, 40), 1, group_size=size))


@pytest.mark.parametrize(
    ("name", "bad", "kind"),
    [
        *(("bits", 3, ValueError), ("bits", 5, ValueError), ("bits", "4", TypeError)),
        *(("block_size", 8, ValueError), ("block_size", 24, ValueError)),
        *(("block_size", 16.0, TypeError), ("k", -1, ValueError), ("k", 40.0, TypeError)),
    ],
)
def test_attribute_of_a_node_that_is_none_is_refused(name, bad, kind):
    with refuses(kind, "decode_matmul_nbits", name):
        decode_matmul_nbits(**PARTS | {name: bad})


def test_codes_for_another_k_are_refused():
    with refuses(ValueError, "decode_matmul_nbits", "b", "(3, 3, 8)", "(3, 4, 8)"):
        decode_matmul_nbits(**PARTS | {"k": 49})


@pytest.mark.parametrize("name", ["b", "scales", "zero_points"])
def test_array_of_a_node_of_another_shape_is_refused(name):
    bad = PARTS[name][:, 1:]
    with refuses(ValueError, "decode_matmul_nbits", name, str(bad.shape), str(PARTS[name].shape)):
        decode_matmul_nbits(**PARTS | {name: bad})


@pytest.mark.parametrize(
    ("name", "dtype"), [("b", "int8"), ("scales", "float64"), ("zero_points", "float32")]
)
def test_array_of_a_node_of_another_dtype_is_refused(name, dtype):
    with refuses(TypeError, "decode_matmul_nbits", name, dtype):
        decode_matmul_nbits(**PARTS | {name: PARTS[name].astype(dtype)})


@pytest.mark.parametrize("name", ["b", "scales", "zero_points"])
def test_bytes_for_an_array_of_a_node_are_refused(name):
    with refuses(TypeError, "decode_matmul_nbits", name, "bytes"):
        decode_matmul_nbits(**PARTS | {name: PARTS[name].tobytes()})


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_scale_of_a_node_that_is_not_finite_is_refused(bad):
    scales = PARTS["scales"].copy()
    scales[1, 2] = bad
    with refuses(ValueError, "decode_matmul_nbits", "scales", "(1, 2)"):
        decode_matmul_nbits(**PARTS | {"scales": scales})


@pytest.mark.parametrize("place", [{}, {"axis": 1}], ids=str)
def test_axis_of_blocks_without_blocks_is_refused(place):
    with refuses(ValueError, "encode_onnx", "axis", "0", "groups"):
        encode_onnx(tensor((3, 5), 1, **place), axis=0)


@pytest.mark.parametrize(("axis", "kind"), [(2, ValueError), (-3, ValueError), (1.0, TypeError)])
def test_axis_that_does_not_exist_is_refused(axis, kind):
    with refuses(kind, "encode_onnx", "axis"):
        encode_onnx(tensor((3, 5), 1, group_size=2), axis=axis)


def test_blocks_along_another_axis_are_not_moved_silently():
    with refuses(ValueError, "decode_onnx", "axis", "0", "(5, 3)", "move_axis=True"):
        decode_onnx(**BLOCKED)


@pytest.mark.parametrize(
    ("name", "bad", "kind"),
    [
        *(("data_type", "INT16", ValueError), ("data_type", 99, ValueError)),
        *(("data_type", 3.0, TypeError), ("data_type", True, TypeError)),
        *(("shape", None, ValueError), ("shape", 15, TypeError), ("axis", "0", TypeError)),
        *(("axis", 2, ValueError), ("block_size", -1, ValueError), ("block_size", 2.0, TypeError)),
    ],
)
def test_attribute_of_onnx_that_is_none_is_refused(name, bad, kind):
    with refuses(kind, "decode_onnx", name):
        decode_onnx(**ONNX | {name: bad})


@pytest.mark.parametrize("shape", [(3, 7), (3,), (3, 5, 2)], ids=str)
def test_onnx_bytes_for_another_shape_are_refused(shape):
    with refuses(ValueError, "decode_onnx", "values", "(8,)"):
        decode_onnx(**ONNX | {"shape": shape})


@pytest.mark.parametrize("axis", [1, None])
def test_onnx_scales_for_another_axis_are_refused(axis):
    with refuses(ValueError, "decode_onnx", "scale", "(3,)"):
        decode_onnx(**ONNX | {"axis": axis})


@pytest.mark.parametrize("name", ["values", "scale", "zero_point"])
def test_bytes_for_an_array_of_onnx_are_refused(name):
    with refuses(TypeError, "decode_onnx", name, "bytes"):
        decode_onnx(**ONNX | {name: ONNX[name].tobytes()})


@pytest.mark.parametrize(
    ("name", "dtype"), [("values", "int8"), ("scale", "float64"), ("zero_point", "int32")]
)
def test_array_of_onnx_of_another_dtype_is_refused(name, dtype):
    with refuses(TypeError, "decode_onnx", name, dtype):
        decode_onnx(**ONNX | {name: ONNX[name].astype(dtype)})


@pytest.mark.parametrize("bad", [0, -1, np.inf, np.nan])
def test_onnx_scale_that_is_not_positive_and_finite_is_refused(bad):
    with refuses(ValueError, "decode_onnx", "scale", "(1,)"):
        decode_onnx(**ONNX | {"scale": np.float32([1, bad, 1])})


def test_onnx_zero_points_of_another_size_are_refused():
    with refuses(ValueError, "decode_onnx", "zero_point", "(3,)", "(2,)"):
        decode_onnx(**ONNX | {"zero_point": np.zeros(3, np.uint8)})


def test_onnx_codes_of_another_dtype_than_the_type_are_refused():
    with refuses(TypeError, "decode_onnx", "values", "uint8", "int8"):
        decode_onnx(np.zeros(3, np.uint8), 1.0, data_type="INT8")


def test_onnx_zero_points_of_another_type_than_the_codes_are_refused():
    with refuses(TypeError, "decode_onnx", "zero_point", "int32", "int8"):
        decode_onnx(np.zeros(3, np.int8), 1.0, np.array(1, np.int32), data_type="INT8")


def test_onnx_blocks_without_an_axis_are_refused():
    with refuses(ValueError, "decode_onnx", "block_size", "axis"):
        decode_onnx(**BLOCKED | {"axis": None})


def test_four_bits_of_onnx_without_a_dimension_are_refused():
    with refuses(ValueError, "decode_onnx", "values", "()"):
        decode_onnx(np.zeros(1, np.uint8), 1.0, data_type="INT4", shape=())
