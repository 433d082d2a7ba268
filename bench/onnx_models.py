# SPDX-License-Identifier: Apache-2.0
"""Calls of one ONNX operator in onnxruntime, its weights constant, as in a model that is served."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np

OPSET, IR_VERSION = 21, 10  # what onnxruntime has known since version 1.20
SILENT = 3  # log errors only


def call(
    operator: str,
    inputs: dict[str, np.ndarray | None],
    variable: np.ndarray,
    out: np.ndarray,
    *,
    whole_call: bool = False,
    domain: str = "",
    **attributes: Any,
) -> Callable[[], np.ndarray]:
    """A call that returns the operator's result, written to `out` unless `whole_call`.

    inputs: the operator's, in its order, by any names; None stands for `variable`, which is given
    with every call. The others are constants, and are laid out once.
    """
    import onnxruntime

    name = next(name for name, value in inputs.items() if value is None)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    model = _model(operator, inputs, variable, out, domain, attributes)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    if whole_call:
        return lambda: session.run(None, {name: variable})[0]
    bound = session.io_binding()
    bound.bind_cpu_input(name, variable)
    bound.bind_output("result", "cpu", 0, out.dtype.type, out.shape, out.ctypes.data)

    def run() -> np.ndarray:
        session.run_with_iobinding(bound)
        return out

    return run


def _model(
    operator: str,
    inputs: dict[str, np.ndarray | None],
    variable: np.ndarray,
    out: np.ndarray,
    domain: str,
    attributes: dict[str, Any],
) -> bytes:
    from onnx import helper, numpy_helper

    def described(name: str, array: np.ndarray) -> Any:
        return helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )

    given = {name for name, value in inputs.items() if value is None}
    node = helper.make_node(operator, list(inputs), ["result"], domain=domain, **attributes)
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(value), name)
        for name, value in inputs.items()
        if value is not None
    ]
    graph = helper.make_graph(
        [node],
        operator,
        [described(name, variable) for name in given],
        [described("result", out)],
        constants,
    )
    imports = [helper.make_opsetid("", OPSET)]
    imports += [helper.make_opsetid(domain, 1)] if domain else []
    model = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
    return model.SerializeToString()


contrib = functools.partial(call, domain="com.microsoft")
"""`call`, of an operator that is onnxruntime's own."""
