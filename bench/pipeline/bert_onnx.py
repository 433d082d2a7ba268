# SPDX-License-Identifier: Apache-2.0
"""The network of `bert` in ONNX, for onnxruntime: FP32, or with its operators for quantized
weights, which get the codes and scales that halfbyte's layers get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.onnx_models import IR_VERSION, SILENT
from bench.pipeline.bert import EPSILON, Bert, Norm, Weights
from halfbyte import QuantizedTensor, formats

OPSET = 20  # the first with Gelu
CONTRIB = "com.microsoft"
IN_INT8 = 4  # MatMulNBits' accuracy level that multiplies in int8, x quantized a block at a time


class Graph:
    """Nodes and constants; names are made up."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """The name of the result, or several; an input that is no name is a constant."""
        from onnx import helper

        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        results = [f"{operator}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, names, results, **attributes))
        return results[0] if outputs == 1 else results

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))


def embedder(model: Bert) -> Callable[[np.ndarray], np.ndarray]:
    """ids (b, t) -> embeddings (b, d), on one thread. Weights are float32 arrays or
    QuantizedTensors: of 8 bits with a scale a row, or of 4 bits in groups."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        _model(model), options, providers=["CPUExecutionProvider"]
    )
    return lambda ids: session.run(None, {"ids": ids})[0]


def _model(model: Bert) -> bytes:
    from onnx import TensorProto, helper

    graph = Graph()
    node, number = graph.node, model.words.dtype.type

    def norm(h: str, norm: Norm) -> str:
        return node("LayerNormalization", h, *norm, epsilon=float(EPSILON))

    def linear(x: str, weights: Weights) -> str:
        y = node("Add", _product(graph, x, weights.w), weights.bias)
        return node("Gelu", y) if weights.activation else y

    def attention(query_key_value: str) -> str:
        shape = graph.integers(0, 0, 3, model.heads, -1)
        parts = node("Reshape", query_key_value, shape)
        split = node("Split", parts, outputs=3, axis=2, num_outputs=3)
        query, key, value = (node("Squeeze", part, graph.integers(2)) for part in split)
        query, value = (node("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
        width = model.words.shape[1] // model.heads
        scores = node("MatMul", query, node("Transpose", key, perm=[0, 2, 3, 1]))
        scores = node("Softmax", node("Mul", scores, number(width**-0.5)), axis=-1)
        mixed = node("Transpose", node("MatMul", scores, value), perm=[0, 2, 1, 3])
        return node("Reshape", mixed, graph.integers(0, 0, -1))

    length = node("Shape", "ids", start=1, end=2)
    positions = node("Slice", model.positions, graph.integers(0), length)
    h = norm(node("Add", node("Gather", model.words, "ids"), positions), model.norm)
    for block in model.blocks:
        mixed = linear(attention(linear(h, block.query_key_value)), block.project)
        h = norm(node("Add", h, mixed), block.norm_attention)
        h = norm(node("Add", h, linear(linear(h, block.expand), block.contract)), block.norm)
    mean = node("ReduceMean", h, graph.integers(1), keepdims=0)
    result = node("LpNormalization", mean, axis=-1, p=2)

    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["b", "t"])
    of_numbers = helper.np_dtype_to_tensor_dtype(model.words.dtype)
    embeddings = helper.make_tensor_value_info(result, of_numbers, ["b", "d"])
    made = helper.make_graph(graph.nodes, "bert", [ids], [embeddings], graph.constants)
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(made, opset_imports=imports, ir_version=IR_VERSION).SerializeToString()


def _product(graph: Graph, x: str, w: Any) -> str:
    """x @ w.T"""
    if not isinstance(w, QuantizedTensor):
        return graph.node("MatMul", x, w.T)
    if w.bits == 8:
        return graph.node("DynamicQuantizeMatMul", x, w.values.T, w.scale, domain=CONTRIB)
    nbits = formats.encode_matmul_nbits(w)
    sizes = {"K": nbits.k, "N": w.shape[0], "bits": nbits.bits, "block_size": nbits.block_size}
    inputs = x, nbits.b, nbits.scales
    return graph.node("MatMulNBits", *inputs, domain=CONTRIB, accuracy_level=IN_INT8, **sizes)
