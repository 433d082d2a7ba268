# SPDX-License-Identifier: Apache-2.0
"""What a layout cannot hold, and bytes that are none of it, are refused."""

import numpy as np
import pytest

from assertions import refuses
from halfbyte import Int4Array, QuantizedTensor
from halfbyte.formats import (
    decode_ggml,
    decode_high_nibble_first,
    encode_ggml,
    encode_high_nibble_first,
    encode_matmul_nbits,
    encode_onnx,
)
from quantized_tensors import tensor

Q8 = tensor((3, 64), 1, group_size=32)
Q4 = tensor((3, 64), 1, bits=4, group_size=32)
ENCODERS = {
    "encode_ggml": lambda q: encode_ggml(q, "Q8_0"),
    "encode_onnx": encode_onnx,
    "encode_matmul_nbits": encode_matmul_nbits,
}
encoders = pytest.mark.parametrize("name", ENCODERS)


@encoders
@pytest.mark.parametrize("q", [np.ones((3, 64), np.int8), Int4Array.pack(Q8.values % 2), None])
def test_what_is_no_quantized_tensor_is_not_written(name, q):
    with refuses(TypeError, name, "q", type(q).__name__, "QuantizedTensor"):
        ENCODERS[name](q)


@encoders
def test_codes_of_three_bits_are_not_written(name):
    with refuses(ValueError, name, "q", "3"):
        ENCODERS[name](tensor((3, 64), 1, bits=3, group_size=32))


# ----------------------------------------------------------------------------------- ggml

ggml = pytest.mark.parametrize("function", [decode_ggml, encode_ggml])


@ggml
def test_unknown_kind_is_refused(function):
    with refuses(ValueError, function.__name__, "kind", "Q4_1", "Q4_0", "Q8_0"):
        function(Q8 if function is encode_ggml else np.zeros(34, np.uint8), "Q4_1")


@ggml
@pytest.mark.parametrize("kind", [None, 8, 4.0])
def test_kind_that_is_no_text_is_refused(function, kind):
    with refuses(TypeError, function.__name__, "kind", str(kind)):
        function(Q8 if function is encode_ggml else np.zeros(34, np.uint8), kind)


@pytest.mark.parametrize(("kind", "size"), [("Q4_0", 18), ("Q8_0", 34)])
@pytest.mark.parametrize("shape", [(17,), (3, 35), (2, 3, 1), ()], ids=str)
def test_rows_of_no_whole_blocks_are_refused(kind, size, shape):
    with refuses(ValueError, "decode_ggml", "data", str(shape), str(size), kind):
        decode_ggml(np.zeros(shape, np.uint8), kind)


@pytest.mark.parametrize("dtype", ["int8", "float16", "uint16"])
def test_blocks_of_another_dtype_are_refused(dtype):
    with refuses(TypeError, "decode_ggml", "data", dtype, "uint8"):
        decode_ggml(np.zeros(36, dtype), "Q4_0")


