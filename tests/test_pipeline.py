# SPDX-License-Identifier: Apache-2.0
"""What the pipeline tells holds: small networks on scikit-learn's digits, ten seeds each."""

import copy
import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import halfbyte
from assertions import assert_same_bits
from bench.pipeline import checks, peers, qat, schemes
from bench.pipeline.arithmetic import Half, Single
from bench.pipeline.data import split
from bench.pipeline.networks import MLP, NETWORKS, Convolution, Transformer
from bench.pipeline.quantized import quantized
from bench.pipeline.table import Row, difference
from bench.pipeline.training import GROWTH, accuracy, score, train

SEEDS = range(10)
HIDDEN = 32  # narrow enough to feel the loss of bits
W4A4 = schemes.FEW_BITS[0]
SMALL_LOSS = 2.0**-20


@pytest.fixture(autouse=True)
def blas_on_one_thread():
    with threadpool_limits(1):
        yield


def trained(seed, how, scaler=None, kind=MLP, epochs=25, **settings):
    network = kind(np.random.default_rng(seed), HIDDEN)
    train(network, how, split(seed).train, seed=seed, epochs=epochs, scaler=scaler, **settings)
    return network


def scaler():
    return halfbyte.GradScaler(growth_interval=GROWTH)


@cache
def in_fp32(seed):
    return trained(seed, Single(), rate=4e-3)


def row(name, scores):
    return Row("MLP", name, [*scores])


@cache
def fp32_row():
    return row("FP32", (accuracy(in_fp32(seed), Single(), split(seed).test) for seed in SEEDS))


def post_training(seed, scheme):
    return quantized(in_fp32(seed), scheme, split(seed).calibration.x)


@cache
def post_training_row(scheme):
    scores = (score(post_training(s, scheme)(split(s).test.x), split(s).test) for s in SEEDS)
    return row(scheme.name, scores)


def trained_again_row(method):
    scores = []
    for seed in SEEDS:
        parts = split(seed)
        settings = {"method": method, "seed": 100 + seed, "epochs": 8}
        network = qat.trained_again(post_training(seed, W4A4), parts.train, **settings)
        scores.append(score(network(parts.test.x), parts.test))
    return row(method, scores)


def is_beyond_its_interval(better, worse):
    middle, half = difference(better, worse)
    return middle > half


def test_parts_share_no_image():
    parts = split(0)
    ours = [{x.tobytes() for x in part.x} for part in (parts.train, parts.calibration, parts.test)]
    assert sum(map(len, ours)) == len(set().union(*ours)) == 1797


def test_scaled_fp16_is_within_half_a_point_of_fp32():
    def fp16(seed):
        how = Half()
        network = trained(seed, how, scaler(), rate=4e-3)
        return accuracy(network, how, split(seed).test)

    middle, half = difference(row("FP16", map(fp16, SEEDS)), fp32_row())
    assert -0.5 < middle < 0.5
    assert half < 1


def test_a_loss_scale_saves_what_small_losses_lose():
    settings = {"weight": SMALL_LOSS, "eps": 1e-15, "epochs": 8, "rate": 4e-3}
    ways = {"FP32": Single(), "scaled": Half(), "not scaled": Half()}
    reached = {}
    for name, how in ways.items():
        network = trained(0, how, scaler() if name == "scaled" else None, **settings)
        reached[name] = accuracy(network, how, split(0).test)
    assert abs(reached["scaled"] - reached["FP32"]) < 1
    assert reached["not scaled"] < reached["FP32"] - 10
    assert ways["not scaled"].flushed > 10 * ways["scaled"].flushed


@pytest.mark.parametrize("bits", [4, 3])
def test_a_scale_per_channel_loses_less_than_one_for_all(bits):
    per_channel = schemes.Scheme(f"W{bits}A8, per channel", w_bits=bits)
    per_tensor = replace(per_channel, name=f"W{bits}A8, per tensor", axis=None)
    gained, _ = difference(post_training_row(per_channel), post_training_row(per_tensor))
    assert gained > 0


def uneven(network, seed):
    """The same function, its hidden numbers up to twice as large or as small: relu does not mind
    powers of 2."""
    network, generator = copy.deepcopy(network), np.random.default_rng(seed)
    for layer, after in itertools.pairwise(network.layers):
        factors = np.exp2(generator.integers(-1, 2, layer.b.shape)).astype(np.float32)
        layer.w *= factors[:, None]
        layer.b *= factors
        after.w /= factors
    return network


@pytest.mark.parametrize("place", [0, 2], ids=["static", "dynamic"])
def test_at_eight_bits_a_scale_per_channel_is_nearer_to_fp32_where_rows_differ(place):
    """Accuracy does not tell: eight bits are enough for either. Distances of logits do."""

    def distances(scheme):
        for seed in SEEDS:
            network, parts = uneven(in_fp32(seed), seed), split(seed)
            x = parts.test.x
            off = quantized(network, scheme, parts.calibration.x)(x) - network.forward(x, Single())
            yield float(np.log2(np.square(off).mean()))

    per_tensor, per_channel = (row(s.name, distances(s)) for s in schemes.W8A8[place : place + 2])
    assert is_beyond_its_interval(per_tensor, per_channel)


