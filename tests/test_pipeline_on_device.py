# SPDX-License-Identifier: Apache-2.0
"""The pipeline on a GPU: its very code, on arrays that refuse what CuPy's refuse.

NumPy computes what is not halfbyte's on both sides, so that all that is FP32 or an integer has the
bits of a run on the CPU. Tensor cores add halves in an order of their own: within a bound.
"""

import functools
from unittest import mock

import numpy as np
import pytest

import device_numbers
import halfbyte
from assertions import assert_same_bits, assert_within
from bench.pipeline import checks, cores, qat, schemes
from bench.pipeline.arithmetic import Half, Single, half
from bench.pipeline.data import Part, split
from bench.pipeline.devices import CPU, Device, downloaded, on_host
from bench.pipeline.layers import moved
from bench.pipeline.networks import MLP, NETWORKS, Convolution, Transformer
from bench.pipeline.quantized import quantized
from bench.pipeline.training import score, train
from halfbyte.cuda import runtime
from halfbyte_reference import bounds
from ptx_backend import PtxBackend

WIDTH = 8
IMAGES = 192  # three steps an epoch
GPU = Device("cupy", device_numbers.asarray)
INTEGERS = {
    MLP: (*schemes.W8A8, schemes.W4[4], schemes.W4[7], *schemes.FEW_BITS[::2]),
    Convolution: (*schemes.W8A8, schemes.W4[-1]),
    Transformer: (schemes.W8A8[1], schemes.W4[-1], schemes.FEW_BITS[0]),
}
HALVES = {
    MLP: (schemes.FP16, schemes.W4[0], schemes.W4[2]),
    Convolution: (schemes.FP16,),
    Transformer: (schemes.FP16, schemes.W4[2]),
}


@pytest.fixture(autouse=True)
def gpu(nvrtc):
    with device_numbers.made_by(PtxBackend(80)):
        yield


def cases(of):
    return [(kind, scheme) for kind, each in of.items() for scheme in each]


def drawn(kind, device):
    """A network whose biases are not zero."""
    network, generator = kind(np.random.default_rng(1), WIDTH), np.random.default_rng(2)
    for layer in network.layers:
        layer.b = generator.standard_normal(layer.b.shape).astype(np.float32)
    return moved(network, device)


def part(device, images=IMAGES):
    whole = split(0, device).train
    return Part(whole.x[:images], whole.y[:images])


def trained(kind, device, how=None, images=IMAGES, **named):
    network = moved(kind(np.random.default_rng(1), WIDTH), device)
    trace = train(network, how or Single(), part(device, images), seed=0, epochs=2, **named)
    return network, trace


def post_training(network, scheme, device):
    return quantized(network, scheme, part(device, 20).x)


def assert_same_parameters(got, want):
    for mine, theirs in zip(got.layers, want.layers, strict=True):
        assert_same_bits(on_host(mine.w), theirs.w)
        assert_same_bits(on_host(mine.b), theirs.b)


# ---- training ------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", NETWORKS)
def test_training_in_fp32_gives_the_weights_of_the_cpu(kind):
    assert_same_parameters(trained(kind, GPU)[0], trained(kind, CPU)[0])


class Watched(Half):
    """FP16, each product held against FP64."""

    products = 0

    def linear(self, layer, x):
        y = super().linear(layer, x)
        self._compare(y, cores.of_layer(x, layer.w, layer.b, layer.activation, np.float16))
        return y

    def product(self, a, b):
        c = super().product(a, b)
        self._compare(c, bounds.cast(*cores.of_product(on_host(half(a)), on_host(half(b)))))
        return c

    def _compare(self, got, bounded):
        assert_within(on_host(got), bounded)
        self.products += 1


@pytest.mark.parametrize("kind", NETWORKS)
def test_each_product_of_training_in_fp16_is_within_its_bound(kind):
    how, scalers = Watched(), [halfbyte.GradScaler(growth_interval=3) for _ in range(2)]
    network, trace = trained(kind, GPU, how, scaler=scalers[0])
    _, of_cpu = trained(kind, CPU, Half(), scaler=scalers[1])
    assert how.products >= 6 * 3 * len(network.layers)
    assert trace.scales == of_cpu.scales
    assert trace.skipped == of_cpu.skipped


def test_gradients_that_flush_to_zero_are_counted_on_the_gpu():
    dx = np.float32([0, -0.0, 2.0**-25, -(2.0**-26), 2.0**-24, 1])
    mine, theirs = Half(), Half()
    assert_same_bits(on_host(mine.gradient(GPU.asarray(dx))), theirs.gradient(dx))
    assert mine.flushed_share == theirs.flushed_share == 0.5


