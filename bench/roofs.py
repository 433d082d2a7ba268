# SPDX-License-Identifier: Apache-2.0
"""What the hardware can do: loops of bare instructions, measured beside the kernels.

- FMA roof: fused multiply-adds on registers alone, in vectors as wide as the active Isa's. Enough
  independent chains to cover the latency of two pipes, few enough to stay in registers.
- integer roof: exact sums of integer products on registers alone, as the active Isa forms them in
  32 bits: vpdpbusd, or pmaddwd and an addition. An operation is a multiplication or an addition.
- read roof: bytes a second of a loop that only reads, beyond the last-level cache.
- copy roof: bytes a second (read and written) of np.copyto.
- stream roof: bytes a second of a loop that only writes, past the caches (non-temporal stores). A
  plain store first reads the line that it overwrites, so no loop of those is faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from bench import machine
from bench.loops import LINE, dot_loop, fma_loop, read_all, stream_loop

SECONDS = 0.002  # of one sample
READ_BYTES = 64 * 2**20  # of one sample
FACTORS = {"fma": np.float32(0.5), "int": np.int32(0x01020304)}  # 0.5 keeps chains normal


class Roofs:
    """The roofs of one process, for the Isa and the thread count that it measures with."""

    def __init__(self, isa: Any, threads: int) -> None:
        self.isa = isa
        self.threads = threads
        self._loops: dict[str, Callable[[int, Any], Any]] = {}
        self._steps: dict[str, int] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._words: np.ndarray | None = None
        self._lines: np.ndarray | None = None
        self._stream_loop = stream_loop(isa.lanes)
        self._position = 0
        self._copies: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def sample(self, kinds: list[str], nbytes: int) -> dict[str, float]:
        measure = {
            "fma": self.fma,
            "int": self.integer,
            "read": self.read,
            "stream": self.stream,
            "copy": lambda: self.copy(nbytes),
        }
        return {kind: measure[kind]() for kind in kinds}

    def fma(self) -> float:
        """FLOP/s of one thread, times threads."""
        return self._compute("fma", 2 * self.isa.lanes)

    def integer(self) -> float:
        """Multiplications and additions a second of one thread, times threads."""
        return self._compute("int", 2 * self.isa.lanes * (4 if self.isa.vnni else 2))

    def read(self) -> float:
        """Bytes/s of all threads together: memory does not grow with them."""
        if self._words is None:
            size = max(READ_BYTES, min(4 * machine.last_level_cache(), machine.memory_cap()))
            self._words = np.ones(-(-size // READ_BYTES) * READ_BYTES // 8, np.uint64)
            read_all(self._words[:8])
        # Go on where the last sample ended, else it would find its data in the cache.
        part = self._words[self._position :][: READ_BYTES // 8]
        self._position = (self._position + part.size) % self._words.size
        return part.nbytes / self._together(read_all, np.array_split(part, self.threads))

    def stream(self) -> float:
        """Bytes/s of all threads together."""
        if self._lines is None:
            words = np.ones((READ_BYTES + LINE) // 8, np.uint64)  # touches every page
            aligned = words[-words.ctypes.data % LINE // 8 :]
            self._lines = aligned[: READ_BYTES // 8].reshape(-1, LINE // 8)
            self._stream_loop(self._lines[:1])
        parts = np.array_split(self._lines, self.threads)
        return self._lines.nbytes / self._together(self._stream_loop, parts)

    def copy(self, nbytes: int) -> float:
        """Bytes/s, both ways, of np.copyto on arrays of which each has `nbytes`."""
        if nbytes not in self._copies:
            source = np.ones(nbytes // 4, np.float32)
            self._copies = {nbytes: (source, np.zeros_like(source))}
        source, target = self._copies[nbytes]
        parts = list(
            zip(
                np.array_split(target, self.threads),
                np.array_split(source, self.threads),
                strict=True,
            )
        )
        repeats = max(1, READ_BYTES // nbytes)
        seconds = self._together(_copy_repeatedly, [(repeats, *part) for part in parts])
        return 2 * nbytes * repeats / seconds

    def _compute(self, kind: str, operations: int) -> float:
        """A rate, where a chain does so many operations a step."""
        chains = 24 if self.isa.lanes >= 16 else 12
        if kind not in self._loops:
            lanes, fused, vnni = self.isa.lanes, self.isa.fma, self.isa.vnni
            loop = (
                fma_loop(lanes, chains, fused) if kind == "fma" else dot_loop(lanes, chains, vnni)
            )
            loop(1, FACTORS[kind])  # compiles
            self._loops[kind], self._steps[kind] = loop, 1000
            while self._seconds(kind) < SECONDS:
                self._steps[kind] *= 2
        return self._steps[kind] * chains * operations / self._seconds(kind) * self.threads

    def _seconds(self, kind: str) -> float:
        loop, steps, factor = self._loops[kind], self._steps[kind], FACTORS[kind]
        loop(steps // 8, factor)  # a core that slept begins slowly
        start = time.perf_counter()
        loop(steps, factor)
        return time.perf_counter() - start

    def _together(self, work: Callable[[Any], Any], parts: list[Any]) -> float:
        if self.threads == 1:
            start = time.perf_counter()
            work(parts[0])
            return time.perf_counter() - start
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads)
        start = time.perf_counter()
        list(self._pool.map(work, parts))
        return time.perf_counter() - start


def _copy_repeatedly(work: tuple[int, np.ndarray, np.ndarray]) -> None:
    repeats, target, source = work
    for _ in range(repeats):
        np.copyto(target, source)
