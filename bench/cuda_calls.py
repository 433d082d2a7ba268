# SPDX-License-Identifier: Apache-2.0
"""What is timed on a GPU: calls on random arrays, their peers, and whether results are right.

Each case is a function of a device (`asarray`, `empty`, `host`, `cupy` and `torch`, either of which
may be None) that returns `Calls`. Codes must be those that halfbyte computes on the CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import halfbyte

PRODUCTS = (
    *((n, n, n) for n in (512, 1024, 2048, 4096, 8192)),
    *((m, 11008, 4096) for m in (1, 8, 16, 128)),
)
LAYERS = tuple((m, 11008, 4096) for m in (1, 4, 16, 128, 2048))
SCHEMES = {
    "W8A8": ({"axis": 0}, 8),
    "W4A8": ({"bits": 4, "axis": 0}, 8),
    "W4A8 groups": ({"bits": 4, "group_size": 128}, 8),
    "W4A16 groups": ({"bits": 4, "group_size": 128}, 16),
}
ELEMENTS = 1 << 26  # of what is read once
ARRAYS = 64
SAMPLE = 4  # rows that are compared with the CPU's


class Calls(NamedTuple):
    """Contenders that compute the same on the same arrays, and write where they wrote before."""

    title: str
    work: float  # operations, or bytes
    unit: str  # "TFLOP/s", "TOP/s" or "GB/s"
    base: str  # the contender that others are compared with
    calls: dict[str, Callable[[], Any]]
    right: Callable[[], bool]


def cases(operation: str) -> Iterator[Callable[[Any], Calls]]:
    """Yield the cases of an operation of `bench`."""
    if operation == "gemm_f16":
        for shape in PRODUCTS:
            yield functools.partial(product_of_halves, shape)
    elif operation == "gemm_int":
        for shape in PRODUCTS:
            yield functools.partial(product_of_codes, shape)
    elif operation == "linear":
        for scheme in SCHEMES:
            for shape in LAYERS:
                yield functools.partial(layer, shape, scheme)
    elif operation == "casts":
        yield functools.partial(cast, ELEMENTS)
    elif operation == "quantization":
        yield functools.partial(quantization, (ELEMENTS >> 12, 1 << 12))
    else:
        yield functools.partial(unscaling, ELEMENTS, ARRAYS)
        for kind in (np.float32, np.float16):
            yield functools.partial(adam, ELEMENTS >> 2, ARRAYS, kind)


# ------------------------------------------------------------------------------------ products


def product_of_halves(shape: tuple[int, int, int], device: Any) -> Calls:
    """cupy.matmul gives float16, torch too; both accumulate in FP32, torch as it is told to."""
    m, n, k = shape
    a, b = (_halves(s, i) for i, s in enumerate(((m, k), (k, n))))
    x, y = device.asarray(a), device.asarray(b)
    half, single = device.empty((m, n), np.float16), device.empty((m, n), np.float32)
    calls = {
        "halfbyte f16": lambda: halfbyte.gemm_f16(x, y, out=half),
        "halfbyte f32": lambda: halfbyte.gemm_f16(x, y, out=single),
        **_products_of_halves(device, x, y),
    }

    def right() -> bool:
        some = _sample(m)
        want = a[some].astype(np.float64) @ b.astype(np.float64)
        error = np.linalg.norm(device.host(half)[some] - want)
        return bool(error <= 2.0 * 2.0**-11 * np.linalg.norm(want))

    return _of_product(f"{m} x {n} x {k}", shape, "TFLOP/s", 2, calls, right)


def product_of_codes(shape: tuple[int, int, int], device: Any) -> Calls:
    """torch._int_mm is cuBLASLt's; cupy.matmul of int8 wraps, and is left out."""
    m, n, k = shape
    a, b = (_codes(s, i) for i, s in enumerate(((m, k), (n, k))))
    x, y = device.asarray(a), device.asarray(b)
    out, packed = device.empty((m, n), np.int32), halfbyte.prepack(y.T)
    calls = {
        "halfbyte": lambda: halfbyte.gemm_int(x, y.T, out=out),
        "halfbyte packed": lambda: halfbyte.gemm_int(x, packed, out=out),
    }
    if device.torch and m > 16:  # what _int_mm takes
        s, t = map(device.torch.from_dlpack, (x, y))
        calls["torch"] = device.on_stream(lambda: device.torch._int_mm(s, t.T))

    def right() -> bool:
        some = _sample(m)
        return np.array_equal(device.host(out)[some], halfbyte.gemm_int(a[some], b.T))

    return _of_product(f"{m} x {n} x {k}", shape, "TOP/s", 1, calls, right)


