# SPDX-License-Identifier: Apache-2.0
"""Launches of halfbyte's kernels, executed and counted by the PTX machine, which is in tests/."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from bench import ROOT
from bench.gpus import SYSTEM, Gpu

TESTS = ROOT / "tests"
if not (TESTS / "ptx_machine").is_dir():
    sys.exit(f"the PTX machine, which counts, is not in {TESTS}: run this in a checkout")
if str(TESTS) not in sys.path:
    sys.path.append(str(TESTS))

import cubins  # noqa: E402
import ptx_backend  # noqa: E402
from ptx_machine import Counters  # noqa: E402
from ptx_machine.counters import FREE  # noqa: E402, F401


class Launched(NamedTuple):
    """A launch, and what it did."""

    stem: str
    defines: dict[str, Any]
    threads: int  # of a block
    shared: int  # bytes of dynamic shared memory
    counts: Any


class Machine(ptx_backend.PtxBackend):
    """A GPU that counts, launch by launch."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__(gpu.capability)
        self.gpu = gpu
        self.launches: list[Launched] = []

    def stand_in(self) -> dict[str, Any]:
        return super().stand_in() | {"multiprocessors": lambda: self.gpu.multiprocessors}

    def launch(self, stem, defines, grid, block, arguments, shared=0):
        self.counters = Counters()
        super().launch(stem, defines, grid, block, arguments, shared)
        threads = int(np.prod(block))
        self.launches.append(Launched(stem, defines, threads, shared, self.counters))

    def launched(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Launched]:
        """Call a function of NumPy arrays, and return what it launched."""
        self.launches = []
        self.call(function, *map(aligned, args), **kwargs)
        return self.launches


def aligned(x: Any) -> Any:
    """Return a copy of an array that begins at a multiple of 256, as CuPy's do; else x itself."""
    if not isinstance(x, np.ndarray):
        return x
    memory = np.empty(x.nbytes + 256, np.uint8)
    start = -memory.ctypes.data % 256
    copy = np.ndarray(x.shape, x.dtype, memory, start, x.strides)
    copy[...] = x
    return copy


@contextmanager
def one_tile(name: str) -> Iterator[None]:
    """Let products of more than a few rows have this tile, and no split of k."""
    from halfbyte.cuda import gemm_f16_plan, gemm_int_plan, linear_few, linear_tiles

    only = {"return_value": [gemm_f16_plan.TILES[name]]}
    caches = gemm_f16_plan.plan, gemm_int_plan.plan, linear_tiles._tile
    for cache in caches:
        cache.cache_clear()
    with (
        mock.patch.object(gemm_f16_plan, "_candidates", **only),
        mock.patch.object(gemm_f16_plan, "_split_counts", return_value=range(1, 2)),
        mock.patch.object(linear_few, "suits", return_value=False),
        mock.patch.object(linear_tiles, "_candidates", **only),
    ):
        yield
    for cache in caches:
        cache.cache_clear()


def resources(gpu: Gpu, launched: Launched) -> dict[str, int]:
    """Return registers and stack of a thread, and all shared memory of a block."""
    from halfbyte.cuda import compile as compiler

    stem = launched.stem
    cubin = compiler.build(stem, launched.defines, f"sm_{gpu.capability}")
    taken = cubins.resources(cubin, stem)
    # What a cubin says since Hopper has what the system takes in it.
    own = max(0, taken.shared - SYSTEM) if gpu.capability >= 90 else taken.shared
    return {
        "registers": taken.registers,
        "stack": taken.stack,
        "shared": own + launched.shared,
    }
