# SPDX-License-Identifier: Apache-2.0
"""The network of `bert` in PyTorch: FP32, or as torch quantizes it without being shown any data."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.pipeline.bert import EPSILON, GELU, Bert, Norm, Weights


def embedder(model: Bert, *, dynamic: bool = False, device: str = "cpu") -> Callable[[Any], Any]:
    """ids (b, t) -> embeddings (b, d), arrays of NumPy or, on a GPU, of CuPy; weights are NumPy's.
    `dynamic`: linear layers in INT8, x with one scale for all of it."""
    import torch
    from torch.nn import functional

    layers = model.mapped(_linear)
    if dynamic:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.ao.quantization is deprecated
            layers = layers.mapped(_dynamic)
    layers = layers.mapped(lambda linear: linear.to(device))

    def moved(x: np.ndarray) -> Any:
        return torch.from_numpy(x).to(device)

    words, positions = moved(model.words), moved(model.positions)
    norms = {id(norm): [*map(moved, norm)] for norm in _norms(model)}

    def norm(h: Any, norm: Norm) -> Any:
        return functional.layer_norm(h, h.shape[-1:], *norms[id(norm)], float(EPSILON))

    def attention(query_key_value: Any) -> Any:
        b, t, width = query_key_value.shape
        parts = query_key_value.view(b, t, 3, model.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*parts)
        return mixed.transpose(1, 2).reshape(b, t, width // 3)

    def embed(ids: Any) -> Any:
        with torch.inference_mode():
            h = functional.embedding(torch.from_dlpack(ids), words) + positions[: ids.shape[1]]
            h = norm(h, model.norm)
            for block in layers.blocks:
                mixed = attention(block.query_key_value(h))
                h = norm(h + block.project(mixed), block.norm_attention)
                h = norm(h + block.contract(functional.gelu(block.expand(h))), block.norm)
            found = functional.normalize(h.mean(dim=1), dim=-1)
            return found.numpy() if device == "cpu" else _cupy(found)

    return embed


def _norms(model: Bert) -> list[Norm]:
    of_blocks = ((block.norm_attention, block.norm) for block in model.blocks)
    return [model.norm, *itertools.chain(*of_blocks)]


def _cupy(x: Any) -> Any:
    import cupy

    return cupy.from_dlpack(x)


def _linear(weights: Weights) -> Any:
    import torch

    assert weights.activation in (None, GELU)  # applied by `embed`
    n, k = weights.w.shape
    w, bias = torch.from_numpy(weights.w), torch.from_numpy(weights.bias)
    linear = torch.nn.Linear(k, n, dtype=w.dtype)
    with torch.no_grad():
        linear.weight.copy_(w)
        linear.bias.copy_(bias)
    return linear


def _dynamic(linear: Any) -> Any:
    import torch

    alone = torch.nn.Sequential(linear)
    quantization = torch.ao.quantization
    scheme = {torch.nn.Linear: quantization.per_channel_dynamic_qconfig}
    return quantization.quantize_dynamic(alone, scheme)[0]
