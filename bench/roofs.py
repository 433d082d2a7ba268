# SPDX-License-Identifier: Apache-2.0
"""What the hardware can do: loops of bare instructions, measured beside the kernels.

- FMA roof: fused multiply-adds on registers alone, in vectors as wide as the active Isa's. Enough
  independent chains to cover the latency of two pipes, few enough to stay in registers.
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

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from bench import machine

SECONDS = 0.002  # of one sample
READ_BYTES = 64 * 2**20  # of one sample
LINE = 64  # bytes of a cache line


def fma_loop(lanes: int, chains: int, fused: bool) -> Callable[[int, np.float32], float]:
    """A compiled loop of `chains` multiply-adds a step, each on `lanes` float32.

    The accumulators are the loop's phi nodes, so that nothing but registers is touched. Without
    FMA instructions (not `fused`) llvm.fma would be a slow call: multiply, then add.
    """
    vector = ir.VectorType(ir.FloatType(), lanes)

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        steps, factor = args
        # Spelled out: llvmlite's declare_intrinsic does not know vectors.
        fma_type = ir.FunctionType(vector, [vector] * 3)
        fma = cgutils.get_or_insert_function(builder.module, fma_type, f"llvm.fma.v{lanes}f32")

        first = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, _i32(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        factor = builder.shuffle_vector(first, first, zeros)

        before = builder.block
        loop = builder.append_basic_block("loop")
        after = builder.append_basic_block("after")
        builder.branch(loop)
        builder.position_at_end(loop)
        count = builder.phi(steps.type)
        count.add_incoming(steps, before)
        results = []
        accs = [builder.phi(vector) for _ in range(chains)]
        for i, acc in enumerate(accs):
            # Different starts: equal chains would be merged into one.
            acc.add_incoming(ir.Constant(vector, [float(i)] * lanes), before)
            if fused:
                # The accumulator as addend is updated in place; as factor, it would be copied.
                new = builder.call(fma, (factor, factor, acc))
            else:
                new = builder.fadd(builder.fmul(acc, factor), factor)
            acc.add_incoming(new, loop)
            results.append(new)
        left = builder.sub(count, ir.Constant(steps.type, 1))
        count.add_incoming(left, loop)
        more = builder.icmp_signed(">", left, ir.Constant(steps.type, 0))
        builder.cbranch(more, loop, after)
        builder.position_at_end(after)

        total = results[0]
        for result in results[1:]:
            total = builder.fadd(total, result)
        return builder.extract_element(total, _i32(0))

    @intrinsic
    def multiply_adds(_typing: Any, steps: Any, factor: Any) -> Any:
        return types.float32(types.int64, types.float32), codegen

    @numba.njit(nogil=True)
    def run(steps, factor):
        return multiply_adds(steps, factor)

    return run


@numba.njit(nogil=True)
def read_all(words):
    """Integer addition may be reordered, so LLVM makes wide loads of this; only by index, though:
    `for word in words` stays scalar and reads at 0.7 of the rate."""
    total = np.uint64(0)
    for i in range(words.size):
        total += words[i]
    return total


def stream_loop(lanes: int) -> Callable[[np.ndarray], None]:
    """A compiled loop that fills whole cache lines (rows of 8 words, aligned), each by non-temporal
    stores of `lanes` float32, which have left the core when it returns.

    Not with zeros: lines of zeros go more than twice as fast (Zen 5: 77 GB/s, any others 32).
    """
    vector = ir.VectorType(ir.FloatType(), lanes)

    def write(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        for offset in range(0, LINE, 4 * lanes):
            address = builder.add(args[0], ir.Constant(args[0].type, offset))
            at = builder.inttoptr(address, vector.as_pointer())
            stored = builder.store(ir.Constant(vector, [1.5] * lanes), at)
            stored.align = 4 * lanes
            stored.set_metadata("nontemporal", builder.module.add_metadata([_i32(1)]))
        return context.get_dummy_value()

    def fence(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        if builder.module.triple.startswith(("x86_64", "i686")):
            fence_type = ir.FunctionType(ir.VoidType(), [])
            sfence = cgutils.get_or_insert_function(
                builder.module, fence_type, "llvm.x86.sse.sfence"
            )
            builder.call(sfence, ())
        return context.get_dummy_value()

    @intrinsic
    def write_line(_typing: Any, address: Any) -> Any:
        return types.none(types.uintp), write

    @intrinsic
    def finish(_typing: Any) -> Any:
        return types.none(), fence

    @numba.njit(nogil=True)
    def run(lines):
        address = np.uintp(lines.ctypes.data)
        for i in range(lines.shape[0]):
            write_line(address + np.uintp(i) * np.uintp(LINE))
        finish()

    return run


def _i32(value: int) -> Any:
    return ir.Constant(ir.IntType(32), value)


class Roofs:
    """The roofs of one process, for the Isa and the thread count that it measures with."""

    def __init__(self, lanes: int, fused: bool, threads: int) -> None:
        self.threads = threads
        chains = 24 if lanes >= 16 else 12
        self._flops_a_step = 2 * lanes * chains
        self._fma_loop = fma_loop(lanes, chains, fused)
        self._steps = 1000
        self._fma_loop(1, np.float32(0.5))  # compiles
        self._pool: ThreadPoolExecutor | None = None
        self._words: np.ndarray | None = None
        self._lines: np.ndarray | None = None
        self._stream_loop = stream_loop(lanes)
        self._position = 0
        self._copies: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        while self._fma_seconds() < SECONDS:
            self._steps *= 2

    def sample(self, kinds: list[str], nbytes: int) -> dict[str, float]:
        measure = {
            "fma": self.fma,
            "read": self.read,
            "stream": self.stream,
            "copy": lambda: self.copy(nbytes),
        }
        return {kind: measure[kind]() for kind in kinds}

    def fma(self) -> float:
        """FLOP/s of one thread, times threads."""
        return self._steps * self._flops_a_step / self._fma_seconds() * self.threads

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

    def _fma_seconds(self) -> float:
        # Factor 0.5 keeps every chain among normal numbers. A core that slept begins slowly.
        self._fma_loop(self._steps // 8, np.float32(0.5))
        start = time.perf_counter()
        self._fma_loop(self._steps, np.float32(0.5))
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
