# SPDX-License-Identifier: Apache-2.0
"""The libraries whose layouts these are read what we write and write what we read."""

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
from halfbyte_reference.inputs import floats
from halfbyte_reference.inputs_quantized import codes
from quantized_tensors import tensor, value
from strategies import seeds

kinds = pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
blocks = st.tuples(st.integers(1, 3), st.integers(1, 4))


# ----------------------------------------------------------------------------------- ggml


def of_gguf(gguf, kind, shape, seed, power):
    """Return rows that gguf quantized, one block of zeros among them."""
    x = np.ldexp(floats((shape[0], shape[1] * 32), seed), power)
    x[0, :32] = 0
    return gguf.quants.quantize(x, gguf.GGMLQuantizationType[kind])


# 2^-18: d is subnormal in float16.
powers = st.sampled_from((0, -18, 10))


@kinds
@given(shape=blocks, seed=seeds, power=powers)
def test_bytes_of_gguf_dequantize_to_its_values(kind, shape, seed, power, gguf):
    data = of_gguf(gguf, kind, shape, seed, power)
    want = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind])
    assert_same_bits(value(decode_ggml(data, kind)), want + np.float32(0))  # its -0 is our +0


@kinds
@given(shape=blocks, seed=seeds, power=powers)
def test_bytes_of_gguf_are_written_as_they_were_read(kind, shape, seed, power, gguf):
    data = of_gguf(gguf, kind, shape, seed, power)
    assert_same_bits(encode_ggml(decode_ggml(data, kind), kind), data)


@kinds
@given(seed=seeds)
def test_gguf_reads_our_bytes(kind, seed, gguf):
    q = tensor((3, 64), seed, bits=int(kind[1]), group_size=32)
    got = gguf.quants.dequantize(encode_ggml(q, kind), gguf.GGMLQuantizationType[kind])
    assert_same_bits(got, value(q))


# ----------------------------------------------------------------------------------- onnx


def dequantized_by_onnx(onnx, parts):
    """Run a DequantizeLinear node on constants made of `parts` in onnx's evaluator."""
    data_type = onnx.TensorProto.DataType.Value(parts.data_type)
    inputs = [
        onnx.helper.make_tensor("x", data_type, parts.shape, parts.values.tobytes(), raw=True),
        onnx.numpy_helper.from_array(parts.scale, "scale"),
    ]
    if parts.zero_point is not None:
        raw = parts.zero_point.tobytes()
        inputs.append(
            onnx.helper.make_tensor("zero_point", data_type, parts.scale.shape, raw, raw=True)
        )
    attributes = {} if parts.axis is None else {"axis": parts.axis}
    if parts.block_size:
        attributes["block_size"] = parts.block_size
    node = onnx.helper.make_node("DequantizeLinear", [x.name for x in inputs], ["y"], **attributes)
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, parts.shape)
    graph = onnx.helper.make_graph([node], "graph", [], [output], initializer=inputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 25)])
    return onnx.reference.ReferenceEvaluator(model).run(None, {})[0]


onnx_kinds = pytest.mark.parametrize(
    ("bits", "signed", "affine"),
    [(8, True, True), (8, False, True), (4, True, False), (4, True, True), (4, False, True)],
)


@onnx_kinds
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_onnx_dequantizes_our_tensors(bits, signed, affine, axis, onnx):
    q = tensor((3, 5, 7), 1, bits=bits, signed=signed, affine=affine, axis=axis)
    assert_same_bits(dequantized_by_onnx(onnx, encode_onnx(q)), value(q))


