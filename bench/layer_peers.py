# SPDX-License-Identifier: Apache-2.0
"""What others offer for layers with quantized weights. Each takes them in the form it likes.

torch dynamic           linear_dynamic, as torch.ao.nn.quantized.dynamic.Linear calls it: all of x
                        has one scale, and 7 bits, for on some CPUs 8 would saturate
torch static            onednn.qlinear_pointwise, codes in, numbers or codes out
torch bf16              _weight_int4pack_mm_for_cpu, _weight_int8pack_mm: x and scales in bfloat16
onnxruntime dynamic     DynamicQuantizeMatMul: all of x has one scale
onnxruntime static      MatMulIntegerToFloat, QLinearMatMul
onnxruntime level ...   MatMulNBits by its accuracy_level: 0 is unset, 1 multiplies in float32, 4
                        in int8, x quantized a block at a time. A block is a group, or all of k.
numpy f32               the dequantized weights
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import layers, onnx_models
from bench.layers import CODES, HALVES, OUT_ZERO_POINT, Layer
from bench.rows import Contender, Job
from halfbyte_reference import pack_nibbles

LEVELS = (0, 1, 4)


def contenders() -> dict[str, Contender]:
    levels = {
        f"onnxruntime level {level}": Contender("onnxruntime", functools.partial(_n_bits, level))
        for level in LEVELS
    }
    return {
        "torch dynamic": Contender("torch", _torch_dynamic),
        "torch static": Contender("torch", _torch_static),
        "torch bf16": Contender("torch", _torch_bf16),
        "onnxruntime dynamic": Contender("onnxruntime", _dynamic),
        "onnxruntime static": Contender("onnxruntime", _static),
        **levels,
        "numpy f32": Contender("numpy", _numpy),
    }


def suited(layer: Layer) -> tuple[str, ...]:
    """The peers that have a layer of this kind, or one that a user would take instead."""
    levels = tuple(f"onnxruntime level {level}" for level in LEVELS)
    if layer.x == CODES:
        names: tuple[str, ...] = ("torch static", "onnxruntime static")
    elif layer.x == HALVES:
        names = ("torch bf16", *levels[:2])
    elif layer.bits == 8:
        names = ("torch dynamic", "onnxruntime dynamic")
    else:
        names = (("torch bf16",) if layer.group_size else ()) + levels
    return (*names, "numpy f32")


def _job(layer: Layer, calls: list[Callable[[], Any]]) -> Job:
    return Job(calls, lambda: layers.check(layer, np.asarray(calls[0]()), exact=False))


def _numpy(params: dict[str, Any]) -> Job:
    layer = Layer(**params)
    given = layers.inputs_of(layer)
    x, w, out = given.numbers, given.weights(layer), np.empty((layer.m, layer.n), np.float32)
    many = [w, *(np.roll(w, i, axis=0) for i in range(1, layer.copies(4)))]
    calls = [functools.partial(np.matmul, x, w.T, out=out) for w in many]
    if layer.codes_out:
        calls = [functools.partial(_quantized, call, given.out_scale) for call in calls]
    return _job(layer, list(calls))


def _quantized(call: Callable[[], np.ndarray], scale: np.float32) -> np.ndarray:
    y = call()
    np.rint(np.divide(y, scale, out=y), out=y)
    y += OUT_ZERO_POINT
    return np.clip(y, 0, 255, out=y).astype(np.uint8)


# ---- torch -------------------------------------------------------------------------------------
def _torch_dynamic(params: dict[str, Any]) -> Job:
    import torch

    layer = Layer(**params)
    given = layers.inputs_of(layer)
    x, zero_point = torch.from_numpy(given.x), torch.zeros(layer.n, dtype=torch.int64)
    many = [
        torch.ops.quantized.linear_prepack(
            torch._make_per_channel_quantized_tensor(
                torch.from_numpy(codes), torch.from_numpy(scale).double(), zero_point, 0
            ),
            None,
        )
        for codes, scale in given.several(layer.copies(1))
    ]
    call = torch.ops.quantized.linear_dynamic
    return _job(layer, [functools.partial(call, x, w, True) for w in many])


def _torch_static(params: dict[str, Any]) -> Job:
    import torch

    layer = Layer(**params)
    given = layers.inputs_of(layer)
    x, zero_point = torch.from_numpy(given.x), torch.zeros(layer.n, dtype=torch.int64)
    codes = torch.ops.onednn.qlinear_prepack(torch.from_numpy(given.codes), [layer.m, layer.k])
    form = (1.0, 0, torch.float32)
    if layer.codes_out:
        form = (float(given.out_scale), OUT_ZERO_POINT, torch.uint8)
    call = functools.partial(
        torch.ops.onednn.qlinear_pointwise,
        *(x, float(given.x_scale), given.x_zero_point),
        *(codes, torch.from_numpy(given.scale), zero_point),
        *(None, *form, "none", [], ""),
    )
    return _job(layer, [call])


def _torch_bf16(params: dict[str, Any]) -> Job:
    import torch

    layer = Layer(**params)
    given = layers.inputs_of(layer)
    x = torch.from_numpy(given.numbers).bfloat16()
    codes = torch.from_numpy(given.codes)
    if layer.bits == 4:
        codes = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.int() + 8, 1)
    calls: list[Callable[[], Any]] = []
    for parts in given.several(layer.copies(layer.bits / 8), codes.numpy()):
        w, s = map(torch.from_numpy, parts)
        s = s.bfloat16()
        if layer.bits == 8:
            call = functools.partial(torch.ops.aten._weight_int8pack_mm, x, w, s)
        else:
            pairs = torch.stack([s.T, torch.zeros_like(s.T)], dim=-1).contiguous()
            arguments = x, w, layer.group_size, pairs
            call = functools.partial(torch.ops.aten._weight_int4pack_mm_for_cpu, *arguments)
        calls.append(call)
    return Job(calls, lambda: layers.check(layer, calls[0]().float().numpy(), exact=False))


# ---- onnxruntime -------------------------------------------------------------------------------
def _dynamic(params: dict[str, Any]) -> Job:
    layer = Layer(**params)
    given = layers.inputs_of(layer)
    out = np.empty((layer.m, layer.n), np.float32)
    calls = [
        onnx_models.contrib(
            "DynamicQuantizeMatMul", {"x": None, "codes": codes.T, "scale": scale}, given.x, out
        )
        for codes, scale in given.several(layer.copies(1))
    ]
    return _job(layer, list(calls))


def _static(params: dict[str, Any]) -> Job:
    layer = Layer(**params)
    given = layers.inputs_of(layer)
    x_scale, x_zero_point = np.float32(given.x_scale), np.uint8(given.x_zero_point)
    codes, scale = given.codes.T, given.scale
    if layer.codes_out:
        inputs = {"x": None, "x_scale": x_scale, "x_zero_point": x_zero_point}
        inputs |= {"codes": codes, "scale": scale, "zero_point": np.zeros(layer.n, np.int8)}
        inputs |= {"out_scale": given.out_scale, "out_zero_point": np.uint8(OUT_ZERO_POINT)}
        out = np.empty((layer.m, layer.n), np.uint8)
        return _job(layer, [onnx_models.call("QLinearMatMul", inputs, given.x, out)])
    inputs = {"x": None, "codes": codes, "x_scale": x_scale, "scale": scale}
    inputs["x_zero_point"] = x_zero_point
    out = np.empty((layer.m, layer.n), np.float32)
    return _job(layer, [onnx_models.contrib("MatMulIntegerToFloat", inputs, given.x, out)])


def _n_bits(level: int, params: dict[str, Any]) -> Job:
    layer = Layer(**params)
    given = layers.inputs_of(layer)
    x, out = given.numbers, np.empty((layer.m, layer.n), np.float32)
    block = layer.group_size or layer.k
    attributes = {"K": layer.k, "N": layer.n, "bits": layer.bits, "block_size": block}
    unsigned = (given.codes.astype(np.int16) + 2 ** (layer.bits - 1)).astype(np.uint8)
    blocks = pack_nibbles(unsigned) if layer.bits == 4 else unsigned
    blocks = blocks.reshape(layer.n, layer.k // block, block * layer.bits // 8)
    calls = []
    for codes, scale in given.several(layer.copies(layer.bits / 8), blocks):
        inputs = {"x": None, "codes": codes, "scale": scale.reshape(layer.n, -1)}
        calls.append(
            onnx_models.contrib("MatMulNBits", inputs, x, out, accuracy_level=level, **attributes)
        )
    return _job(layer, list(calls))
