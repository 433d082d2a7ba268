# SPDX-License-Identifier: Apache-2.0
"""Tensors of ONNX and of onnxruntime's MatMulNBits: by hand, and back to what they came from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_same_bits
from halfbyte import Int4Array, QuantizedTensor
from halfbyte.formats import (
    decode_ggml,
    decode_matmul_nbits,
    decode_onnx,
    encode_ggml,
    encode_matmul_nbits,
    encode_onnx,
)
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes
from quantized_tensors import tensor, value
from strategies import layouts, seeds

sizes = st.integers(0, 7)


def read(parts):
    """Read what encode_matmul_nbits wrote."""
    return decode_matmul_nbits(**parts._asdict())


def test_onnx_bytes_run_over_the_ends_of_rows():
    q = QuantizedTensor(Int4Array.pack(np.array([[1, 2, 3], [4, 5, -1]], np.int8)), 1.0, bits=4)
    assert encode_onnx(q).values.tolist() == [0x21, 0x43, 0xF5]


def test_last_byte_of_an_odd_onnx_tensor_has_a_high_nibble_of_zero():
    q = QuantizedTensor(Int4Array.pack(np.array([[1, -1, 3]], np.int8)), 1.0, -2, bits=4)
    got = encode_onnx(q)
    assert (got.values.tolist(), got.zero_point.tolist()) == ([0xF1, 0x03], [0x0E])


def test_onnx_packs_four_codes_of_two_bits_in_a_byte():
    q = QuantizedTensor(np.array([0, 1, -2, -1, 1], np.int8), 1.0, bits=2)
    assert encode_onnx(q).values.tolist() == [0b11_10_01_00, 0b01]


def test_onnx_zero_points_have_the_type_of_codes():
    got = encode_onnx(tensor((3, 4), 1, axis=0, affine=True))
    assert (got.zero_point.dtype, got.data_type, got.axis) == (np.int8, "INT8", 0)


onnx_kinds = pytest.mark.parametrize(
    ("bits", "signed", "affine"),
    [
        *((8, True, False), (8, True, True), (8, False, True), (4, True, False)),
        *((4, True, True), (4, False, True), (2, True, False), (2, False, True)),
    ],
)
places = pytest.mark.parametrize(
    "place", [{}, {"axis": 0}, {"axis": 1}, {"group_size": 3}], ids=str
)


@onnx_kinds
@places
@given(shape=st.tuples(sizes, sizes, sizes), seed=seeds)
def test_onnx_tensor_is_read_as_it_was_written(bits, signed, affine, place, shape, seed):
    q = tensor(shape, seed, bits=bits, signed=signed, affine=affine, **place)
    assert decode_onnx(**encode_onnx(q)._asdict()) == q


@onnx_kinds
@pytest.mark.parametrize("axis", [0, 1, -1, 2, -3])
def test_onnx_blocks_lie_along_any_axis(bits, signed, affine, axis):
    q = tensor((3, 4, 7), 1, bits=bits, signed=signed, affine=affine, group_size=3)
    got = encode_onnx(q, axis=axis)
    assert got.shape == np.moveaxis(np.zeros(q.shape), -1, axis).shape
    assert decode_onnx(**got._asdict(), move_axis=True) == q


def test_number_as_scale_leaves_the_axis_without_meaning():
    assert decode_onnx(np.ones(3, np.int8), 0.5, data_type="INT8", axis=5).axis is None


def test_half_scales_of_onnx_are_widened():
    q = tensor((3, 4), 1, axis=0)
    got = encode_onnx(q)._asdict()
    assert decode_onnx(**got | {"scale": got["scale"].astype(np.float16)}) == q


def test_unsigned_onnx_codes_without_zero_points_have_zeros():
    got = decode_onnx(np.ones((2, 3), np.uint8), np.float32([1, 2]), data_type="UINT8", axis=0)
    assert got.zero_point.tolist() == [0, 0]


@given(seed=seeds, layout=layouts.filter(lambda layout: layout != "broadcast"))
def test_onnx_arrays_of_any_layout_are_read(seed, layout):
    values = codes((3, 4, 5), seed)
    got = decode_onnx(strided(values, layout), 0.5, data_type="INT8")
    assert got == QuantizedTensor(values, 0.5)


def test_matmul_nbits_tensors_are_those_of_the_picture():
    values = np.zeros((2, 19), np.uint8)
    values[0, :3], values[0, 16], values[1, 18] = (1, 2, 15), 7, 4
    q = QuantizedTensor(
        Int4Array.pack(values, signed=False), np.float32([[1, 2], [3, 4]]),
        np.int32([[5, 6], [7, 8]]), bits=4, group_size=16, signed=False,
    )  # fmt: skip
    b = np.zeros((2, 2, 8), np.uint8)
    b[0, 0, :2], b[0, 1, 0], b[1, 1, 1] = (0x21, 0x0F), 0x07, 0x04
    got = encode_matmul_nbits(q)
    assert_same_bits(got.b, b)
    assert_same_bits(got.scales, q.scale)
    assert_same_bits(got.zero_points, np.array([[0x65], [0x87]], np.uint8))
    assert (got.k, got.bits, got.block_size) == (19, 4, 16)


def test_odd_number_of_zero_points_ends_with_half_a_byte():
    q = tensor((2, 48), 1, bits=4, group_size=16, signed=False)
    q.zero_point[...] = [[1, 2, 3], [4, 5, 6]]
    assert encode_matmul_nbits(q).zero_points.tolist() == [[0x21, 0x03], [0x54, 0x06]]


def test_signed_codes_of_matmul_nbits_are_offset_by_the_middle():
    q = QuantizedTensor(np.full((1, 16), -128, np.int8), np.float32([[1]]), group_size=16)
    got = encode_matmul_nbits(q)
    assert got.b.tolist() == [[[0] * 16]]
    assert got.zero_points is None


matmul_cases = pytest.mark.parametrize("bits", [2, 4, 8])


@matmul_cases
@pytest.mark.parametrize("affine", [False, True], ids=["symmetric", "affine"])
@given(n=sizes, k=st.sampled_from((0, 1, 15, 16, 17, 31, 32, 33, 63, 80)), seed=seeds,
       block_size=st.sampled_from((16, 32, 64)))  # fmt: skip
def test_matmul_nbits_tensor_is_read_as_it_was_written(bits, affine, n, k, seed, block_size):
    q = tensor((n, k), seed, bits=bits, group_size=block_size, signed=not affine)
    assert read(encode_matmul_nbits(q)) == q


@matmul_cases
def test_signed_zero_points_become_unsigned_ones_of_the_same_values(bits):
    q = tensor((3, 40), 1, bits=bits, group_size=16, affine=True)
    got = read(encode_matmul_nbits(q))
    assert not got.signed
    assert_same_bits(value(got), value(q))


@matmul_cases
@pytest.mark.parametrize("affine", [False, True], ids=["no zero points", "zero points"])
def test_negative_scales_of_matmul_nbits_turn_codes(bits, affine):
    parts = encode_matmul_nbits(tensor((3, 40), 1, bits=bits, group_size=16, signed=not affine))
    scale = parts.scales * np.float32([1, -1, -1])
    got = read(parts._replace(scales=scale))
    want = value(read(parts)) * np.sign(np.repeat(scale, 16, axis=1)[:, :40])
    assert_same_bits(value(got), want + np.float32(0))  # -0 becomes +0


def test_scale_of_zero_of_matmul_nbits_means_zeros():
    parts = encode_matmul_nbits(tensor((1, 32), 1, bits=4, group_size=16))
    got = read(parts._replace(scales=np.float32([[0, 2]])))
    assert got.scale.tolist() == [[1, 2]]
    assert_same_bits(value(got)[:, :16], np.zeros((1, 16), np.float32))


def test_flat_scales_and_zero_points_of_matmul_nbits_are_read():
    q = tensor((3, 48), 1, bits=4, group_size=16, signed=False)
    parts = encode_matmul_nbits(q)
    flat = parts._replace(scales=parts.scales.ravel(), zero_points=parts.zero_points.ravel())
    assert read(flat) == q


def test_half_scales_of_matmul_nbits_are_widened():
    q = tensor((3, 48), 1, bits=4, group_size=16)
    parts = encode_matmul_nbits(q)
    assert read(parts._replace(scales=parts.scales.astype(np.float16))) == q


def test_codes_beyond_k_mean_nothing():
    q = tensor((3, 17), 1, bits=4, group_size=16, signed=False)
    parts = encode_matmul_nbits(q)
    parts.b[:, 1, 1:] = 0xFF
    parts.b[:, 1, 0] |= 0xF0
    assert read(parts) == q


@pytest.mark.parametrize(
    "round_trip",
    [
        lambda q: decode_ggml(encode_ggml(q, "Q8_0"), "Q8_0"),
        lambda q: decode_onnx(**encode_onnx(q, axis=0)._asdict(), move_axis=True),
        lambda q: read(encode_matmul_nbits(q)),
    ],
    ids=["ggml", "onnx", "MatMulNBits"],
)
def test_tensors_of_torch_become_tensors(round_trip, torch):
    held = tensor((3, 64), 1, group_size=32)
    q = QuantizedTensor(torch.from_numpy(held.values), torch.from_numpy(held.scale), group_size=32)
    got = round_trip(q)
    assert got == held
    assert {type(got.values), type(got.scale)} == {torch.Tensor}
