# SPDX-License-Identifier: Apache-2.0
"""ONNX's operators as a second oracle: their node tests, their evaluator, onnxruntime."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_same_bits
from halfbyte import Int4Array, QuantizedTensor
from halfbyte_reference.inputs import floats
from halfbyte_reference.inputs_quantized import codes, near_ties, scales
from onnx_nodes import array_of, run_node
from quantized_cases import lengths
from strategies import seeds

# ONNX's integers: bits and whether they are signed.
INTEGERS = {
    "int8": (8, True),
    "uint8": (8, False),
    "int4": (4, True),
    "uint4": (4, False),
    "int2": (2, True),
    "uint2": (2, False),
}

NODE_TESTS = (
    *("test_quantizelinear", "test_quantizelinear_axis"),
    *("test_quantizelinear_int4", "test_quantizelinear_uint4"),
    *("test_quantizelinear_int2", "test_quantizelinear_uint2"),
    "test_quantizelinear_blocked_asymmetric",
    *("test_dequantizelinear", "test_dequantizelinear_axis"),
    *("test_dequantizelinear_int4", "test_dequantizelinear_uint4"),
    *("test_dequantizelinear_int2", "test_dequantizelinear_uint2"),
    "test_dequantizelinear_blocked",
    "test_dynamicquantizelinear",
    "test_dynamicquantizelinear_max_adjusted",
    "test_dynamicquantizelinear_min_adjusted",
    *(
        f"test_qlinearmatmul_{ndim}D_{integer}_{real}"
        for ndim in (2, 3)
        for integer in ("int8", "uint8")
        for real in ("float16", "float32")
    ),
)
NODE_TESTS_THAT_ARE_NOT_OURS = (
    # 16-bit integers
    *("test_quantizelinear_int16", "test_quantizelinear_uint16"),
    *("test_dequantizelinear_int16", "test_dequantizelinear_uint16"),
    "test_quantizelinear_blocked_symmetric",
    # 4-bit and 8-bit floats
    *("test_quantizelinear_float4e2m1", "test_dequantizelinear_float4e2m1"),
    *("test_quantizelinear_e4m3fn", "test_quantizelinear_e5m2"),
    *("test_dequantizelinear_e4m3fn", "test_dequantizelinear_e5m2"),
    *("test_dequantizelinear_e4m3fn_float16", "test_dequantizelinear_e4m3fn_zero_point"),
    # the same numbers once more, as a graph of several nodes
    "test_dynamicquantizelinear_expanded",
    "test_dynamicquantizelinear_max_adjusted_expanded",
    "test_dynamicquantizelinear_min_adjusted_expanded",
)


@pytest.fixture(scope="session")
def node_tests(onnx_node_tests):
    """ONNX's own tests of the operators in TRANSLATIONS, by name."""
    return {
        name: test
        for name, test in onnx_node_tests.items()
        if any(node.op_type in TRANSLATIONS for node in test.model.graph.node)
    }


# ---- ONNX's operators in halfbyte's calls ------------------------------------------------------
def plain(array):
    """Return integers of 2 and 4 bits as int8 or uint8, anything else as it is."""
    bits, signed = INTEGERS.get(array.dtype.name, (8, True))
    return array if bits == 8 else array.astype(np.int8 if signed else np.uint8)


def channels(x, scale, zero_point, axis, block_size):
    """Return them with the blocks along the last axis, and the keyword that says who shares."""
    zero_point = plain(zero_point).astype(np.int32).reshape(scale.shape)
    if block_size:
        parts = (np.moveaxis(part, axis, -1) for part in (x, scale, zero_point))
        return *parts, {"group_size": block_size}
    return x, scale, zero_point, {"axis": axis} if scale.ndim else {}


def quantize_linear(backend, x, scale, zero_point, *, axis=1, block_size=0):
    bits, signed = INTEGERS[zero_point.dtype.name]
    x, scale, zero_point, shared = channels(x, scale, zero_point, axis, block_size)
    q = backend.quantize(
        x, bits=bits, signed=signed, symmetric=False, scale=scale, zero_point=zero_point, **shared
    )
    got = Int4Array(q.values, q.shape, signed).unpack() if bits == 4 else q.values
    return (np.moveaxis(got, -1, axis) if block_size else got,)


def dequantize_linear(backend, x, scale, zero_point, *, axis=1, block_size=0, dtype=np.float32):
    bits, signed = INTEGERS[x.dtype.name]
    values, scale, zero_point, shared = channels(plain(x), scale, zero_point, axis, block_size)
    if bits == 4:
        values = Int4Array.pack(values, signed)
    q = QuantizedTensor(values, scale, zero_point, bits=bits, signed=signed, **shared)
    y = backend.dequantize(q, dtype=dtype)
    return (np.moveaxis(y, -1, axis) if block_size else y,)


def dynamic_quantize_linear(backend, x):
    q = backend.quantize(x, symmetric=False, signed=False)
    return q.values, q.scale, q.zero_point.astype(np.uint8)


def quantized_matmul(backend, a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero):
    """Return a product with exact sums, requantized."""
    acc = (a.astype(np.int32) - a_zero) @ (b.astype(np.int32) - b_zero)
    factors = (a_scale, b_scale, 1 / y_scale.astype(np.float64))
    scale = np.float32(math.prod(float(factor[0]) for factor in factors))
    return (backend.requantize(acc, scale, zero_point=int(y_zero[0]), dtype=y_zero.dtype),)