@onnx_kinds
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("k", [8, 7], ids=["whole", "short"])
def test_onnx_dequantizes_our_blocks_along_any_axis(bits, signed, affine, axis, k, onnx):
    q = tensor((3, 5, k), 1, bits=bits, signed=signed, affine=affine, group_size=4)
    got = dequantized_by_onnx(onnx, encode_onnx(q, axis=axis))
    assert_same_bits(np.moveaxis(got, axis, -1), value(q))


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_arrays_of_onnx_are_read(bits, signed, onnx):
    q = tensor((3, 5), 1, bits=bits, signed=signed, affine=True, axis=0)
    parts = encode_onnx(q)
    data_type = onnx.TensorProto.DataType.Value(parts.data_type)
    values, zero_point = (
        onnx.numpy_helper.to_array(onnx.helper.make_tensor("x", data_type, shape, raw, raw=True))
        for shape, raw in (
            (parts.shape, parts.values.tobytes()),
            (parts.scale.shape, parts.zero_point.tobytes()),
        )
    )
    got = decode_onnx(values, parts.scale, zero_point, data_type=parts.data_type, axis=0)
    assert got == q


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_number_that_onnx_gives_a_type_is_read_as_its_name(bits, signed, onnx):
    parts = encode_onnx(tensor((3, 5), 1, bits=bits, signed=signed, affine=True, axis=0))
    number = onnx.TensorProto.DataType.Value(parts.data_type)
    assert decode_onnx(**parts._replace(data_type=number)._asdict()) == decode_onnx(
        **parts._asdict()
    )


# ---------------------------------------------------------------------------- onnxruntime


def multiplied_by_onnxruntime(onnx, onnxruntime, x, parts):
    """Run a MatMulNBits node on x and constants made of `parts`, computing in float32."""
    weights = {"b": parts.b, "scales": parts.scales}
    if parts.zero_points is not None:
        weights["zero_points"] = parts.zero_points
    node = onnx.helper.make_node(
        "MatMulNBits", ["x", *weights], ["y"], domain="com.microsoft", K=parts.k,
        N=parts.b.shape[0], bits=parts.bits, block_size=parts.block_size, accuracy_level=1,
    )  # fmt: skip
    single = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "graph",
        [onnx.helper.make_tensor_value_info("x", single, x.shape)],
        [onnx.helper.make_tensor_value_info("y", single, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    domains = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=domains, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("affine", [False, True], ids=["symmetric", "affine"])
@pytest.mark.parametrize("block_size", [16, 32, 128])
def test_onnxruntime_multiplies_by_our_weights(bits, affine, block_size, onnx, onnxruntime):
    # Small integers times powers of two: exact in float32 in any order, so any other layout shows.
    q = tensor((5, 100), 1, bits=bits, signed=not affine, group_size=block_size)
    q.scale[...] = np.exp2(np.random.default_rng(1).integers(-3, 4, q.scale.shape))
    x = np.random.default_rng(2).integers(-3, 4, (3, 100)).astype(np.float32)
    got = multiplied_by_onnxruntime(onnx, onnxruntime, x, encode_matmul_nbits(q))
    assert_same_bits(got, np.float32(x.astype(np.float64) @ value(q).T.astype(np.float64)))


@pytest.mark.usefixtures("onnxruntime")
def test_weights_of_onnxruntimes_quantizer_are_read_with_their_negative_scales():
    quantize = pytest.importorskip(
        "onnxruntime.capi._pybind_state", reason="onnxruntime's quantizers cannot be imported"
    ).quantize_matmul_4bits
    k, n = 64, 6
    w = np.random.default_rng(1).integers(-7, 8, (k, n)).astype(np.float32)
    w[0], w[32] = 8, -8  # the scale is -1 where the largest magnitude is positive, else 1
    b, scale = np.zeros((n, k // 32, 16), np.uint8), np.zeros((n, k // 32), np.float32)
    quantize(b, w, scale, np.zeros(0, np.uint8), 32, n, k, True)
    assert (scale < 0).any()
    got = decode_matmul_nbits(b, scale, k=k, bits=4, block_size=32)
    assert_same_bits(value(got), w.T + np.float32(0))


# ------------------------------------------------------------------------------ ml_dtypes


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_onnx_packs_ml_dtypes_integers_to_the_bytes_of_an_int4_array(signed, onnx, ml_dtypes):
    x = codes((4, 6), 1, 4, signed).astype(ml_dtypes.int4 if signed else ml_dtypes.uint4)
    raw = onnx.numpy_helper.from_array(x, "x").raw_data
    assert raw == Int4Array.pack(x, signed).packed.tobytes()


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_ml_dtypes_values_are_those_of_a_quantized_tensor(signed, ml_dtypes):
    x = codes((3, 5), 1, 4, signed).astype(ml_dtypes.int4 if signed else ml_dtypes.uint4)
    q = QuantizedTensor(x, 1.0, 0, bits=4, signed=signed)
    assert_same_bits(value(q), x.astype(np.float32))
