# SPDX-License-Identifier: Apache-2.0
"""Arrays on a GPU that cannot be used are refused: from two places, or where no kernel is."""

import pickle
import sys
from unittest import mock

import numpy as np
import pytest

import device_arrays
import halfbyte
from assertions import refuses
from device_arrays import DeviceArray, upload
from fake_cupy import FakeCupy
from halfbyte import PackedMatrix, QuantizedTensor, formats
from halfbyte.cuda import runtime
from halfbyte_reference.inputs import floats
from halfbyte_reference.inputs_quantized import accumulators, codes
from ptx_backend import PtxBackend

X = floats((3, 5), 1)
HALVES = X.astype(np.float16)
CODES = codes((3, 5), 1)
SCALE = np.float32([0.5, 0.25, 2])
ZERO = np.int32([1, 0, -1])

# Function -> arguments that are good, arrays all of them.
GOOD = {
    "gemm_f16": {
        "a": HALVES, "b": HALVES.T, "c": np.zeros((3, 3), np.float32), "bias": SCALE,
        "out": np.zeros((3, 3), np.float32),
    },
    "linear": {"x": X, "w": HALVES, "bias": SCALE, "out": np.zeros((3, 3), np.float32)},
    "to_f16": {"x": X, "out": HALVES},
    "quantize": {"x": X, "scale": SCALE, "zero_point": ZERO},
    "requantize": {
        "acc": accumulators((3, 5), 1), "scale": SCALE, "zero_point": ZERO, "bias": SCALE,
        "out": CODES,
    },
    "fake_quantize": {"x": X, "scale": SCALE, "zero_point": ZERO, "out": X + 1},
    "fake_quantize_backward": {
        "dy": X + 2, "x": X, "scale": SCALE, "zero_point": ZERO, "out": X + 1,
    },
    "QuantizedTensor": {"values": CODES, "scale": SCALE, "zero_point": ZERO},
}  # fmt: skip
OPTIONS = {
    "gemm_f16": {"beta": 1.0},
    "linear": {},
    "to_f16": {},
    "quantize": {"axis": 0, "symmetric": False},
    "requantize": {"axis": 0},
}
ARGUMENTS = [(function, name) for function, named in GOOD.items() for name in named]

each_argument = pytest.mark.parametrize(("function", "argument"), ARGUMENTS)


@pytest.fixture(autouse=True)
def on_a_gpu(monkeypatch):
    """Let arrays of the PTX machine pass for CuPy's. Nothing is launched here."""
    monkeypatch.setattr(device_arrays, "from_dlpack", HostArray)
    with PtxBackend(80).forced():
        yield


_array = runtime.array


def array_of_cupy():
    """Let runtime.array look at arrays of CuPy, too, within a block."""

    def array(function, name, x):
        return x if type(x) is DeviceArray else _array(function, name, x)

    return mock.patch.object(runtime, "array", array)


class HostArray:
    """An array in the CPU's memory of a library that has arrays on GPUs, too."""

    def __init__(self, host) -> None:
        self.dtype = host.dtype
        self.host = host

    def __array_namespace__(self, api_version=None):
        return device_arrays

    def __dlpack_device__(self):
        return self.host.__dlpack_device__()

    def __dlpack__(self, **options):
        return self.host.__dlpack__(**options)


def call(function, made):
    """Call a function with its good arguments, made an array each by a function of its name."""
    named = {name: made(name)(x.copy()) for name, x in GOOD[function].items()}
    return getattr(halfbyte, function)(**named, **OPTIONS.get(function, {"axis": 0}))


@each_argument
def test_numpy_array_among_those_on_a_gpu_is_refused(function, argument):
    with refuses(TypeError, function, argument, "numpy.ndarray", "DeviceArray", "one library"):
        call(function, lambda name: np.copy if name == argument else upload)


@each_argument
def test_array_on_a_gpu_among_those_of_numpy_is_refused(function, argument):
    with refuses(TypeError, function, argument, "numpy.ndarray", "DeviceArray", "one library"):
        call(function, lambda name: upload if name == argument else np.copy)


@each_argument
def test_arrays_of_one_library_in_two_places_are_refused(function, argument):
    with refuses(TypeError, function, f"{argument} is in the CPU's memory", "is on a GPU"):
        call(function, lambda name: HostArray if name == argument else upload)


@pytest.mark.parametrize("place", [np.copy, HostArray])
def test_out_of_quantize_in_another_place_is_refused(place):
    out = QuantizedTensor(place(CODES.copy()), place(SCALE.copy()), axis=0)
    with refuses(TypeError, "quantize", "out"):
        halfbyte.quantize(upload(X), axis=0, out=out)