TRANSLATIONS = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "QLinearMatMul": quantized_matmul,
}


@pytest.mark.parametrize("name", NODE_TESTS)
def test_node_tests_of_onnx_pass(name, node_tests, onnx, backend):
    test = node_tests[name]
    (node,) = test.model.graph.node
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    ((inputs, outputs),) = test.data_sets
    got = TRANSLATIONS[node.op_type](backend, *map(array_of, inputs), **attributes)
    for result, want in zip(got, outputs, strict=True):
        assert_same_bits(result, plain(array_of(want)), name)


def test_every_node_test_of_onnx_is_run_or_known_not_to_be_ours(node_tests):
    assert sorted(node_tests) == sorted(NODE_TESTS + NODE_TESTS_THAT_ARE_NOT_OURS)


# ---- ONNX's evaluator and onnxruntime, on numbers around every tie ------------------------------
ENGINES = [
    *(("onnx.reference", integer) for integer in INTEGERS),
    *(("onnxruntime", integer) for integer in ("int8", "uint8")),  # others do not reach NumPy
]


@dataclass(frozen=True)
class NodeCase:
    """Numbers and scales of a (De)QuantizeLinear node."""

    shape: tuple
    axis: int
    how: str  # "tensor", "axis" or "block"
    block_size: int
    seed: int

    @property
    def attributes(self):
        blocked = {"block_size": self.block_size} if self.how == "block" else {}
        return {"axis": self.axis} | blocked

    @property
    def scale_shape(self):
        if self.how == "axis":
            return (self.shape[self.axis],)
        shape = list(self.shape)
        shape[self.axis] = -(-shape[self.axis] // self.block_size)
        return tuple(shape) if self.how == "block" else ()

    @property
    def scale(self):
        return scales(self.scale_shape, [self.seed, 0])

    def codes(self, shape, which, integer):
        return codes(shape, [self.seed, which], *INTEGERS[integer])

    def x(self, integer):
        """Numbers next to ties, never so many steps that ONNX's cast to int32 overflows."""
        own = self.scale
        if self.how == "axis":
            own = own.reshape([-1 if d == self.axis else 1 for d in range(len(self.shape))])
        elif self.how == "block":
            own = np.repeat(own, self.block_size, self.axis)
            own = own.take(range(self.shape[self.axis]), self.axis)
        own = np.broadcast_to(own, self.shape)
        far = own * np.float32(2**20)
        return np.clip(near_ties(own, [self.seed, 1], 2 ** INTEGERS[integer][0]), -far, far)


@st.composite
def node_cases(draw):
    shape = draw(st.lists(st.sampled_from((2, 3, 1, 5, 16, 33)), min_size=1, max_size=3))
    axis = draw(st.integers(0, len(shape) - 1))
    block_size = draw(st.sampled_from((1, 2, 3, 16, 32)))
    ways = ["tensor", "axis", "block"]
    if math.prod(shape) // shape[axis] * -(-shape[axis] // block_size) == 1:
        ways.remove("block")  # onnxruntime takes one scale for all for no block
    return NodeCase(
        shape=tuple(shape),
        axis=axis,
        how=draw(st.sampled_from(ways)),
        block_size=block_size,
        seed=draw(seeds),
    )


def onnx_integers(onnx, values, integer):
    """Return them as an array of ONNX's dtype of that name."""
    return values.astype(
        onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.DataType.Value(integer.upper()))
    )


@pytest.mark.parametrize(("engine", "integer"), ENGINES)
@given(case=node_cases())
def test_codes_are_those_of_quantizelinear(engine, integer, case, onnx, library):
    zero_point = onnx_integers(onnx, case.codes(case.scale_shape, 2, integer), integer)
    inputs = case.x(integer), case.scale, zero_point
    (want,) = run_node(engine, "QuantizeLinear", *inputs, **case.attributes)
    (got,) = quantize_linear(library, *inputs, **case.attributes)
    assert_same_bits(got, plain(want), library)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("engine", "integer"), ENGINES)
@given(case=node_cases())
def test_numbers_are_those_of_dequantizelinear(engine, integer, dtype, case, onnx, library):
    values, zero_point = (
        onnx_integers(onnx, case.codes(shape, which, integer), integer)
        for which, shape in enumerate((case.shape, case.scale_shape))
    )
    inputs = values, case.scale, zero_point
    kind = {"output_dtype": onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))}
    (want,) = run_node(engine, "DequantizeLinear", *inputs, **case.attributes, **kind)
    (got,) = dequantize_linear(library, *inputs, **case.attributes, dtype=dtype)
    assert_same_bits(got, want, library)


@pytest.mark.parametrize("engine", ["onnx.reference", "onnxruntime"])
@given(n=lengths.filter(bool), seed=seeds)
def test_scale_from_data_is_that_of_dynamicquantizelinear(engine, n, seed, onnx, library):
    x = floats((n,), seed)
    want = run_node(engine, "DynamicQuantizeLinear", x, outputs=3)
    for got, result in zip(dynamic_quantize_linear(library, x), want, strict=True):
        assert_same_bits(got, plain(result), library)
