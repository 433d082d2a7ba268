# SPDX-License-Identifier: Apache-2.0
"""Bytes of ggml, and nibbles in bitsandbytes' order: by hand, and back to what they came from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_same_bits
from halfbyte import Int4Array, QuantizedTensor
from halfbyte.formats import (
    decode_ggml,
    decode_high_nibble_first,
    encode_ggml,
    encode_high_nibble_first,
)
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes, scales
from quantized_tensors import tensor, value
from strategies import seeds

signs = pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
sizes = st.integers(0, 7)
array_layouts = st.sampled_from(("c", "transposed", "sliced", "negative", "unaligned"))


def q4_0(seed, zero_points, shape=(3, 64)):
    """Return what Q4_0 holds: unsigned, with zero points drawn from `zero_points`."""
    q = tensor(shape, seed, bits=4, group_size=32, signed=False)
    q.zero_point[...] = np.random.default_rng(seed).choice(zero_points, q.zero_point.shape)
    return q


# d = 0.5 (0x3800), u[0] = 1, u[1] = 2, u[16] = 15, u[31] = 9, all others 8.
Q4_0_BYTES = bytes([0x00, 0x38, 0xF1, 0x82, *[0x88] * 13, 0x98])
# d = -2 (0xC000), the same codes.
Q4_0_NEGATIVE = bytes([0x00, 0xC0]) + Q4_0_BYTES[2:]
# d = 2^-24, the smallest half, c[0] = -128, c[1] = 127, c[31] = 5, all others 0.
Q8_0_BYTES = bytes([0x01, 0x00, 0x80, 0x7F, *[0] * 29, 0x05])


def array_of(data):
    """Bytes as a row."""
    return np.frombuffer(data, np.uint8)


def test_q4_0_block_is_read():
    q = decode_ggml(array_of(Q4_0_BYTES), "Q4_0")
    want = np.zeros(32, np.float32)
    want[[0, 1, 16, 31]] = (-3.5, -3, 3.5, 0.5)
    assert_same_bits(value(q), want)
    assert (q.scale.tolist(), q.zero_point.tolist(), q.signed) == ([0.5], [8], False)


def test_q4_0_block_of_negative_scale_is_read():
    q = decode_ggml(array_of(Q4_0_NEGATIVE), "Q4_0")
    want = np.zeros(32, np.float32)
    want[[0, 1, 16, 31]] = (14, 12, -14, -2)
    assert_same_bits(value(q), want)
    assert (q.scale.tolist(), q.zero_point.tolist()) == ([2], [7])


def test_q8_0_block_is_read():
    q = decode_ggml(array_of(Q8_0_BYTES), "Q8_0")
    want = np.zeros(32, np.float32)
    want[[0, 1, 31]] = np.float32([-128, 127, 5]) * np.float32(2.0**-24)
    assert_same_bits(value(q), want)
    assert (q.bits, q.group_size, q.zero_point, q.signed) == (8, 32, None, True)


@pytest.mark.parametrize(
    ("kind", "data"),
    [("Q4_0", Q4_0_BYTES), ("Q4_0", Q4_0_NEGATIVE), ("Q8_0", Q8_0_BYTES)],
    ids=["Q4_0", "negative", "Q8_0"],
)
def test_block_is_written_as_it_was_read(kind, data):
    row = array_of(data)
    assert_same_bits(encode_ggml(decode_ggml(row, kind), kind), row)


@given(rows=st.integers(0, 3), blocks=st.integers(0, 3), seed=seeds, layout=array_layouts)
@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
def test_any_bytes_of_nonzero_scale_are_written_as_they_were_read(kind, rows, blocks, seed, layout):
    size = {"Q4_0": 18, "Q8_0": 34}[kind]
    data = np.random.default_rng(seed).integers(0, 256, (rows, blocks, size)).astype(np.uint8)
    d = scales((rows, blocks), seed).astype("<f2")
    if kind == "Q4_0":
        d *= np.random.default_rng(seed).choice((-1, 1), d.shape).astype(d.dtype)
    data[..., :2] = d[..., None].view(np.uint8)
    data = data.reshape(rows, blocks * size)
    assert_same_bits(encode_ggml(decode_ggml(strided(data, layout), kind), kind), data)


@pytest.mark.parametrize("sign", [0x00, 0x80], ids=["plus", "minus"])
def test_block_of_zeros_has_scale_1_and_is_written_as_zeros(sign):
    row = array_of(bytes([0x00, sign, *[0x88] * 16]))
    q = decode_ggml(row, "Q4_0")
    assert_same_bits(value(q), np.zeros(32, np.float32))
    assert q.scale.tolist() == [1]
    assert_same_bits(encode_ggml(q, "Q4_0"), row)


def test_codes_under_a_scale_of_zero_mean_zero():
    row = array_of(bytes([0x00, 0x00, *range(16)]))
    assert_same_bits(value(decode_ggml(row, "Q4_0")), np.zeros(32, np.float32))


def test_signed_codes_are_written_with_the_middle_code_as_zero():
    values = np.arange(-16, 16).clip(-8, 7).astype(np.int8)
    q = QuantizedTensor(Int4Array.pack(values), np.float32([0.25]), bits=4, group_size=32)
    assert_same_bits(value(decode_ggml(encode_ggml(q, "Q4_0"), "Q4_0")), value(q))


@given(seed=seeds)
def test_q4_0_tensor_is_read_as_it_was_written(seed):
    q = q4_0(seed, (7, 8))
    assert decode_ggml(encode_ggml(q, "Q4_0"), "Q4_0") == q


@given(seed=seeds)
def test_q8_0_tensor_is_read_as_it_was_written(seed):
    q = tensor((2, 3, 64), seed, group_size=32)
    assert decode_ggml(encode_ggml(q, "Q8_0"), "Q8_0") == q


def test_scales_are_rounded_to_float16_when_asked():
    q = QuantizedTensor(np.ones(64, np.int8), np.float32([0.1, 1e-9]), group_size=32)
    got = decode_ggml(encode_ggml(q, "Q8_0", round_scale=True), "Q8_0")
    want = np.repeat(np.float32([np.float16(0.1), 0]), 32)
    assert_same_bits(value(got), want)


# ------------------------------------------------------------------ high nibble first


def test_high_nibble_holds_the_first_element():
    x = Int4Array.pack(np.array([[1, 2, 15], [9, 0, 3]], np.int8), signed=False)
    assert encode_high_nibble_first(x).tolist() == [[0x12, 0xF0], [0x90, 0x30]]


@signs
@given(shape=st.lists(sizes, min_size=1, max_size=3).map(tuple), seed=seeds, layout=array_layouts)
def test_exchanged_nibbles_are_exchanged_back(signed, shape, seed, layout):
    x = Int4Array.pack(codes(shape, seed, 4, signed), signed)
    packed = strided(encode_high_nibble_first(x), layout)
    assert decode_high_nibble_first(packed, shape, signed=signed) == x


def test_nibbles_of_a_quantized_tensor_are_exchanged():
    q = tensor((3, 5), 1, bits=4, axis=0)
    x = Int4Array(q.values, q.shape)
    assert_same_bits(encode_high_nibble_first(q), encode_high_nibble_first(x))


def test_nibbles_of_torch_become_tensors(torch):
    x = Int4Array.pack(torch.ones((3, 5), dtype=torch.int8))
    got = decode_high_nibble_first(encode_high_nibble_first(x), (3, 5), signed=True)
    assert got == x
    assert type(got.packed) is torch.Tensor