def layer(shape: tuple[int, int, int], scheme: str, device: Any) -> Calls:
    """A quantized layer beside the FP16 product that it is in place of."""
    m, n, k = shape
    form, bits = SCHEMES[scheme]
    x, w = _halves((m, k), 1), _halves((n, k), 2)
    weights = halfbyte.quantize(w.astype(np.float32), **form)
    x_there, w_there = device.asarray(x), device.asarray(w)
    packed = halfbyte.prepack(halfbyte.quantize(device.asarray(w.astype(np.float32)), **form))
    out = device.empty((m, n), np.float32)
    calls = {
        "halfbyte": lambda: halfbyte.linear(x_there, packed, x_bits=bits, out=out),
        **_products_of_halves(device, x_there, w_there.T),
    }

    def right() -> bool:
        some = _sample(m)
        want = halfbyte.linear(x[some], weights, x_bits=bits)
        got = device.host(out)[some]
        if bits == 8:
            return np.array_equal(got, want)
        sums = np.abs(x[some]).astype(np.float32) @ np.abs(np.asarray(weights)).T
        return bool((np.abs(got - want) <= k * 2.0**-23 * sums).all())

    return _of_product(f"{scheme}, {m} x {n} x {k}", shape, "TOP/s", 0.5, calls, right)


def _of_product(
    title: str, shape: tuple[int, int, int], unit: str, width: float, calls: Any, right: Any
) -> Calls:
    """width: bytes of an element of b, which is what one row's time goes into."""
    m, n, k = shape
    base = next((name for name in ("cupy", "torch") if name in calls), next(iter(calls)))
    if m == 1:
        return Calls(title, width * n * k, "GB/s", base, calls, right)
    return Calls(title, 2.0 * m * n * k, unit, base, calls, right)


def _products_of_halves(device: Any, x: Any, y: Any) -> dict[str, Callable[[], Any]]:
    calls: dict[str, Callable[[], Any]] = {}
    shape = x.shape[0], y.shape[1]
    if device.cupy:
        theirs = device.empty(shape, np.float16)
        calls["cupy"] = lambda: device.cupy.matmul(x, y, out=theirs)
    if device.torch:
        torch = device.torch
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        a, b, out = map(torch.from_dlpack, (x, y, device.empty(shape, np.float16)))
        calls["torch"] = device.on_stream(lambda: torch.matmul(a, b, out=out))
    return calls


# ------------------------------------------------------------------------------ what is read once


def cast(size: int, device: Any) -> Calls:
    x = _floats((size,), 1)
    there, out = device.asarray(x), device.empty((size,), np.float16)
    calls = {"halfbyte": lambda: halfbyte.to_f16(there, out=out)}
    return _of_bytes(
        device, f"{size} float32 to float16", 6 * size, calls,
        lambda: np.array_equal(device.host(out), halfbyte.to_f16(x)),
    )  # fmt: skip


