# SPDX-License-Identifier: Apache-2.0
"""python -m bench OPERATION --backend cuda: kernels on a GPU, beside those of CuPy and torch.

Contenders take turns in rounds, so that a clock which falls is everybody's. Every call is timed by
CUDA events, on random data, after as much was written as no L2 holds.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from statistics import median
from typing import Any

from bench import cuda_calls
from bench.cuda_calls import Calls

FLUSHED = 1 << 28  # bytes: more than any L2
# Static figures, where there is no GPU: the kernels of each operation.
KERNELS = {
    "gemm_f16": r"^gemm_f16",
    "gemm_int": r"^gemm_int",
    "linear": r"^linear",
    "casts": r"^casts",
    "quantization": r"^(quantize|dequantize|requantize|fake_quantize|extremes)",
    "amp": r"^amp",
}


class Gpu:
    """Arrays on the current GPU, and who else computes with them there."""

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy
        self.asarray, self.empty = cupy.asarray, cupy.empty
        self.torch = None
        if importlib.util.find_spec("torch"):
            import torch

            self.torch = torch if torch.cuda.is_available() else None

    def host(self, x: Any) -> Any:
        return x.get()

    def on_stream(self, call: Any) -> Any:
        """Return a call of torch's on CuPy's current stream."""
        torch = self.torch
        stream = torch.cuda.ExternalStream(self.cupy.cuda.get_current_stream().ptr)

        def there() -> Any:
            with torch.cuda.stream(stream):
                return call()

        return there


def main(operations: Sequence[str], rounds: int) -> int:
    missing = missing_gpu()
    if missing:
        from bench import static

        print(f"{missing}: nothing is timed. What is known without a GPU:")
        return static.main("|".join(KERNELS[operation] for operation in operations))
    gpu = Gpu()
    print(f"{name()}, CUDA events, medians of {rounds} rounds, cold L2\n")
    print(f"{'':>44}{'contender':>16}{'time':>12}{'rate':>16}{'x base':>9}")
    wrong = []
    for operation in operations:
        for prepare in cuda_calls.cases(operation):
            calls = prepare(gpu)
            _measure(gpu.cupy, calls, rounds)
            if not calls.right():
                wrong.append(calls.title)
    if wrong:
        print("WRONG:", *wrong, sep="\n  ")
    return 1 if wrong else 0


def missing_gpu() -> str:
    """Say why nothing can be timed, or nothing."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy is not installed ({error})"
    return "" if cupy.cuda.is_available() else "there is no GPU here"


def name() -> str:
    """Return the current GPU's."""
    import cupy

    found: bytes = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"]
    return found.decode()


def _measure(cupy: Any, calls: Calls, rounds: int) -> None:
    """Print a line for each contender."""
    for call in calls.calls.values():
        call()  # and all is compiled
    scratch = cupy.empty(FLUSHED, cupy.uint8)
    times: dict[str, list[float]] = {name: [] for name in calls.calls}
    for _ in range(rounds):
        for name, call in calls.calls.items():
            scratch.data.memset_async(0, FLUSHED)  # and calls are queued meanwhile
            start, end = cupy.cuda.Event(), cupy.cuda.Event()
            start.record()
            call()
            end.record()
            end.synchronize()
            times[name].append(cupy.cuda.get_elapsed_time(start, end) / 1e3)
    base = median(times[calls.base])
    for name, seconds in times.items():
        time = median(seconds)
        rate = f"{calls.work / time / (1e9 if calls.unit == 'GB/s' else 1e12):.4g} {calls.unit}"
        print(f"{calls.title:>44}{name:>16}{time * 1e6:>9.1f} us{rate:>16}{base / time:>9.2f}")
