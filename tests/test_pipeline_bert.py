# SPDX-License-Identifier: Apache-2.0
"""The network that embeds sentences is BERT: ours, and torch's and onnxruntime's beside it.

All are computed in FP64, where a bound that is far above their errors is far below any difference
that is none of rounding. The network has random weights.
"""

import functools

import numpy as np
import pytest

import bert_error
from assertions import assert_within
from bench.pipeline import bert, bert_onnx, bert_torch, embedders
from bench.pipeline.devices import Device
from halfbyte_reference import bounds
from halfbyte_reference.activations import gelu64
from halfbyte_reference.bounds import Bounded
from small_bert import HEADS, IDS, D, random_tensors


def in_doubles(model):
    return bert.moved(model, Device(asarray=lambda x: x.astype(np.float64)))


def without_gelu(model):
    return model.mapped(lambda weights: weights._replace(activation=None))


def double(weights, gelu=gelu64):
    def apply(x):
        y = x @ weights.w.T + weights.bias
        return gelu(y) if weights.activation else y

    return apply


def assert_network(embeddings, model):
    """Claim that FP64 embeddings are those of a network."""
    want = bert_error.embed(model, IDS)
    assert embeddings.dtype == np.float64
    assert_within(embeddings, Bounded(want.value, want.error, np.zeros(1, bool)))


@pytest.fixture(scope="module")
def quiet():
    """A network that does not multiply errors so often: its bound is 4e-8 in FP64."""
    return bert.load(random_tensors(size=0.25), HEADS)


def tanh_gelu(x):
    return x * (0.5 + 0.5 * np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def test_bound_is_far_below_what_another_gelu_does(quiet):
    want = bert_error.embed(quiet, IDS)
    other = bert.embed(in_doubles(quiet).mapped(functools.partial(double, gelu=tanh_gelu)), IDS)
    assert np.abs(other - want.value).max() > 10 * want.error.max()


def test_bound_is_far_below_what_another_epsilon_does(quiet, monkeypatch):
    want = bert_error.embed(quiet, IDS)
    monkeypatch.setattr(bert, "EPSILON", 1e-5)
    other = bert.embed(in_doubles(quiet).mapped(double), IDS)
    assert np.abs(other - want.value).max() > 10 * want.error.max()


def test_embeddings_are_those_of_the_network(quiet):
    assert_network(bert.embed(in_doubles(quiet).mapped(double), IDS), quiet)


def test_a_layer_in_fp32_is_within_its_bound(quiet):
    weights = quiet.blocks[0].expand
    x = np.random.default_rng(1).standard_normal((9, D), np.float32)
    size, k = bounds.magnitude(x, weights.w.T), D + 1  # products round, too
    exact = x.astype(np.float64) @ weights.w.T.astype(np.float64)
    ends = {"bias": weights.bias, "activation": weights.activation}
    bounded = bounds.layer_epilogue(exact, bounds.gemm_cpu(size, k), **ends)
    assert_within(embedders.float32(weights)(x), bounded)


def test_embeddings_of_torch_are_those_of_the_network(quiet, torch):
    assert_network(bert_torch.embedder(in_doubles(quiet))(IDS), quiet)


def test_embeddings_of_onnxruntime_are_those_of_the_network(quiet, onnx, onnxruntime):
    """But for gelu, which it has not got in FP64."""
    plain = without_gelu(quiet)
    assert_network(bert_onnx.embedder(in_doubles(plain))(IDS), plain)


def test_network_of_onnx_has_a_gelu_of_erf_in_each_block(quiet, onnx):
    nodes = onnx.load_model_from_string(bert_onnx._model(quiet)).graph.node
    gelus = [node for node in nodes if node.op_type == "Gelu"]
    assert len(gelus) == len(quiet.blocks)
    assert not any(node.attribute for node in gelus)  # approximate: "none" unless it says so


def test_network_is_that_of_torchs_encoder(quiet, torch):
    own, ids = in_doubles(quiet), torch.from_numpy(IDS)
    h = torch.from_numpy(own.words)[ids] + torch.from_numpy(own.positions[: IDS.shape[1]])
    h = torch.nn.functional.layer_norm(h, (D,), *map(torch.from_numpy, own.norm), 1e-12)
    settings = {"dropout": 0, "activation": "gelu", "layer_norm_eps": 1e-12, "batch_first": True}
    for block in own.blocks:
        layer = torch.nn.TransformerEncoderLayer(D, HEADS, 4 * D, **settings, dtype=h.dtype).eval()
        state = {
            "self_attn.in_proj_weight": block.query_key_value.w,
            "self_attn.in_proj_bias": block.query_key_value.bias,
        }
        names = {"self_attn.out_proj": block.project, "linear1": block.expand}
        names |= {"linear2": block.contract, "norm1": block.norm_attention, "norm2": block.norm}
        for name, parts in names.items():
            state |= {f"{name}.weight": parts[0], f"{name}.bias": parts[1]}
        layer.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        with torch.no_grad():
            h = layer(h)
    assert_network(torch.nn.functional.normalize(h.mean(dim=1), dim=-1).numpy(), quiet)
