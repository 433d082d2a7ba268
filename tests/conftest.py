# SPDX-License-Identifier: Apache-2.0
"""Hypothesis profiles, the backends, and the libraries that tests compare with.

The profile is HYPOTHESIS_PROFILE, else `ci` where CI is set, else `default`. No profile has a
deadline: how long an example takes says nothing about whether it is right.
"""

import os
import warnings
from contextlib import nullcontext

import pytest
from hypothesis import settings

import halfbyte
from backends import (
    all_backends,
    device_backends,
    devices_of,
    integer_backends,
    is_for,
    kind_of,
    missing_nvrtc,
)
from examples import examples_of

settings.register_profile("default", deadline=None, max_examples=200)
settings.register_profile("small", deadline=None, max_examples=20)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True, database=None)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
)


# How many examples a test has on an architecture of the PTX machine but the first; on the first in
# CI, which has minutes. By hand that one draws all.
FEW_EXAMPLES = 5
SOME_EXAMPLES = 20


# The fixtures that are backends.
BACKENDS = ("backend", "integer_backend", "library", "device")


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "without(*backends, reason): not for the backends of these kinds"
    )
    config.addinivalue_line("markers", "one_generation: on the PTX machine as one GPU alone")


def pytest_generate_tests(metafunc):
    on_cpu = {
        "backend": all_backends(),
        "integer_backend": integer_backends(),
        "library": [halfbyte],
        "device": [],
    }
    for name in on_cpu.keys() & set(metafunc.fixturenames):
        params = [*on_cpu[name], *devices_of(metafunc.definition, name == "device")]
        ids = ["cpu" if param is halfbyte else str(param) for param in params]
        metafunc.parametrize(name, params, indirect=True, ids=ids, scope="session")


def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if all(is_for(item, x) for x in _backends(item))]


def _backends(item):
    """Return the backend that a test runs on, if it has one."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return [params[name] for name in BACKENDS if name in params]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    """Let Hypothesis draw fewer examples on the PTX machine."""
    machines = [x for x in _backends(item) if kind_of(x) == "ptx"]
    most = None
    if any(x is not device_backends()[0] for x in machines):
        most = FEW_EXAMPLES
    elif machines and os.environ.get("CI"):
        most = SOME_EXAMPLES
    with examples_of(item.obj, most) if most else nullcontext():
        return (yield)


@pytest.fixture(scope="session")
def backend(request):
    """Each backend in turn, its kernels compiled."""
    return _ready(request.param)


@pytest.fixture(scope="session")
def library(request):
    """halfbyte itself, and each backend on a device, for tests that use the library's classes."""
    return _ready(request.param)


@pytest.fixture(scope="session")
def device(request):
    """Each backend on a device."""
    return _ready(request.param)


def _ready(backend):
    if kind_of(backend) != "cpu" and missing_nvrtc():
        pytest.skip(missing_nvrtc())
    backend.warm_up()
    return backend


@pytest.fixture(scope="session")
def integer_backend(request):
    """Each backend of integer products in turn, its kernels compiled."""
    return _ready(request.param)


@pytest.fixture(scope="session")
def nvrtc():
    """NVRTC, which compiles CUDA C and needs no GPU."""
    if missing_nvrtc():
        pytest.skip(missing_nvrtc())


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
