# SPDX-License-Identifier: Apache-2.0
"""Embeddings of the pipeline on a GPU: a small network, arrays that refuse what CuPy's refuse."""

import io

import numpy as np
import pytest

import device_numbers
from assertions import assert_same_bits, assert_within
from bench.pipeline import bert, cores, embedders, embeddings, minilm
from bench.pipeline.devices import Device, on_host
from bench.pipeline.progress import Progress
from ptx_backend import PtxBackend
from small_bert import HEADS, IDS, random_tensors

GPU = Device("cupy", device_numbers.asarray)
CONTENDERS = {
    contender.scheme: contender
    for contender in embedders.contenders(library="cupy")
    if contender.library != "torch"
}
HALVES = [name for name in CONTENDERS if name == "FP16" or "A16" in name]
INTEGERS = [name for name in CONTENDERS if name.startswith("W") and "A16" not in name]


@pytest.fixture(autouse=True)
def gpu(nvrtc):
    with device_numbers.made_by(PtxBackend(80)):
        yield


@pytest.fixture(scope="module")
def model():
    return bert.load(random_tensors(), HEADS)


def on_gpu(model):
    return bert.moved(model, GPU), GPU.asarray(IDS[:2])


def on_cpu(scheme):
    own = embedders.contenders()
    return next(x for x in own if x.scheme == scheme and x.library in ("numpy", "halfbyte"))


@pytest.mark.parametrize("scheme", ["FP32", *INTEGERS])
def test_embeddings_without_gelu_have_the_bits_of_the_cpu(scheme, model):
    """Gelu's own are each backend's own."""
    plain = model.mapped(lambda weights: weights._replace(activation=None))
    there, ids = on_gpu(plain)
    want = on_cpu(scheme).make(plain).embed(IDS[:2])
    assert_same_bits(on_host(CONTENDERS[scheme].make(there).embed(ids)), want)


@pytest.mark.parametrize("scheme", INTEGERS)
def test_embeddings_have_the_bits_of_the_reference(scheme, model):
    there, ids = on_gpu(model)
    made = CONTENDERS[scheme].make(there)
    assert_same_bits(on_host(made.embed(ids)), on_host(made.reference(ids)))


@pytest.mark.parametrize("scheme", HALVES)
def test_layers_of_halves_claim_no_bits_and_are_within_their_bound(scheme, model):
    there, ids = on_gpu(model)
    made = CONTENDERS[scheme].make(there)
    assert made.reference is None

    def watched(layer):
        def apply(x):
            y = layer(x)
            bounded = cores.of_layer(x, layer.w, layer.bias, layer.activation)
            assert_within(on_host(y), bounded)
            return y

        return apply

    (layers,) = made.embed.args
    want = on_host(bert.embed(layers.mapped(watched), ids))
    assert_same_bits(on_host(made.embed(ids)), want)


def test_run_fills_rows_from_the_gpu(model, monkeypatch):
    wanted = ("FP32", "W8A8, per channel")
    some = [x for x in embedders.contenders(library="cupy") if x.scheme in wanted]
    monkeypatch.setattr(embeddings, "contenders", lambda **_: some)
    monkeypatch.setattr(embeddings, "SECONDS", 0.0)
    monkeypatch.setattr(embeddings, "BATCHES", (1, 2))
    monkeypatch.setattr(embeddings, "QUICK", (2, 5))
    monkeypatch.setattr(minilm, "missing", list)
    monkeypatch.setattr(minilm, "network", lambda: model)
    monkeypatch.setattr(minilm, "tokens", lambda texts: [np.array([len(t) % 99, 7]) for t in texts])
    progress = Progress({"embeddings": 1.0}, io.StringIO())
    baseline, ours, torch = embeddings.run(True, progress, device=GPU)
    assert (baseline.library, ours.library, torch.library) == ("cupy", "halfbyte", "torch")
    assert ours.same_bits
    assert ours.cosine > 0.999
    assert ours.milliseconds.keys() == baseline.milliseconds.keys() == {1, 2}
    assert torch.note in ("not installed", "no CUDA")