def test_eight_bits_lose_less_than_half_a_point():
    for scheme in schemes.W8A8:
        middle, half = difference(post_training_row(scheme), fp32_row())
        assert middle - half < 0.5
        assert middle + half > -0.5


@pytest.mark.parametrize("method", qat.METHODS)
def test_training_again_at_w4a4_regains_more_than_the_interval(method):
    assert is_beyond_its_interval(trained_again_row(method), post_training_row(W4A4))


@pytest.mark.parametrize("kind", NETWORKS)
def test_one_thread_and_two_train_the_same_weights(kind):
    def weights(threads):
        before = halfbyte.get_num_threads()
        halfbyte.set_num_threads(threads)
        try:
            network = trained(0, Half(), scaler(), kind=kind, epochs=2)
        finally:
            halfbyte.set_num_threads(before)
        return [layer.w.view(np.uint16) for layer in network.layers]

    assert all(map(np.array_equal, weights(1), weights(2)))


QUANTIZED = {
    MLP: (schemes.FP16, *schemes.W8A8, *schemes.W4, *schemes.FEW_BITS),
    Convolution: schemes.CONVOLUTION_SCHEMES,
    Transformer: (schemes.W8A8[1], schemes.W4[-1], W4A4),
}


@pytest.mark.parametrize(
    ("kind", "scheme"), [(kind, scheme) for kind, each in QUANTIZED.items() for scheme in each]
)
def test_a_quantized_network_has_the_bits_of_the_reference(kind, scheme):
    network = kind(np.random.default_rng(1), HIDDEN)
    for layer in network.layers:
        layer.b[:] = np.random.default_rng(2).standard_normal(layer.b.shape)
    parts = split(1)
    same, of_bound = checks.check(
        quantized(network, scheme, parts.calibration.x), parts.test.x[:50]
    )
    assert same
    assert of_bound is None or of_bound < 1


TORCHS = {  # how many linear layers are INT8, and what is not
    MLP: (3, []),
    Convolution: (1, 2 * ["Conv1d"]),
    Transformer: (2 + 2 * 2, 2 * ["MultiheadAttention"]),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_dynamic_int8_of_torch_is_of_what_its_row_says(kind, torch, monkeypatch):
    made = []
    original = torch.ao.quantization.quantize_dynamic

    def kept(*arguments):
        made.append(original(*arguments))
        return made[0]

    monkeypatch.setattr(torch.ao.quantization, "quantize_dynamic", kept)
    network, x = kind(np.random.default_rng(1)), split(0).test.x
    logits = peers.torch_of(network, int8=True)(x)
    modules, (count, left) = [*made[0].modules()], TORCHS[kind]
    int8 = torch.ao.nn.quantized.dynamic.Linear
    names = [type(module).__name__ for module in modules]
    assert sum(isinstance(module, int8) for module in modules) == count
    assert [name for name in names if name in ("Conv1d", "MultiheadAttention")] == left
    expected = network.forward(x, Single())
    assert 0.99 < np.corrcoef(logits.ravel(), expected.ravel())[0, 1] < 1


@pytest.mark.parametrize("kind", NETWORKS)
def test_torch_on_a_gpu_is_given_the_same_network(kind, torch, monkeypatch):
    """A GPU that is the CPU after all."""
    network, x = kind(np.random.default_rng(1), HIDDEN), split(0).test.x
    expected = peers.torch_of(network)(x)
    monkeypatch.setattr(peers, "on_gpu", lambda _: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.nn.Module, "cuda", lambda module: module)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert_same_bits(peers.torch_of(network)(x).numpy(), expected)
    assert not torch.backends.cudnn.allow_tf32
    assert peers.torch_of(network, int8=True) is None


def test_windows_of_a_convolution_are_no_copies():
    from bench.pipeline.layers import windows

    q = halfbyte.quantize(np.ones((2, 8, 8), np.float32))
    assert np.shares_memory(windows(q).values, q.values)


@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_are_those_of_finite_differences(kind):
    """In FP64, where both are exact enough: central differences at a few weights."""
    generator = np.random.default_rng(3)
    network = kind(generator, 8)
    for layer in network.layers:
        layer.w, layer.b = layer.w.astype(np.float64), generator.standard_normal(layer.b.shape)
    x, dy = generator.uniform(0, 1, (4, 64)), generator.standard_normal((4, 10))
    how = Single()

    def loss():
        return float((network.forward(x, how) * dy).sum())

    loss()
    network.backward(dy, how)
    for layer in network.layers:
        for array, grad in zip((layer.w, layer.b), layer.grads, strict=True):
            place = tuple(generator.integers(0, n) for n in array.shape)
            kept, step = array[place], 1e-6
            array[place] = kept + step
            above = loss()
            array[place] = kept - step
            below = loss()
            array[place] = kept
            assert (above - below) / (2 * step) == pytest.approx(grad[place], rel=1e-5, abs=1e-6)


def test_scales_of_a_scheme_are_part_of_its_bytes():
    small = post_training(0, replace(schemes.W4_TENSOR, name="one scale")).nbytes
    large = post_training(0, schemes.W4[4]).nbytes
    outputs = sum(len(layer.b) for layer in in_fp32(0).layers)
    assert large - small == 4 * (outputs - len(in_fp32(0).layers))