@pytest.mark.parametrize("place", [np.copy, HostArray])
def test_out_of_dequantize_in_another_place_is_refused(place):
    q = QuantizedTensor(upload(CODES), upload(SCALE), axis=0)
    with refuses(TypeError, "dequantize", "out"):
        halfbyte.dequantize(q, out=place(X.copy()))


@pytest.mark.parametrize("place", [np.copy, HostArray])
def test_observer_of_arrays_in_another_place_is_refused(place):
    observer, other = halfbyte.MinMaxObserver(), halfbyte.MinMaxObserver()
    observer.update(place(X))
    with refuses(TypeError, "MinMaxObserver.update", "x"):
        observer.update(upload(X))
    other._lo = upload(X[0, 0])  # as after an update
    other._library = observer._library
    with refuses(TypeError, "MinMaxObserver.merge", "other"):
        observer.merge(other)


@pytest.mark.parametrize("function", ["to_f16", "quantize"])
def test_array_on_another_gpu_than_the_current_one_is_refused(function, monkeypatch):
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    x = fake.ndarray(X, 1)
    with array_of_cupy(), refuses(ValueError, function, "x", "device 1", "current device is 0"):
        getattr(halfbyte, function)(x)


@pytest.mark.parametrize("method", ["update", "scale_zero_point", "merge"])
def test_observer_of_arrays_on_another_gpu_than_the_current_one_is_refused(method, monkeypatch):
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    observer, other = halfbyte.MinMaxObserver(), halfbyte.MinMaxObserver()
    observer._lo = observer._hi = fake.ndarray(np.zeros(1, np.float32), 1)  # as after an update
    observer._library = device_arrays.__name__
    arguments = {"update": [upload(X)], "scale_zero_point": [], "merge": [other]}[method]
    with (
        array_of_cupy(),
        refuses(ValueError, f"MinMaxObserver.{method}", "device 1", "current device is 0"),
    ):
        getattr(observer, method)(*arguments)


@pytest.mark.parametrize("use", ["gemm_f16", "linear", "pickle"])
def test_matrix_that_was_packed_on_another_gpu_is_refused(use, monkeypatch):
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    packed = PackedMatrix(fake.ndarray(np.zeros((3, 8), np.float16), 1), (5, 3), "float16")
    uses = {
        "gemm_f16": lambda: halfbyte.gemm_f16(upload(HALVES), packed),
        "linear": lambda: halfbyte.linear(upload(X), packed),
        "pickle": lambda: pickle.dumps(packed),
    }
    function = {"pickle": "PackedMatrix"}.get(use, use)
    with array_of_cupy(), refuses(ValueError, function, "device 1", "current device is 0"):
        uses[use]()


def test_tensor_on_another_gpu_can_be_looked_at():
    q = QuantizedTensor(upload(CODES), upload(SCALE), upload(ZERO), axis=0)
    with mock.patch.object(runtime, "array", side_effect=ValueError("on another GPU")):
        assert q.nbytes == 15 + 12 + 12
        assert "39 bytes" in repr(q)


NO_KERNEL = {
    "decode_ggml": lambda: formats.decode_ggml(upload(CODES), "Q8_0"),
    "decode_onnx": lambda: formats.decode_onnx(upload(CODES), upload(SCALE), data_type="INT8"),
    "decode_high_nibble_first": lambda: formats.decode_high_nibble_first(
        upload(CODES.view(np.uint8)), (3, 10), signed=True
    ),
}


@pytest.mark.parametrize("function", NO_KERNEL)
def test_function_without_a_kernel_says_that_the_array_is_on_a_device(function):
    with refuses(TypeError, function, "on a device", "CPU's memory"):
        NO_KERNEL[function]()


def test_matrix_that_was_packed_in_another_place_is_refused():
    with refuses(TypeError, "gemm_f16", "a is on a GPU", "b was packed in the CPU's memory"):
        halfbyte.gemm_f16(upload(HALVES), halfbyte.prepack(HALVES.T))
    with refuses(TypeError, "linear", "x is on a GPU", "w was packed in the CPU's memory"):
        halfbyte.linear(upload(X), halfbyte.prepack(HALVES.T))


def test_codes_on_a_gpu_do_not_become_a_numpy_array_unasked():
    q = QuantizedTensor(upload(CODES), upload(SCALE), axis=0)
    with refuses(TypeError, "QuantizedTensor", "values", "on a GPU"):
        np.asarray(q)
