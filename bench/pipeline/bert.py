# SPDX-License-Identifier: Apache-2.0
"""BERT in NumPy or CuPy, its linear layers given as functions.

    ids (b, t) -> rows of tables, added up -> norm -> blocks -> mean over t, of length 1

A block, on h of shape (b t, d):

    h = norm(h + project(attention(*split(query_key_value(h)))))
    h = norm(h + contract(expand(h)))         expand has the gelu

The sentences of a batch have the same length: nothing is padded, and nothing masked. What is
not a linear layer is computed in FP32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from bench.pipeline.devices import Array, Device

Apply = Callable[[Array], Array]  # (rows, k) -> (rows, n)
EPSILON = np.float32(1e-12)  # of layer_norm: that of BERT

GELU = "gelu"


class Weights(NamedTuple):
    """A linear layer as it was trained."""

    w: Array  # float32 (n, k)
    bias: Array
    activation: str | None = None


class Norm(NamedTuple):
    weight: Array
    bias: Array


class Block(NamedTuple):
    query_key_value: Any  # Weights or Apply
    project: Any
    norm_attention: Norm
    expand: Any
    contract: Any
    norm: Norm

    def mapped(self, function: Callable[[Any], Any]) -> Block:
        """The block with something else for its four linear layers."""
        names = "query_key_value", "project", "expand", "contract"
        return self._replace(**{name: function(getattr(self, name)) for name in names})


class Bert(NamedTuple):
    words: Array  # (vocabulary, d)
    positions: Array  # (longest, d), the type of a first sentence added
    norm: Norm
    blocks: tuple[Block, ...]
    heads: int

    def mapped(self, function: Callable[[Any], Any]) -> Bert:
        """The network with something else for each of its linear layers."""
        return self._replace(blocks=tuple(block.mapped(function) for block in self.blocks))

    @property
    def linears(self) -> list[Any]:
        """All linear layers."""
        return [b[i] for b in self.blocks for i in (0, 1, 3, 4)]


def load(tensors: Mapping[str, np.ndarray], heads: int) -> Bert:
    """The network of a checkpoint, its linear layers as `Weights`; queries, keys and values of a
    block are one layer."""

    def norm(name: str) -> Norm:
        return Norm(tensors[f"{name}.LayerNorm.weight"], tensors[f"{name}.LayerNorm.bias"])

    def linear(name: str, *parts: str, activation: str | None = None) -> Weights:
        names = [name + part for part in parts or ("",)]
        w, bias = (
            np.concatenate([tensors[f"{name}.{kind}"] for name in names])
            for kind in ("weight", "bias")
        )
        return Weights(w, bias, activation)

    def block(i: int) -> Block:
        name = f"encoder.layer.{i}"
        return Block(
            linear(f"{name}.attention.self.", "query", "key", "value"),
            linear(f"{name}.attention.output.dense"),
            norm(f"{name}.attention.output"),
            linear(f"{name}.intermediate.dense", activation=GELU),
            linear(f"{name}.output.dense"),
            norm(f"{name}.output"),
        )

    count = 0
    while f"encoder.layer.{count}.output.dense.weight" in tensors:
        count += 1
    tables = (tensors[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position"))
    words, positions = tables
    positions = positions + tensors["embeddings.token_type_embeddings.weight"][0]
    return Bert(words, positions, norm("embeddings"), tuple(map(block, range(count))), heads)


def moved(part: Any, device: Device) -> Any:
    """A network, or a part of it, with its arrays on a device."""
    if isinstance(part, np.ndarray):
        return device.asarray(part)
    if isinstance(part, tuple):
        parts = (moved(each, device) for each in part)
        return type(part)(*parts) if hasattr(part, "_fields") else tuple(parts)
    return part


def embed(model: Bert, ids: Array) -> Array:
    """The embeddings (b, d) of sentences of t tokens, ids (b, t)."""
    b, t = ids.shape
    h = (model.words[ids] + model.positions[:t]).reshape(b * t, -1)
    h = layer_norm(h, model.norm)
    for block in model.blocks:
        mixed = attention(block.query_key_value(h), b, model.heads)
        h = layer_norm(h + block.project(mixed), block.norm_attention)
        h = layer_norm(h + block.contract(block.expand(h)), block.norm)
    mean = h.reshape(b, t, -1).mean(axis=1)
    return mean / np.sqrt(np.square(mean).sum(axis=-1, keepdims=True))


def attention(query_key_value: Array, b: int, heads: int) -> Array:
    """Mix values by softmax(queries @ keys.T / sqrt(their length)); (b t, 3 d) -> (b t, d)."""
    rows, width = query_key_value.shape
    parts = query_key_value.reshape(b, rows // b, 3, heads, width // (3 * heads))
    query, key, value = parts.transpose(2, 0, 3, 1, 4)  # each (b, heads, t, length)
    scores = query @ key.swapaxes(-1, -2)
    scores *= np.float32(1 / math.sqrt(query.shape[-1]))
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return (scores @ value).transpose(0, 2, 1, 3).reshape(rows, width // 3)


def layer_norm(h: Array, norm: Norm) -> Array:
    """Each row with mean 0 and variance 1, times a weight, plus a bias."""
    h = h - h.mean(axis=-1, keepdims=True)
    variance = np.einsum("ij,ij->i", h, h)[:, None] / np.float32(h.shape[1])
    h /= np.sqrt(variance + EPSILON)
    h *= norm.weight
    h += norm.bias
    return h