def again(device, kind, method, images=IMAGES):
    start = post_training(drawn(kind, device), schemes.FEW_BITS[0], device)
    return qat.trained_again(start, part(device, images), method=method, seed=1, epochs=1)


def in_halves(images):
    return trained(MLP, GPU, Half(), images, scaler=halfbyte.GradScaler())


TRAININGS = {
    "in FP16": in_halves,
    **{method: functools.partial(again, GPU, MLP, method) for method in qat.METHODS},
}


@pytest.mark.parametrize("training", TRAININGS)
def test_no_step_of_a_training_waits_for_the_gpu(training):
    def waits(images):
        before = device_numbers.waits
        with mock.patch.object(runtime, "download", wraps=runtime.download) as downloads:
            TRAININGS[training](images=images)
        return downloads.call_count + device_numbers.waits - before

    assert waits(64) == waits(IMAGES)


# ---- quantized networks --------------------------------------------------------------------------
@pytest.mark.parametrize(("kind", "scheme"), cases(INTEGERS))
def test_a_network_of_integers_has_the_bits_of_the_cpu(kind, scheme):
    mine, theirs = (post_training(drawn(kind, device), scheme, device) for device in (GPU, CPU))
    test, expected = (part(device, 20) for device in (GPU, CPU))
    assert_same_bits(on_host(mine(test.x)), theirs(expected.x))
    assert score(mine(test.x), test) == score(theirs(expected.x), expected)
    assert mine.nbytes == theirs.nbytes


@pytest.mark.parametrize(("kind", "scheme"), cases(INTEGERS))
def test_a_network_of_integers_has_the_bits_of_the_reference(kind, scheme):
    network = post_training(drawn(kind, GPU), scheme, GPU)
    same, of_bound = checks.check(network, part(GPU, 20).x)
    assert same
    assert of_bound < 1


@pytest.mark.parametrize(("kind", "scheme"), cases(HALVES))
def test_products_of_halves_are_within_their_bound(kind, scheme):
    network = post_training(drawn(kind, GPU), scheme, GPU)
    same, of_bound = checks.check(network, part(GPU, 20).x)
    assert same is None
    assert 0 < of_bound < 1


@pytest.mark.parametrize("scheme", [schemes.W8A8[1], schemes.W4[0]])
def test_other_weights_than_those_that_were_packed_are_found_out(scheme):
    network = post_training(drawn(MLP, GPU), scheme, GPU)
    last = network.network.layers[-1]
    network.weights[-1] = halfbyte.quantize(last.w * np.float32(1.5), bits=scheme.w_bits, axis=0)
    same, of_bound = checks.check(network, part(GPU, 20).x)
    assert same is False or (same is None and of_bound > 1)


# ---- trained again -------------------------------------------------------------------------------
@pytest.mark.parametrize("method", qat.METHODS)
@pytest.mark.parametrize("kind", [MLP, Transformer])
def test_training_again_gives_the_codes_and_scales_of_the_cpu(kind, method):
    mine, theirs = (again(device, kind, method) for device in (GPU, CPU))
    assert [*map(downloaded, mine.weights)] == theirs.weights
    for grid, expected in zip(mine.grids, theirs.grids, strict=True):
        assert_same_bits(on_host(grid.scale), expected.scale)
        assert_same_bits(on_host(grid.zero_point), expected.zero_point)


# ---- what the arrays refuse ----------------------------------------------------------------------
@pytest.mark.parametrize("on_gpu", ["network", "part"])
def test_training_takes_all_or_nothing_on_the_gpu(on_gpu):
    network = moved(MLP(np.random.default_rng(1), WIDTH), GPU if on_gpu == "network" else CPU)
    with pytest.raises(TypeError):
        train(network, Single(), part(GPU if on_gpu == "part" else CPU), seed=0, epochs=1)


X = np.ones((3, 3), np.float32)
REFUSED = {
    "an operand of NumPy": lambda x: x + X,
    "an operand of NumPy on the left": lambda x: X @ x,
    "NumPy's arrays beside it": lambda x: np.concatenate([x, X]),
    "NumPy's array as what is written": lambda x: x.__setitem__(0, X[0]),
    "NumPy's index": lambda x: x[np.array([0, 1])],
    "a copy to the CPU's memory": np.asarray,
    "another one": np.ascontiguousarray,
    "an argument that CuPy's function has not": lambda x: np.eye(3, like=x),
    "a function that CuPy has not": lambda x: np.matvec(x, x[0]),
    "a method of a ufunc": lambda x: np.add.at(x, 0, x[0]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cupy_refuses_is_refused(what):
    with pytest.raises(TypeError):
        REFUSED[what](GPU.asarray(X))