def test_blocks_that_are_no_array_are_refused():
    with refuses(TypeError, "decode_ggml", "data", "bytes"):
        decode_ggml(bytes(18), "Q4_0")


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
@pytest.mark.parametrize("d", [0x7C00, 0xFC00, 0x7E00, 0x7D01, 0xFE00], ids=hex)
def test_block_of_scale_that_is_not_finite_is_refused(kind, d):
    data = np.zeros((3, 36 if kind == "Q4_0" else 68), np.uint8)
    data[2, data.shape[1] // 2 :][:2] = d & 0xFF, d >> 8
    with refuses(ValueError, "decode_ggml", "d", "(2, 1)"):
        decode_ggml(data, kind)


def test_negative_scale_of_q8_0_is_refused():
    data = np.zeros((2, 34), np.uint8)
    data[1, :2] = 0x00, 0xB8
    with refuses(ValueError, "decode_ggml", "d", "-0.5", "(1, 0)", "Q8_0"):
        decode_ggml(data, "Q8_0")


@pytest.mark.parametrize(("kind", "q"), [("Q4_0", Q8), ("Q8_0", Q4)])
def test_codes_of_another_width_than_the_kinds_are_refused(kind, q):
    with refuses(ValueError, "encode_ggml", "q", str(q.bits), kind):
        encode_ggml(q, kind)


@pytest.mark.parametrize(
    "q",
    [
        *(tensor((3, 64), 1), tensor((3, 64), 1, axis=0), tensor((3, 64), 1, group_size=64)),
        *(tensor((3, 60), 1, group_size=32), tensor((), 1)),
    ],
    ids=str,
)
def test_other_groups_than_ggmls_are_refused(q):
    with refuses(ValueError, "encode_ggml", "q", str(q.shape), f"group_size={q.group_size}"):
        encode_ggml(q, "Q8_0")


@pytest.mark.parametrize(
    ("kind", "signed", "bad"),
    [
        *(("Q4_0", False, 9), ("Q4_0", False, 6), ("Q4_0", True, 1), ("Q4_0", True, -2)),
        *(("Q8_0", True, 1), ("Q8_0", True, -1), ("Q8_0", False, 127), ("Q8_0", False, 0)),
    ],
)
def test_zero_point_that_ggml_does_not_hold_is_refused(kind, signed, bad):
    q = tensor((3, 64), 1, bits=int(kind[1]), group_size=32, signed=signed, affine=True)
    q.zero_point[...] = (0 if signed else 2 ** (q.bits - 1)) - (kind == "Q4_0")
    q.zero_point[1, 1] = bad
    with refuses(ValueError, "encode_ggml", "zero_point", str(bad), "(1, 1)", kind):
        encode_ggml(q, kind)


@pytest.mark.parametrize("scale", [0.1, 65520.0, 1e30, 2.0**-25, 1.5 * 2.0**-24, 1e-45], ids=str)
def test_scale_that_float16_does_not_hold_is_refused(scale):
    q = QuantizedTensor(np.ones(64, np.int8), np.float32([1, scale]), group_size=32)
    with refuses(ValueError, "encode_ggml", "scale", "(1,)", "float16", "round_scale=True"):
        encode_ggml(q, "Q8_0")


def test_scale_beyond_float16_is_not_rounded():
    q = QuantizedTensor(np.ones(64, np.int8), np.float32([1, 65520]), group_size=32)
    with refuses(ValueError, "encode_ggml", "scale", "(1,)", "65520"):
        encode_ggml(q, "Q8_0", round_scale=True)


# ---------------------------------------------------------------------- high nibble first


@pytest.mark.parametrize("x", [np.ones(3, np.uint8), None, [1]], ids=repr)
def test_nibbles_of_what_has_none_are_refused(x):
    with refuses(TypeError, "encode_high_nibble_first", "x", type(x).__name__):
        encode_high_nibble_first(x)


def test_nibbles_of_eight_bits_are_refused():
    with refuses(ValueError, "encode_high_nibble_first", "x", "8", "4"):
        encode_high_nibble_first(Q8)


def test_nibbles_of_another_shape_are_refused():
    with refuses(ValueError, "decode_high_nibble_first", "packed", "(3, 2)", "(3, 5)"):
        decode_high_nibble_first(np.zeros((3, 2), np.uint8), (3, 5), signed=True)


def test_more_nibbles_than_the_shape_are_refused():
    with refuses(ValueError, "decode_high_nibble_first", "packed", "3"):
        decode_high_nibble_first(np.array([0x12, 0x34], np.uint8), (3,), signed=True)


def test_nibbles_of_another_dtype_are_refused():
    with refuses(TypeError, "decode_high_nibble_first", "packed", "int8", "uint8"):
        decode_high_nibble_first(np.zeros((3, 2), np.int8), (3, 4), signed=True)
