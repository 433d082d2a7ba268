# SPDX-License-Identifier: Apache-2.0
"""python -m bench gemm_f16 --backend cuda: FP16 products on a GPU, beside cuBLAS.

Contenders take turns in rounds, so that a clock which falls is everybody's. Every call is timed by
CUDA events, on random data, after as much was written as no L2 holds. cupy.matmul gives float16,
torch too; both accumulate in FP32, torch because it is told not to reduce in FP16.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

SHAPES = (
    *((n, n, n) for n in (512, 1024, 2048, 4096, 8192)),
    *((m, 11008, 4096) for m in (1, 8, 16, 128)),
)
FLUSHED = 1 << 28  # bytes: more than any L2
SAMPLE = 16  # rows that are compared with the product in FP64
ALLOWED = 2.0  # units of float16's rounding, norm by norm
ONLY = r"^gemm_f16"  # static figures, where there is no GPU


def main(rounds: int) -> int:
    missing = missing_gpu()
    if missing:
        from bench import static

        print(f"{missing}: nothing is timed. What is known without a GPU:")
        return static.main(ONLY)
    import cupy

    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    print(f"{name}, CUDA events, medians of {rounds} rounds, cold L2\n")
    print(f"{'m x n x k':>20}{'contender':>16}{'time':>12}{'rate':>16}{'x cupy':>9}")
    wrong = [shape for shape in SHAPES if not _measure(cupy, shape, rounds)]
    if wrong:
        print("WRONG:", *wrong)
    return 1 if wrong else 0


def missing_gpu() -> str:
    """Say why nothing can be timed, or nothing."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy is not installed ({error})"
    return "" if cupy.cuda.is_available() else "there is no GPU here"


def _measure(cupy: Any, shape: tuple[int, int, int], rounds: int) -> bool:
    """Print a line for each contender; return whether halfbyte's result is right."""
    m, n, k = shape
    random = np.random.default_rng(1)
    a, b = (random.standard_normal(s, np.float32).astype(np.float16) for s in ((m, k), (k, n)))
    calls = _contenders(*map(cupy.asarray, (a, b)))
    results = {name: call() for name, call in calls.items()}  # and all is compiled
    some = np.unique(np.linspace(0, m - 1, SAMPLE).astype(int))
    want = a[some].astype(np.float64) @ b.astype(np.float64)
    error = np.linalg.norm(results["halfbyte f16"].get()[some] - want)
    right = bool(error <= ALLOWED * 2.0**-11 * np.linalg.norm(want))
    scratch = cupy.empty(FLUSHED, cupy.uint8)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            scratch.data.memset_async(0, FLUSHED)  # and calls are queued meanwhile
            start, end = cupy.cuda.Event(), cupy.cuda.Event()
            start.record()
            call()
            end.record()
            end.synchronize()
            times[name].append(cupy.cuda.get_elapsed_time(start, end) / 1e3)
    base = median(times["cupy"])
    for name, seconds in times.items():
        time = median(seconds)
        rate = f"{2 * m * n * k / time / 1e12:.4g} TFLOP/s"
        if m == 1:
            rate = f"{2 * n * k / time / 1e9:.4g} GB/s"
        print(
            f"{f'{m} x {n} x {k}':>20}{name:>16}{time * 1e6:>9.1f} us{rate:>16}{base / time:>9.2f}"
        )
    return right


def _contenders(a: Any, b: Any) -> dict[str, Callable[[], Any]]:
    """Return calls that write where they wrote before, on CuPy's current stream."""
    import cupy

    import halfbyte

    shape = a.shape[0], b.shape[1]
    half, single, theirs, torchs = (cupy.empty(shape, kind) for kind in ("f2", "f4", "f2", "f2"))
    calls = {
        "halfbyte f16": lambda: halfbyte.gemm_f16(a, b, out=half),
        "halfbyte f32": lambda: halfbyte.gemm_f16(a, b, out=single),
        "cupy": lambda: cupy.matmul(a, b, out=theirs),
    }
    if importlib.util.find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
            stream = torch.cuda.ExternalStream(cupy.cuda.get_current_stream().ptr)
            x, y, out = map(torch.from_dlpack, (a, b, torchs))

            def product() -> Any:
                with torch.cuda.stream(stream):
                    return torch.matmul(x, y, out=out)

            calls["torch"] = product
    return calls
