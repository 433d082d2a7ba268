# SPDX-License-Identifier: Apache-2.0
"""Who embeds sentences: halfbyte's schemes, NumPy or CuPy in FP32, torch and onnxruntime.

A network is where its arrays are, and so are the ids of its embedder and what that returns. Torch
and onnxruntime are given one in the CPU's memory; torch moves it to the GPU itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import halfbyte
import halfbyte_reference as reference
from bench.pipeline import bert_onnx, bert_torch
from bench.pipeline.bert import Apply, Bert, Weights, embed
from bench.pipeline.devices import Array, codes_of, downloaded, on_gpu, on_host
from halfbyte import PackedMatrix, QuantizedTensor

Embedder = Callable[[Array], Array]  # ids (b, t) -> embeddings (b, d)
OfWeights = Callable[[Array], Any]  # float32 (n, k) -> float16 array or QuantizedTensor


class Made(NamedTuple):
    embed: Embedder
    nbytes: int  # of the weights of linear layers, scales included
    reference: Embedder | None = None  # whose bits it has


class Contender(NamedTuple):
    library: str
    scheme: str
    make: Callable[[Bert], Made]


def contenders(*, quick: bool = False, library: str = "numpy") -> list[Contender]:
    """FP32 in NumPy or CuPy first, with which the others are compared."""
    sizes, some = ((32,), (32,)) if quick else ((32, 64, 128), (32, 128))
    others = _others(some) if library == "numpy" else [Contender("torch", "FP32", _torch_on_gpu)]
    return [
        Contender(library, "FP32", _plain),
        _ours("FP16", halfbyte.to_f16),
        _ours("W8A8, per channel", int8),
        *(_ours(f"W4A8, groups of {size}", in_groups(size)) for size in sizes),
        _ours("W4A8, per channel", int4),
        *(_ours(f"W4A16, groups of {size}", in_groups(size), 16) for size in some),
        *others,
    ]


def _others(sizes: Sequence[int]) -> list[Contender]:
    in_4_bits = (
        Contender("onnxruntime", f"W4A8, groups of {size}", _onnx_of(in_groups(size)))
        for size in sizes
    )
    return [
        Contender("torch", "FP32", _torch),
        Contender("torch", "INT8, dynamic", functools.partial(_torch, dynamic=True)),
        Contender("onnxruntime", "FP32", _onnx),
        Contender("onnxruntime", "INT8, dynamic", _onnx_of(int8)),
        *in_4_bits,
    ]


# ---- halfbyte ----------------------------------------------------------------------------------
def int8(w: Array) -> QuantizedTensor:
    return halfbyte.quantize(w, axis=0)


def int4(w: Array, group_size: int | None = None) -> QuantizedTensor:
    axis = 0 if group_size is None else None
    return halfbyte.quantize(w, bits=4, axis=axis, group_size=group_size, method="mse")


def in_groups(size: int) -> OfWeights:
    return functools.partial(int4, group_size=size)


@dataclass(frozen=True)
class Linear:
    """A linear layer of halfbyte."""

    w: Any  # float16 (n, k) or a QuantizedTensor
    packed: PackedMatrix
    bias: Array
    activation: str | None
    x_bits: int

    def __call__(self, x: Array) -> Array:
        given = {"activation": self.activation, "x_bits": self.x_bits}
        return halfbyte.linear(x, self.packed, self.bias, **given)

    @property
    def has_bits(self) -> bool:
        """Whether its bits are the reference's: tensor cores add halves in their own order."""
        of_integers = isinstance(self.w, QuantizedTensor) and self.x_bits == 8
        return of_integers or not on_gpu(self.bias)

    def in_numpy(self) -> Apply:
        """The reference's layer; its activation is halfbyte's, whose bits are a backend's own."""
        w, bias = self.w, on_host(self.bias)
        if isinstance(w, QuantizedTensor):
            w = downloaded(w)
            given = {"axis": w.axis, "group_size": w.group_size, "x_bits": self.x_bits}
            plain = functools.partial(
                reference.linear_int, codes=codes_of(w), scale=w.scale, bias=bias, **given
            )
        else:
            plain = functools.partial(reference.linear, w=w, bias=bias)
        return lambda x: activated(np.asarray(plain(on_host(x)), like=x), self.activation)


def linear(weights: Weights, of_weights: OfWeights, x_bits: int = 8) -> Linear:
    """A layer with weights as `of_weights` makes them, packed."""
    w = of_weights(weights.w)
    packed = halfbyte.prepack(w if isinstance(w, QuantizedTensor) else w.T)
    return Linear(w, packed, weights.bias, weights.activation, x_bits)


def _ours(scheme: str, of_weights: OfWeights, x_bits: int = 8) -> Contender:
    def make(model: Bert) -> Made:
        layers = model.mapped(lambda weights: linear(weights, of_weights, x_bits))
        nbytes = sum(layer.w.nbytes for layer in layers.linears)
        has_bits = all(layer.has_bits for layer in layers.linears)
        plain = _embedder(layers.mapped(Linear.in_numpy)) if has_bits else None
        return Made(_embedder(layers), nbytes, plain)

    return Contender("halfbyte", scheme, make)


def _embedder(layers: Bert) -> Embedder:
    return functools.partial(embed, layers)


# ---- NumPy, CuPy -------------------------------------------------------------------------------
def _plain(model: Bert) -> Made:
    return Made(_embedder(model.mapped(float32)), _nbytes(model))


def float32(weights: Weights) -> Apply:
    """A layer in NumPy or CuPy, but for its activation."""

    def apply(x: Array) -> Array:
        y = x @ weights.w.T
        y += weights.bias
        return activated(y, weights.activation)

    return apply


def activated(y: Array, activation: str | None) -> Array:
    """The activation of y (rows, n): the epilogue of a product with nothing to add up."""
    if activation is None:
        return y
    nothing = halfbyte.to_f16(y[:, :0]), halfbyte.to_f16(y[:0])
    return halfbyte.gemm_f16(*nothing, c=y, beta=1.0, activation=activation)


def _nbytes(model: Bert) -> int:
    return sum(weights.w.nbytes for weights in model.linears)


# ---- others ------------------------------------------------------------------------------------
def _torch(model: Bert, *, dynamic: bool = False) -> Made:
    # Its scales are doubles, beside zero points; counted here are those that halfbyte keeps.
    nbytes = sum(int8(weights.w).nbytes for weights in model.linears)
    return Made(bert_torch.embedder(model, dynamic=dynamic), nbytes if dynamic else _nbytes(model))


def _torch_on_gpu(model: Bert) -> Made:
    return Made(bert_torch.embedder(model, device="cuda"), _nbytes(model))


def _onnx(model: Bert) -> Made:
    return Made(bert_onnx.embedder(model), _nbytes(model))


def _onnx_of(of_weights: OfWeights) -> Callable[[Bert], Made]:
    return lambda model: _onnx(model.mapped(lambda layer: layer._replace(w=of_weights(layer.w))))
