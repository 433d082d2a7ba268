# SPDX-License-Identifier: Apache-2.0
"""Single ONNX nodes in ONNX's own evaluator."""

import numpy as np
import pytest


def evaluate(op_type, *inputs):
    """Return the output of a node that has one, or skip the test where ONNX is not installed."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    evaluator = pytest.importorskip("onnx.reference", reason="onnx is not installed")
    feeds = {f"x{i}": np.asarray(x) for i, x in enumerate(inputs)}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op_type, list(feeds), ["y"])],
        op_type,
        [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), x.shape
            )
            for name, x in feeds.items()
        ],
        [onnx.ValueInfoProto(name="y")],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10
    )
    (y,) = evaluator.ReferenceEvaluator(model).run(None, feeds)
    return y
