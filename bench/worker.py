# SPDX-License-Identifier: Apache-2.0
"""A contender's process: builds inputs, checks the result, then times when it is told to.

Requests and answers are JSON, a line each, on standard input and output. Between them the process
waits in `readline` and uses no processor time.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from bench import machine, rows

SETTLED = 0.1  # of one core: below this, the threads of the last sample have gone to sleep
# Seconds to look at: Linux counts the time of threads on other cores at their ticks, 10 ms apart.
TICKS = 0.025


class Runner:
    """The jobs of one process, by contender, for the row being measured."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        self.threads = threads
        self.jobs: dict[str, tuple[rows.Job, Iterator[Callable[[], Any]]]] = {}
        self.repeats: dict[str, int] = {}
        self.roofs: Any = None
        if library == "halfbyte":
            import halfbyte

            halfbyte.set_num_threads(threads)
        elif library == "torch":
            import torch

            torch.set_num_threads(threads)
        elif library == "numkong":
            _hold_numkong(os.environ.get("HALFBYTE_ISA", ""))

    def facts(self) -> dict[str, Any]:
        """The Isa that halfbyte runs on; nothing from other libraries."""
        if self.library != "halfbyte":
            return {}
        import halfbyte.cpu.isa

        active = halfbyte.cpu.isa.active()
        return {
            "isa": active.name,
            "lanes": active.lanes,
            "runnable": list(halfbyte.cpu.isa.runnable()),
        }

    def prepare(self, operation: str, contender: str, params: dict[str, Any]) -> dict[str, Any]:
        job = rows.operation(operation).CONTENDERS[contender].prepare(params)
        verdict = job.check()
        self.jobs[contender] = job, itertools.cycle(job.calls)
        self.repeats.pop(contender, None)
        return {"verdict": vars(verdict) if verdict else None}

    def sample(
        self, contender: str, budget: float, roofs: list[str], nbytes: int
    ) -> dict[str, Any]:
        """Seconds a call; the roofs right before and right after it."""
        job, calls = self.jobs[contender]
        if job.sample is not None:
            return {"seconds": job.sample(), "roofs": {}}
        if contender not in self.repeats:
            self.repeats[contender] = _calls_within(budget, calls)
        count = self.repeats[contender]
        before = self._roofs(roofs, nbytes)
        if count > 1:
            next(calls)()  # caches and threads that the other contenders' turns let go cold
        schedule = list(itertools.islice(calls, count))
        start = time.perf_counter()
        for call in schedule:
            call()
        seconds = (time.perf_counter() - start) / count
        after = self._roofs(roofs, nbytes)
        # The kernel's time is compared with the mean time a unit takes at the roof.
        mean = {kind: 2 / (1 / before[kind] + 1 / after[kind]) for kind in roofs}
        return {"seconds": seconds, "roofs": mean}

    def drop(self) -> dict[str, Any]:
        self.jobs.clear()
        return {}

    def _roofs(self, kinds: list[str], nbytes: int) -> dict[str, float]:
        if not kinds:
            return {}
        if self.roofs is None:
            import halfbyte.cpu.isa
            from bench.roofs import Roofs

            self.roofs = Roofs(halfbyte.cpu.isa.active(), self.threads)
        return self.roofs.sample(kinds, nbytes)


def _hold_numkong(isa: str) -> None:
    """To the instruction set that halfbyte is held to."""
    import numkong

    found = {name for name, is_there in numkong.get_capabilities().items() if is_there}
    for name in found - machine.NUMKONG_CEILINGS.get(isa, found):
        numkong.disable_capability(name)


def _calls_within(budget: float, calls: Iterator[Callable[[], Any]]) -> int:
    count = 1
    while True:
        schedule = list(itertools.islice(calls, count))
        start = time.perf_counter()
        for call in schedule:
            call()
        elapsed = time.perf_counter() - start
        if elapsed > budget / 4:
            return max(1, round(count * budget / elapsed))
        count *= 2


def _settle() -> None:
    """Wait until this process is idle: BLAS and OpenMP threads spin for a while after a call."""
    for _ in range(40):
        wall, used = time.perf_counter(), time.process_time()
        time.sleep(TICKS)
        if time.process_time() - used < SETTLED * (time.perf_counter() - wall):
            return


def main() -> None:
    library, threads = sys.argv[1], int(sys.argv[2])
    # Libraries may print: keep the way to the controller to ourselves.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    runner: Runner | None = None
    for line in sys.stdin:
        request = json.loads(line)
        action = request.pop("action")
        try:
            runner = runner or Runner(library, threads)
            answer = getattr(runner, action)(**request)
        except Exception as error:  # whatever a contender raises belongs in the table
            traceback.print_exc()
            answer = {"failure": f"{type(error).__name__}: {error}"}
        if threads > 1:
            _settle()
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
