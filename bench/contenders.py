# SPDX-License-Identifier: Apache-2.0
"""Contenders take turns: one process a library and thread count, one sample a round."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from statistics import median
from types import TracebackType
from typing import Any, Self

from bench import ROOT, machine, rows
from bench.rows import Entry, Result, Row, Verdict

DEADLINE = 300.0  # seconds for one answer; who takes longer hangs, and is ended
PATIENCE = 3.0  # seconds that a call of a peer may be expected to take


@dataclass(frozen=True)
class Effort:
    """How much time a row may take."""

    rounds: int
    least_rounds: int  # of a contender so slow that it would use up `seconds`
    seconds: float  # of one contender in one row
    sample: float  # seconds of one sample


class Worker:
    """The controller's end of one contender's process."""

    def __init__(self, library: str, threads: int, isa: str | None) -> None:
        # A file, not a pipe: nobody reads along, and a full pipe would stop the worker.
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", library, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            cwd=ROOT,
            env=machine.worker_environment(threads, isa),
        )

    def ask(self, action: str, **request: Any) -> dict[str, Any]:
        """The worker's answer; {"failure": ...} if it raised or died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        deadline = threading.Timer(DEADLINE, self._process.kill)
        deadline.start()
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"action": action, **request}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        deadline.cancel()
        if line:
            return json.loads(line)
        status = self._process.wait()
        self._complaints.seek(0)
        last = self._complaints.read().strip().rsplit("\n", 1)[-1]
        return {"failure": f"its process ended with status {status}: {last}"}

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()  # the end of its input ends it
        self._complaints.close()


class Contest:
    """All workers, started when first needed."""

    def __init__(self, effort: Effort, isa: str | None = None) -> None:
        self.effort = effort
        self.isa = isa
        self._workers: dict[tuple[str, int], Worker] = {}
        self._rates: dict[tuple[str, int], float] = {}  # best FLOP/s so far

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers.values():
            worker.close()

    def facts(self) -> dict[str, Any]:
        return self._worker("halfbyte", 1).ask("facts")

    def measure(self, row: Row) -> Result:
        table = rows.operation(row.operation).CONTENDERS
        entries, workers = [], {}
        for name in row.contenders:
            contender = table[name]
            if not installed(contender.library) or (row.threads > 1 and not contender.threaded):
                continue
            entry = Entry(name)
            if not entry.ours and name != row.baseline and self._is_too_slow(row, name):
                continue
            entries.append(entry)
            worker = self._worker(contender.library, row.threads)
            answer = worker.ask(
                "prepare", operation=row.operation, contender=name, params=row.params
            )
            entry.failure = answer.get("failure", "")
            if verdict := answer.get("verdict"):
                entry.verdict = Verdict(**verdict)
            if not entry.failed:
                workers[name] = worker
        result = Result(row, entries)
        self._take_turns(result, [e for e in entries if not e.failed], workers)
        for worker in set(workers.values()):
            worker.ask("drop")
        for entry in entries:
            if row.flops and entry.seconds:
                rate = row.flops / median(entry.seconds.values())
                key = entry.contender, row.threads
                self._rates[key] = max(rate, self._rates.get(key, 0.0))
        return result

    def _is_too_slow(self, row: Row, contender: str) -> bool:
        """Judged by the rows before this one, which are smaller."""
        rate = self._rates.get((contender, row.threads))
        return rate is not None and row.flops / rate > PATIENCE

    def _take_turns(self, result: Result, entries: list[Entry], workers: dict[str, Worker]) -> None:
        row, effort = result.row, self.effort
        seen: dict[str, list[float]] = {kind: [] for kind in row.roofs}
        rounds = min(effort.rounds, row.max_rounds or effort.rounds)
        for number in range(rounds):
            # Another one begins each round, so nobody always follows the same neighbour.
            first = number % max(1, len(entries))
            for entry in entries[first:] + entries[:first]:
                if entry.failure or self._has_had_enough(entry, number):
                    continue
                answer = workers[entry.contender].ask(
                    "sample",
                    contender=entry.contender,
                    budget=effort.sample,
                    roofs=row.roofs if entry.ours else (),
                    nbytes=int(row.params.get("nbytes", 0)),
                )
                entry.failure = answer.get("failure", "")
                if entry.failure:
                    continue
                entry.seconds[number] = answer["seconds"]
                if answer["roofs"]:
                    entry.least[number] = least_seconds(row, answer["roofs"])
                    for kind, rate in answer["roofs"].items():
                        alone = entry.alone.setdefault(kind, {})
                        alone[number] = work_at(row, kind) / rate
                        seen[kind].append(rate)
        result.roofs = {kind: median(rates) for kind, rates in seen.items() if rates}

    def _has_had_enough(self, entry: Entry, number: int) -> bool:
        if number < self.effort.least_rounds:
            return False
        return sum(entry.seconds.values()) > self.effort.seconds

    def _worker(self, library: str, threads: int) -> Worker:
        key = library, threads
        if key not in self._workers or not self._workers[key].alive:
            self._workers[key] = Worker(library, threads, self.isa)
        return self._workers[key]


def least_seconds(row: Row, roofs: dict[str, float]) -> float:
    compute = row.flops / roofs[row.compute] if row.flops else 0.0
    if row.memory == "read+stream":
        memory = (row.bytes - row.written) / roofs["read"] + row.written / roofs["stream"]
    else:
        memory = row.bytes / roofs[row.memory] if row.memory else 0.0
    return max(compute, memory)


def work_at(row: Row, kind: str) -> float:
    """What a roof of this kind counts: operations, or bytes."""
    if kind in (row.compute, *row.beside):
        return row.flops
    return row.written if kind == "stream" else row.bytes


def installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None
