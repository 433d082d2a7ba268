# SPDX-License-Identifier: Apache-2.0
"""What others offer for float16 products. Each takes the same operands, in the form it likes.

numpy and torch in float32 need twice the memory of float16 weights; "with cast" pays, in the
timing, for the conversion that float16 operands would need on every call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import matrices
from bench.matrices import Shape
from bench.rows import Contender, Job

SLOW_FLOPS = 2.0 * 256**3  # numpy multiplies halves in scalar code
SLOW_TORCH_FLOPS = 2.0 * 1024**3  # torch is not much faster


def contenders() -> dict[str, Contender]:
    return {
        "numpy f32": Contender("numpy", _numpy_f32),
        "numpy f32 with cast": Contender("numpy", _numpy_f32_with_cast),
        "numpy f16": Contender("numpy", _numpy_f16),
        "torch f32": Contender("torch", functools.partial(_torch, "float32")),
        "torch f16": Contender("torch", functools.partial(_torch, "float16")),
        "torch bf16": Contender("torch", functools.partial(_torch, "bfloat16")),
        "numkong f16 prepacked": Contender("numkong", _numkong, threaded=False),
    }


def suited(shape: Shape, slow_flops: float = SLOW_TORCH_FLOPS) -> tuple[str, ...]:
    """The peers that finish this shape in reasonable time."""
    names = [name for name in contenders() if name not in ("numpy f16", "torch f16")]
    if shape.flops <= slow_flops:
        names.append("torch f16")
    if shape.flops <= SLOW_FLOPS:
        names.append("numpy f16")
    return tuple(names)


def _numpy_f32(params: dict[str, Any]) -> Job:
    shape = Shape(**params)
    a, b = matrices.operands(shape)
    a32 = a.astype(np.float32, order="K")
    many = [x.astype(np.float32, order="K") for x in matrices.several(b, shape.copies(4))]
    return _numpy_job(shape, [functools.partial(np.matmul, a32, x) for x in many], np.float32)


def _numpy_f32_with_cast(params: dict[str, Any]) -> Job:
    shape = Shape(**params)
    a, b = matrices.operands(shape)

    def product(x: np.ndarray, y: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return np.matmul(x.astype(np.float32), y.astype(np.float32), out=out)

    many = matrices.several(b, shape.copies(2))
    return _numpy_job(shape, [functools.partial(product, a, x) for x in many], np.float32)


def _numpy_f16(params: dict[str, Any]) -> Job:
    shape = Shape(**params)
    a, b = matrices.operands(shape)
    many = matrices.several(b, shape.copies(2))
    return _numpy_job(shape, [functools.partial(np.matmul, a, x) for x in many], np.float16)


def _numpy_job(shape: Shape, calls: list[functools.partial[Any]], dtype: type) -> Job:
    if not shape.whole_call:
        out = np.empty((shape.m, shape.n), dtype)
        calls = [functools.partial(call, out=out) for call in calls]
    return Job(list(calls), lambda: matrices.check(shape, calls[0](), exact=False))


def _torch(dtype_name: str, params: dict[str, Any]) -> Job:
    import torch

    shape = Shape(**params)
    dtype = getattr(torch, dtype_name)
    a, b = (torch.from_numpy(x).to(dtype) for x in matrices.operands(shape))
    many = [b, *(torch.roll(b, i, 0) for i in range(1, shape.copies(dtype.itemsize)))]
    # Few rows are what torch.nn.Linear sees: its weights are (n, k).
    weights = [x.T.contiguous().T for x in many] if shape.cold else many
    calls: list[Callable[..., Any]] = [functools.partial(torch.mm, a, x) for x in weights]
    if not shape.whole_call:
        out = torch.empty((shape.m, shape.n), dtype=dtype)
        calls = [functools.partial(call, out=out) for call in calls]
    return Job(calls, lambda: matrices.check(shape, calls[0]().float().numpy(), exact=False))


def _numkong(params: dict[str, Any]) -> Job:
    import numkong

    shape = Shape(**params)
    a, b = matrices.operands(shape)
    a = np.ascontiguousarray(a)
    many = [
        numkong.dots_pack(np.ascontiguousarray(x.T), dtype="f16")
        for x in matrices.several(b, shape.copies(2))
    ]
    calls: list[Callable[..., Any]] = [functools.partial(numkong.dots_packed, a, x) for x in many]
    if not shape.whole_call:
        out = numkong.dots_packed(a, many[0])
        calls = [functools.partial(call, out=out) for call in calls]
    return Job(calls, lambda: matrices.check(shape, calls[0](), exact=False))
