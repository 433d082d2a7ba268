# SPDX-License-Identifier: Apache-2.0
"""The same networks in PyTorch, where it is installed: float32, and its dynamic INT8.

On a GPU torch and CuPy are on the same stream, the default one, so that neither waits.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

from bench.pipeline.data import CLASSES, SIDE
from bench.pipeline.devices import Array, on_gpu, on_host
from bench.pipeline.layers import TAPS
from bench.pipeline.networks import MLP, Convolution, Transformer

# What `quantize_dynamic` does of each: it knows linear layers, and leaves those of attention.
INT8 = {
    MLP: "torch, dynamic INT8",
    Convolution: "torch, dynamic INT8 of the head",
    Transformer: "torch, dynamic INT8 but for attention",
}


def torch_of(network: Any, *, int8: bool = False) -> Callable[[Array], Array] | None:
    """What torch makes of a trained network; None: not installed, or no INT8 there."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    there = on_gpu(network.layers[0].w)
    if there and (int8 or not torch.cuda.is_available()):  # its INT8 is for CPUs
        return None
    torch.set_num_threads(1)
    kinds = {MLP: _mlp, Convolution: _convolution, Transformer: _transformer}
    module = kinds[type(network)](torch, network).eval()
    if int8:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, and still what tutorials teach
            module = torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear})
        for part in module.modules():
            # The fused way through a block, of relu and gelu alone, reads weights that are gone.
            if isinstance(part, torch.nn.TransformerEncoderLayer):
                part.activation_relu_or_gelu = 0

    def on_cpu(x: Array) -> Array:
        with torch.inference_mode():
            return module(torch.from_numpy(x)).numpy()

    def on_cuda(x: Array) -> Any:
        with torch.inference_mode():
            return module(torch.from_dlpack(x))

    if there:
        torch.backends.cudnn.allow_tf32 = False  # FP32 is FP32, as CuPy's is
        module.cuda()
    return on_cuda if there else on_cpu


def _tensor(torch: Any, x: Array) -> Any:
    return torch.nn.Parameter(torch.from_numpy(on_host(x).copy()), requires_grad=False)


def _linear(torch: Any, layer: Any) -> Any:
    made = torch.nn.Linear(layer.w.shape[1], layer.w.shape[0])
    made.weight, made.bias = _tensor(torch, layer.w), _tensor(torch, layer.b)
    return made


def _mlp(torch: Any, network: MLP) -> Any:
    first, *others = (_linear(torch, layer) for layer in network.layers)
    rest = (module for layer in others for module in (torch.nn.ReLU(), layer))
    return torch.nn.Sequential(first, *rest)


def _convolution(torch: Any, network: Convolution) -> Any:
    """Channels come first there: (images, channels, rows)."""

    class Channels(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.reshape(-1, SIDE, SIDE).transpose(1, 2)

    modules = [Channels()]
    for layer in (network.first, network.second):
        n, taps = layer.w.shape
        made = torch.nn.Conv1d(taps // TAPS, n, TAPS)
        made.weight = _tensor(torch, layer.w.reshape(n, TAPS, -1).transpose(0, 2, 1))
        made.bias = _tensor(torch, layer.b)
        modules += [made, torch.nn.ReLU()]
    head = _linear(torch, network.head)
    w = network.head.w.reshape(CLASSES, SIDE - 4, -1).transpose(0, 2, 1)
    head.weight = _tensor(torch, w.reshape(CLASSES, -1))
    return torch.nn.Sequential(*modules, torch.nn.Flatten(), head)


def _transformer(torch: Any, network: Transformer) -> Any:
    width = network.head.w.shape[1]
    blocks = []
    for block in network.blocks:
        made = torch.nn.TransformerEncoderLayer(
            width, block.heads, 2 * width, 0.0, "relu", batch_first=True, norm_first=True
        )
        attention = made.self_attn
        attention.in_proj_weight = _tensor(torch, block.projections.w)
        attention.in_proj_bias = _tensor(torch, block.projections.b)
        attention.out_proj.weight = _tensor(torch, block.out.w)
        attention.out_proj.bias = _tensor(torch, block.out.b)
        made.linear1, made.linear2 = _linear(torch, block.wide), _linear(torch, block.narrow)
        blocks.append(made)

    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = (
                _linear(torch, layer) for layer in (network.embedding, network.head)
            )
            self.blocks = torch.nn.Sequential(*blocks)
            self.norm = torch.nn.LayerNorm(width, elementwise_affine=False)
            self.register_buffer("places", torch.eye(SIDE))

        def forward(self, x: Any) -> Any:
            rows = x.reshape(-1, SIDE, SIDE)
            tokens = torch.cat([rows, self.places.expand(len(rows), SIDE, SIDE)], -1)
            return self.head(self.norm(self.blocks(self.embedding(tokens))).mean(1))

    return Reader()
