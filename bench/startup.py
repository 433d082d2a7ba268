# SPDX-License-Identifier: Apache-2.0
"""What a user waits for beside the arithmetic: the first call, and the cost of a small one."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from statistics import median
from typing import Any

from bench import gemm_f16, pairs
from bench.matrices import Shape
from bench.rows import Contender, Headline, Job, Result, Row

SMALL = (8, 64)
CACHES = ("warm", "cold")
# Prints seconds: `import numba`, `import halfbyte`, the first product. halfbyte imports Numba by
# itself, in its first call; here it comes first, so that Numba's part is known.
CHILD = """
import time
import numpy as np
a = np.ones((64, 64), np.float16)
t0 = time.perf_counter()
import numba
t1 = time.perf_counter()
import halfbyte
t2 = time.perf_counter()
c = halfbyte.gemm_f16(a, a)
t3 = time.perf_counter()
assert (c == 64).all()
print(t1 - t0, t2 - t1, t3 - t2)
"""
PARTS = ("import numba", "import halfbyte", "first call")


def rows(scale: str, threads: tuple[int, ...]) -> list[Row]:
    cold_rounds = {"quick": 1, "tour": 1, "full": 3}[scale]
    sizes = (8,) if scale == "quick" else SMALL
    small = [_small(Shape(n, n, n, whole_call=True), threads[0]) for n in sizes]
    caches = ("warm",) if scale == "quick" else CACHES
    return small + [_first(cache, cold_rounds) for cache in caches]


def _small(shape: Shape, threads: int) -> Row:
    return Row(
        operation="startup",
        title=_title(shape),
        params=asdict(shape),
        contenders=(gemm_f16.PLAIN, gemm_f16.PREPACKED, "numpy f32", "numpy f16", "torch f32"),
        baseline="numpy f32",
        threads=threads,
        unit="",
    )


def _title(shape: Shape) -> str:
    return f"{shape.m} x {shape.n} x {shape.k}, whole call"


def _first(cache: str, cold_rounds: int) -> Row:
    return Row(
        operation="startup",
        title=f"first call in a fresh process, {cache} cache",
        params={"cache": cache},
        contenders=tuple(f"halfbyte {part}" for part in PARTS),
        baseline="",
        unit="",
        max_rounds=cold_rounds if cache == "cold" else 5,
    )


class FreshProcesses:
    """Runs a process for every sample and hands its parts to the contenders that are named so."""

    def __init__(self, cache: str) -> None:
        self._directory = tempfile.TemporaryDirectory() if cache == "warm" else None
        self._waiting: dict[str, list[float]] = {part: [] for part in PARTS}
        if self._directory:
            _child(self._directory.name)

    def take(self, part: str) -> float:
        if not self._waiting[part]:
            for name, seconds in self._run().items():
                self._waiting[name].append(seconds)
        return self._waiting[part].pop(0)

    def _run(self) -> dict[str, float]:
        if self._directory:
            return _child(self._directory.name)
        with tempfile.TemporaryDirectory() as empty:
            return _child(empty)


_fresh_processes = functools.cache(FreshProcesses)


def _prepare_first(part: str, params: dict[str, Any]) -> Job:
    take = functools.partial(_fresh_processes(params["cache"]).take, part)
    return Job([], lambda: None, take)  # the child itself checks its product


def _child(cache: str) -> dict[str, float]:
    env = os.environ | {"NUMBA_CACHE_DIR": cache}
    run = subprocess.run(
        [sys.executable, "-c", CHILD], env=env, check=True, capture_output=True, text=True
    )
    return dict(zip(PARTS, map(float, run.stdout.split()), strict=True))


def _first_contender(part: str) -> Contender:
    return Contender("halfbyte", functools.partial(_prepare_first, part))


CONTENDERS = gemm_f16.CONTENDERS | {f"halfbyte {part}": _first_contender(part) for part in PARTS}


def headlines(results: list[Result], isa: str) -> list[Headline]:
    found = {r.row.title: r for r in results if r.row.operation == "startup"}

    def seconds(title: str, contender: str) -> float | None:
        entry = found[title].entry(contender) if title in found else None
        return median(entry.seconds.values()) if entry and entry.seconds else None

    small = found.get(_title(Shape(64, 64, 64, whole_call=True)))
    slower = None
    if small is not None:
        slower = pairs.speedup(small.entry(gemm_f16.PLAIN), small.entry("numpy f32"))
    lines = [
        Headline("64^3, whole call, of numpy f32's time", slower, 1.4, 1.1, "x", low_is_good=True)
    ]
    tiny = seconds(_title(Shape(8, 8, 8, whole_call=True)), gemm_f16.PLAIN)
    tiny = tiny * 1e6 if tiny is not None else None
    lines.append(Headline("8^3, whole call", tiny, 5.0, 2.5, "us", low_is_good=True))
    for cache, must, dream in (("cold", 5.0, 2.5), ("warm", 0.25, 0.15)):
        title = f"first call in a fresh process, {cache} cache"
        first = seconds(title, "halfbyte first call")
        what = f"first call, {cache} cache, Numba imported before"
        lines.append(Headline(what, first, must, dream, "s", low_is_good=True))
        numba = seconds(title, "halfbyte import numba")
        with_numba = first + numba if first is not None and numba is not None else None
        what = f"first call, {cache} cache, Numba's import included"
        lines.append(Headline(what, with_numba, must, dream, "s", low_is_good=True))
    return lines
