# SPDX-License-Identifier: Apache-2.0
"""Single ONNX nodes in ONNX's own evaluator and in onnxruntime, and what ONNX's node tests hold."""

import numpy as np
import pytest


def run_node(engine, op_type, *inputs, outputs=1, **attributes):
    """Return the outputs of one node, or skip the test where the engine is not installed.

    engine: "onnx.reference" or "onnxruntime".
    """
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    module = pytest.importorskip(engine, reason=f"{engine} is not installed")
    feeds = {f"x{i}": np.asarray(x) for i, x in enumerate(inputs)}
    results = [f"y{i}" for i in range(outputs)]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node(op_type, list(feeds), results, **attributes)],
            op_type,
            [
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), x.shape
                )
                for name, x in feeds.items()
            ],
            [onnx.ValueInfoProto(name=name) for name in results],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 23)],
        ir_version=11,
    )
    if engine == "onnx.reference":
        return module.ReferenceEvaluator(model).run(None, feeds)
    return module.InferenceSession(model.SerializeToString()).run(None, feeds)


def evaluate(op_type, *inputs):
    """Return the output of a node that has one, from ONNX's evaluator."""
    (y,) = run_node("onnx.reference", op_type, *inputs)
    return y


def array_of(tensor):
    """Return what a node test holds, an array, a scalar or an ONNX tensor, as an array."""
    if isinstance(tensor, (np.ndarray, np.generic)):
        return np.asarray(tensor)
    from onnx.numpy_helper import to_array

    return to_array(tensor)
