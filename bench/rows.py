# SPDX-License-Identifier: Apache-2.0
"""What an operation brings: rows to measure, contenders, and the figures it is judged by.

An operation is a module of this package, listed in `OPERATIONS`, with

    CONTENDERS: dict[str, Contender]        who can take part, halfbyte's own entries among them
    rows(scale, threads) -> list[Row]       what to measure; scale is "quick", "tour" or "full"
    headlines(results, isa) -> list[Headline]

It is imported by the controller and by every worker, so it imports a contender's library only
inside that contender's `prepare`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

OPERATIONS = ("gemm_f16", "gemm_int", "linear", "casts", "quantization", "amp", "startup")


# By Row.memory, the loops of `roofs` that are measured: one that only reads; np.copyto; one that
# only reads, then one that only writes, past the caches, with np.copyto beside them as a unit.
MEMORY_ROOFS: dict[str, tuple[str, ...]] = {
    "": (),
    "read": ("read",),
    "copy": ("copy",),
    "read+stream": ("read", "stream", "copy"),
}


@dataclass(frozen=True)
class Verdict:
    """How a result compares with the reference, before anything is timed."""

    same_bits: bool
    of_bound: float | None = None  # largest error, in units of the FP32 error bound
    acceptable: bool = True  # False: the contender's own promise is broken; it is not timed
    off_by: float | None = None  # of integers: the largest difference from the exact ones
    relative: float | None = None  # of a layer: error / product of its numbers, norms of both


@dataclass
class Job:
    """One contender, ready to run one row."""

    calls: list[Callable[[], Any]]  # used in turn; several where data must come from memory
    check: Callable[[], Verdict | None]  # None: there is no result to compare
    sample: Callable[[], float] | None = None  # times itself and returns seconds, if given


@dataclass(frozen=True)
class Contender:
    library: str  # the module that its process imports; one process a library and thread count
    prepare: Callable[[dict[str, Any]], Job]
    threaded: bool = True  # False: takes part in one-thread rows only


@dataclass(frozen=True)
class Row:
    """One thing to measure, by several contenders.

    The least time that the hardware allows is the larger of flops / compute roof and the time of
    the memory roof, whichever of the two are given.
    """

    operation: str
    title: str
    params: dict[str, Any]
    contenders: tuple[str, ...]
    baseline: str
    threads: int = 1
    unit: str = "GFLOP/s"  # of the rate: GFLOP/s, GOP/s, GB/s, or "" where there is none
    flops: float = 0.0  # multiplications and additions
    compute: str = "fma"  # the roof of `flops`: "fma", or "int" for exact sums of integer products
    beside: tuple[str, ...] = ()  # other roofs to measure, as units
    bytes: float = 0.0  # read and written
    written: float = 0.0  # of `bytes`; counts with the memory roof "read+stream"
    memory: str = ""  # a key of MEMORY_ROOFS, by which `bytes` is measured
    size: int | None = None  # where it stands across the picture
    max_rounds: int | None = None

    @property
    def roofs(self) -> tuple[str, ...]:
        """The kinds of roofs to measure beside halfbyte."""
        compute = (self.compute, *self.beside) if self.flops else ()
        return compute + MEMORY_ROOFS[self.memory]

    @property
    def name(self) -> str:
        plural = "" if self.threads == 1 else "s"
        return f"{self.operation}: {self.title}, {self.threads} thread{plural}"


@dataclass(frozen=True)
class Headline:
    """One figure that an operation is judged by."""

    what: str
    figure: float | None
    must: float | None = None
    dream: float | None = None
    unit: str = ""
    low_is_good: bool = False

    @property
    def reached(self) -> str:
        if self.figure is None:
            return "not measured"
        if self.must is None or self.dream is None:
            return ""
        sign = -1.0 if self.low_is_good else 1.0
        if sign * self.figure >= sign * self.dream:
            return "dream"
        return "yes" if sign * self.figure >= sign * self.must else "no"


@dataclass
class Entry:
    """What one contender did in one row. Rounds are keys: a slow contender sits some out."""

    contender: str
    seconds: dict[int, float] = field(default_factory=dict)
    least: dict[int, float] = field(default_factory=dict)  # the roofs' seconds, in that round
    verdict: Verdict | None = None
    failure: str = ""
    # By kind of roof, its seconds alone in that round; "copy": np.copyto's, for as many bytes.
    alone: dict[str, dict[int, float]] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return self.contender.startswith("halfbyte")

    @property
    def failed(self) -> bool:
        return bool(self.failure) or (self.verdict is not None and not self.verdict.acceptable)


@dataclass
class Result:
    row: Row
    entries: list[Entry]
    roofs: dict[str, float] = field(default_factory=dict)  # medians, by kind

    def entry(self, contender: str) -> Entry | None:
        return next((e for e in self.entries if e.contender == contender), None)


def operation(name: str) -> ModuleType:
    return importlib.import_module(f"bench.{name}")
