# SPDX-License-Identifier: Apache-2.0
"""What others offer for products of integers. Each takes b in the form it likes.

torch._int_mm       s8 s8 and, on the CPU, u8 s8; of a transposed b one row is three times as fast
onnxruntime         MatMulInteger with a constant b, which it packs once
numkong             i8 and i4, both operands alike, b packed once, one thread
numpy f32           float32 numbers, four times the memory; exact as long as sums stay below 2^24
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import integers, onnx_models
from bench.integers import Product
from bench.matrices import several
from bench.rows import Contender, Job
from halfbyte_reference import pack_nibbles


def contenders() -> dict[str, Contender]:
    return {
        "torch._int_mm": Contender("torch", functools.partial(_torch, "kn")),
        "torch._int_mm, b (n, k)": Contender("torch", functools.partial(_torch, "nk")),
        "onnxruntime": Contender("onnxruntime", _onnxruntime),
        "numkong prepacked": Contender("numkong", _numkong, threaded=False),
        "numpy f32": Contender("numpy", _numpy),
    }


def suited(product: Product) -> tuple[str, ...]:
    """The peers that have a product of these kinds."""
    if product.b == "s4":
        return "numkong prepacked", "numpy f32"
    torch = ("torch._int_mm", "torch._int_mm, b (n, k)")[: 2 if product.cold else 1]
    alike = ("numkong prepacked",) if product.a == product.b else ()
    return (*torch, "onnxruntime", *alike, "numpy f32")


def _job(product: Product, calls: list[Callable[[], Any]]) -> Job:
    return Job(calls, lambda: integers.check(product, calls[0](), exact=False))


def _numpy(params: dict[str, Any]) -> Job:
    product = Product(**params)
    a, b = (x.astype(np.float32) for x in integers.operands_of(product))
    out = None if product.whole_call else np.empty((product.m, product.n), np.float32)
    return _job(
        product,
        [functools.partial(np.matmul, a, x, out=out) for x in several(b, product.copies(4))],
    )


def _torch(layout: str, params: dict[str, Any]) -> Job:
    import torch

    product = Product(**params)
    a, b = (torch.from_numpy(x) for x in integers.operands_of(product))
    many = [torch.roll(b, i, 0) for i in range(product.copies(1))]
    if layout == "nk":
        many = [x.T.contiguous().T for x in many]
    calls: list[Callable[..., Any]] = [functools.partial(torch._int_mm, a, x) for x in many]
    if not product.whole_call:
        out = torch.empty((product.m, product.n), dtype=torch.int32)
        calls = [functools.partial(call, out=out) for call in calls]
    return _job(product, calls)


def _onnxruntime(params: dict[str, Any]) -> Job:
    product = Product(**params)
    a, b = integers.operands_of(product)
    out = np.empty((product.m, product.n), np.int32)
    calls = [
        onnx_models.call(
            "MatMulInteger", {"a": None, "b": x}, a, out, whole_call=product.whole_call
        )
        for x in several(b, product.copies(1))
    ]
    return _job(product, list(calls))


def _numkong(params: dict[str, Any]) -> Job:
    import numkong

    product = Product(**params)
    a, b = integers.operands_of(product)
    width = integers.bits(product.b)
    form = pack_nibbles if width == 4 else np.ascontiguousarray
    a = form(a)
    many = [
        numkong.dots_pack(form(x.T), dtype=f"int{width}")
        for x in several(b, product.copies(width / 8))
    ]
    calls: list[Callable[..., Any]] = [functools.partial(numkong.dots_packed, a, x) for x in many]
    if not product.whole_call:
        out = numkong.dots_packed(a, many[0])
        calls = [functools.partial(call, out=out) for call in calls]
    return _job(product, calls)
