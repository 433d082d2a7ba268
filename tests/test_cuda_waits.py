# SPDX-License-Identifier: Apache-2.0
"""Nothing waits for a GPU but a check of the data, and that once."""

from unittest import mock

import numpy as np
import pytest

import halfbyte
from backends import without
from halfbyte import QuantizedTensor
from halfbyte.cuda import runtime
from halfbyte_reference.inputs import floats
from halfbyte_reference.inputs_quantized import accumulators, codes

X = floats((6, 40), 1)
S = floats(6, 2) ** 2 + np.float32(0.1)
Z = np.zeros(6, np.int32)

pytestmark = pytest.mark.usefixtures("nvrtc")
counted = without("cuda", reason="only what stands in for CuPy can count")


def upload(host):
    return runtime.upload(host)  # on a GPU, or what stands in for one


@pytest.fixture
def waits(device):
    """Count how often the call under test waits, on the PTX machine."""
    with device.forced(), mock.patch.object(runtime, "download", wraps=runtime.download) as count:
        yield count


def q():
    return QuantizedTensor(upload(codes((6, 40), 1)), upload(S), upload(Z), axis=0)


def observers():
    return [
        halfbyte.MinMaxObserver(0),
        halfbyte.MovingAverageObserver(0),
        halfbyte.HistogramObserver(),
    ]


def observe(merge=False):
    for observer, other in zip(observers(), observers(), strict=True):
        for x in (X, X + 1):
            observer.update(upload(x))
            other.update(upload(x * np.float32(100)))
        if merge and hasattr(observer, "merge"):
            observer.merge(other)


def unscale(count):
    grads = [upload(floats(3 + i, 1)) for i in range(count)]
    halfbyte.unscale(grads, 4.0)
    halves = [upload(floats(3, 1).astype(np.float16)).T, grads[0]]
    halfbyte.unscale(halves, 4.0, out=[upload(floats(3, 2)), grads[0]])


def train(name, count=20, split=True):
    """Scale losses, unscale, clip and step, twice, once with an infinite gradient."""
    params = [
        upload(floats((3, i), 1).astype((np.float16, np.float32)[i % 2])) for i in range(count)
    ]
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer, scaler = getattr(halfbyte, name)(params, 0.1, **options), halfbyte.GradScaler()
    for value in (1, np.inf):
        scaler.scale([upload(np.full(3, 1, dtype)) for dtype in ("f2", "f4", "f8")])
        grads = [np.full((3, i), value, np.float16) for i in range(count)]
        optimizer.grads = [None, *map(upload, grads[1:])]
        if split:
            scaler.unscale_(optimizer)
            halfbyte.clip_grad_norm(optimizer.grads, 1.0)
        scaler.step(optimizer)
        scaler.update()
    scaler.update(2.0)
    optimizer.step()


CALLS = {
    "unscale": lambda: unscale(3),
    "unscale many": lambda: unscale(40),
    "SGD": lambda: train("SGD"),
    "SGD, fused": lambda: train("SGD", split=False),
    "Adam, fused": lambda: train("Adam", 2, split=False),
    "AdamW": lambda: train("AdamW"),
    "to_f16": lambda: halfbyte.to_f16(upload(X)),
    "to_f32": lambda: halfbyte.to_f32(upload(X.astype(np.float16).T)),
    "quantize with a scale": lambda: halfbyte.quantize(upload(X), axis=0, scale=upload(S)),
    "quantize with a number": lambda: halfbyte.quantize(upload(X), scale=0.5),
    "quantize affine": lambda: halfbyte.quantize(
        upload(X), axis=0, scale=upload(S), zero_point=upload(Z), symmetric=False
    ),
    "quantize unchecked": lambda: halfbyte.quantize(upload(X), axis=1, check_finite=False),
    "quantize by mse unchecked": lambda: halfbyte.quantize(
        upload(X), group_size=8, bits=4, method="mse", check_finite=False
    ),
    "quantize to out": lambda: halfbyte.quantize(
        upload(X), axis=0, symmetric=False, check_finite=False, out=q()
    ),
    "dequantize": lambda: halfbyte.dequantize(q(), dtype=np.float16),
    "requantize": lambda: halfbyte.requantize(
        upload(accumulators((6, 40), 1)), upload(S), zero_point=3, axis=0
    ),
    "fake_quantize": lambda: halfbyte.fake_quantize(upload(X), upload(S), upload(Z), axis=0),
    "fake_quantize_backward": lambda: halfbyte.fake_quantize_backward(
        upload(X), upload(X), upload(S), axis=0
    ),
    "observers": observe,
    "merged observers": lambda: observe(merge=True),
    "a tensor": q,
}


@counted
@pytest.mark.parametrize("name", CALLS)
def test_call_does_not_wait(name, waits):
    CALLS[name]()
    assert waits.call_count == 0


@counted
@pytest.mark.parametrize("method", ["absmax", "mse"])
@pytest.mark.parametrize("named", [{}, {"axis": 0}, {"axis": 1}, {"group_size": 8}], ids=str)
def test_check_of_the_data_waits_once(named, method, waits):
    halfbyte.quantize(upload(X), **named, method=method)
    assert waits.call_count == 1


@counted
@pytest.mark.parametrize("of", ["quantize", "linear"])
@pytest.mark.parametrize("on_gpu", [False, True], ids=["numbers", "arrays"])
def test_given_scale_and_zero_point_are_copied_once(on_gpu, of, device):
    with device.forced(), mock.patch.object(runtime, "launch", wraps=runtime.launch) as launch:
        scale, zero = 0.5, 3
        if on_gpu:
            scale, zero = upload(np.array(scale, np.float32)), upload(np.array(zero, np.int32))
        if of == "quantize":
            got = halfbyte.quantize(upload(X), symmetric=False, scale=scale, zero_point=zero)
        else:
            w = QuantizedTensor(upload(codes((5, 40), 1)), upload(S[:5]), axis=0)
            got = halfbyte.linear(upload(X), w, out_scale=scale, out_zero_point=zero)
    kernels = [call.args[0] for call in launch.call_args_list]
    assert kernels.count("copies") == 2 * on_gpu  # numbers are uploaded
    assert got.scale is not scale
    assert got.zero_point is not zero


def test_values_on_a_gpu_are_not_checked(device):
    bad = np.float32([0, -1, np.nan, np.inf, 1, 1])
    with device.forced():
        x, scale, zero = upload(X), upload(bad), upload(Z + 1000)
        halfbyte.quantize(x, axis=0, scale=scale, zero_point=zero, symmetric=False)
        halfbyte.fake_quantize(x, scale, zero, axis=0)
        QuantizedTensor(upload(codes((6, 40), 1)), scale, zero, axis=0)
