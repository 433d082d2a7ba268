# SPDX-License-Identifier: Apache-2.0
"""Hypothesis profiles, the backends, and the libraries that tests compare with.

The profile is HYPOTHESIS_PROFILE, else `ci` where CI is set, else `default`. No profile has a
deadline: how long an example takes says nothing about whether it is right.
"""

import os
import warnings

import pytest
from hypothesis import settings

from backends import all_backends, integer_backends

settings.register_profile("default", deadline=None, max_examples=200)
settings.register_profile("small", deadline=None, max_examples=20)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, database=None)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
)


@pytest.fixture(scope="session", params=all_backends(), ids=str)
def backend(request):
    """Each backend in turn, its kernels compiled."""
    request.param.warm_up()
    return request.param


@pytest.fixture(scope="session", params=integer_backends(), ids=str)
def integer_backend(request):
    """Each backend of integer products in turn, its kernels compiled."""
    request.param.warm_up()
    return request.param


@pytest.fixture(scope="session")
def torch():
    """PyTorch, as a second oracle and as a library with __dlpack__."""
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="session")
def onnx():
    """ONNX, whose operators ours are, with its reference evaluator."""
    pytest.importorskip("onnx.reference", reason="onnx is not installed")
    return pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture(scope="session")
def onnx_node_tests(onnx):
    """ONNX's own tests of its operators, by name."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some operators' tests overflow on purpose
        return {test.name: test for test in load_model_tests(kind="node")}


@pytest.fixture(scope="session")
def onnxruntime():
    """onnxruntime, which defines MatMulNBits."""
    return pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture(scope="session")
def gguf():
    """The formats of ggml, read, written and quantized in NumPy."""
    return pytest.importorskip("gguf", reason="gguf is not installed")


@pytest.fixture(scope="session")
def ml_dtypes():
    """Where NumPy's 4-bit integers come from."""
    return pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