def quantization(shape: tuple[int, int], device: Any) -> Calls:
    x = _floats(shape, 1)
    there = device.asarray(x)
    out = halfbyte.quantize(device.asarray(x[::-1].copy()), axis=0)
    calls = {"halfbyte": lambda: halfbyte.quantize(there, axis=0, check_finite=False, out=out)}
    if device.torch:
        torch = device.torch
        scale, zeros = (torch.from_dlpack(device.asarray(v)) for v in _scales_and_zeros(x))
        t = torch.from_dlpack(there)
        calls["torch"] = device.on_stream(  # of scales that are given
            lambda: torch.quantize_per_channel(t, scale, zeros, 0, torch.qint8)
        )
    return _of_bytes(
        device, f"{shape[0]} x {shape[1]} to INT8 a row", 5 * x.size, calls,
        lambda: np.array_equal(device.host(out.values), halfbyte.quantize(x, axis=0).values),
    )  # fmt: skip


def unscaling(size: int, count: int, device: Any) -> Calls:
    grads = [_floats((size // count,), i) for i in range(count)]
    there = [device.asarray(g) for g in grads]
    outs = [device.empty(g.shape, np.float32) for g in grads]
    calls = {"halfbyte": lambda: halfbyte.unscale(there, 1024.0, out=outs)}
    if device.torch:
        torch = device.torch
        tensors = [torch.from_dlpack(device.asarray(g)) for g in grads]
        found, inverse = (torch.full((1,), v, device="cuda") for v in (0.0, 1.0))
        calls["torch"] = device.on_stream(  # in place
            lambda: torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, inverse)
        )

    def right() -> bool:
        return all(
            np.array_equal(device.host(y), g / np.float32(1024))
            for y, g in zip(outs, grads, strict=True)
        )

    return _of_bytes(device, f"unscale {count} arrays, {size}", 8 * size, calls, right)


def adam(size: int, count: int, kind: Any, device: Any) -> Calls:
    """Bytes: gradient, parameter, moments; and of halves the master."""
    params = [_floats((size // count,), i).astype(kind) for i in range(count)]
    grads = [_floats((size // count,), count + i).astype(kind) for i in range(count)]
    on_cpu, there = (
        halfbyte.AdamW([place(p) for p in params]) for place in (np.array, device.asarray)
    )
    there.grads = [device.asarray(g) for g in grads]
    on_cpu.grads = grads
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        there.step()

    calls: dict[str, Callable[[], Any]] = {"halfbyte": step}
    if device.torch and kind == np.float32:
        torch = device.torch
        tensors = [torch.from_dlpack(device.asarray(p)) for p in params]
        for tensor, grad in zip(tensors, grads, strict=True):
            tensor.grad = torch.from_dlpack(device.asarray(grad))
        calls["torch fused"] = device.on_stream(torch.optim.AdamW(tensors, fused=True).step)

    def right() -> bool:
        for _ in range(steps):
            on_cpu.step()
        return steps > 0 and all(
            np.array_equal(device.host(p), q)
            for p, q in zip(there.params, on_cpu.params, strict=True)
        )

    nbytes = (28 if kind == np.float32 else 2 + 2 + 24) * size
    title = f"AdamW of {count} {np.dtype(kind).name} arrays, {size}"
    return _of_bytes(device, title, nbytes, calls, right)


def _of_bytes(device: Any, title: str, nbytes: float, calls: Any, right: Any) -> Calls:
    """Add a copy on the device that moves as many bytes."""
    base = "halfbyte"
    if device.cupy:
        source, target = (device.empty((int(nbytes) // 2,), np.uint8) for _ in "ab")
        calls["copy"] = lambda: target.data.copy_from_device_async(source.data, source.nbytes)
        base = "copy"
    return Calls(title, nbytes, "GB/s", base, calls, right)


# ------------------------------------------------------------------------------------- operands


def _floats(shape: tuple[int, ...], seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def _halves(shape: tuple[int, ...], seed: int) -> Any:
    return _floats(shape, seed).astype(np.float16)


def _codes(shape: tuple[int, ...], seed: int) -> Any:
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


def _sample(rows: int) -> Any:
    return np.unique(np.linspace(0, rows - 1, SAMPLE).astype(int))


def _scales_and_zeros(x: Any) -> tuple[Any, Any]:
    scale = np.abs(x).max(1) / np.float32(127)
    return scale, np.zeros(len(scale), np.int32)
