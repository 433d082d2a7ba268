# SPDX-License-Identifier: Apache-2.0
"""A pool of threads for kernels that release the GIL, and how work is split over it.

Not Numba's `parallel=True`: its default layer aborts the process when two Python threads call at
once. Idle workers sleep in a queue; nothing spins. Work is split over the output only, so the
number of threads never shows in the bits.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Tasks = collections.deque[Callable[[], None]]
    Results = queue.SimpleQueue[BaseException | None]

MOST = 1024  # threads; more than any machine's is a mistake

_count: int | None = None
_lock = threading.Lock()
_jobs: queue.SimpleQueue[tuple[Tasks, Results]]
_jobs = queue.SimpleQueue()
_workers = 0
_ids: list[int] = []  # the workers', as the system numbers them
_callers = 0  # that have tasks running
_kept_off: tuple[int, int, set[int]] | None = None  # a processor, by so many workers, of these

# Where the calling thread runs. Linux only, as is choosing where threads may.
_this_cpu = getattr(ctypes.CDLL(None), "sched_getcpu", None) if os.name == "posix" else None
if not hasattr(os, "sched_setaffinity"):
    _this_cpu = None


def _default() -> int:
    asked = os.environ.get("HALFBYTE_NUM_THREADS")
    if not asked:
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    if not (asked.isdecimal() and 1 <= int(asked) <= MOST):
        msg = f"HALFBYTE_NUM_THREADS: got {asked!r}; need an integer from 1 to {MOST}"
        raise ValueError(msg)
    return int(asked)


def get_num_threads() -> int:
    """Threads that a call may use, the calling one included."""
    global _count
    if _count is None:
        _count = _default()
    return _count


def set_num_threads(n: int) -> None:
    """Set how many threads a call may use, the calling one included."""
    global _count
    _count = n


def _work() -> None:
    jobs = _jobs
    while True:
        _take(*jobs.get())


def _take(waiting: Tasks, done: Results) -> None:
    """Run tasks of one call until none waits."""
    while True:
        try:
            task = waiting.popleft()
        except IndexError:
            return
        error = None
        try:
            task()
        except BaseException as raised:
            error = raised
        done.put(error)
        del task  # a worker that sleeps keeps no array alive


def _ensure_workers(wanted: int) -> int:
    """Start threads until there are so many, or as many as the system allows."""
    global _workers
    if _workers < wanted:
        with _lock, contextlib.suppress(RuntimeError):  # no more threads, or the interpreter ends
            while _workers < wanted:
                name = f"halfbyte-{_workers + 1}"
                worker = threading.Thread(target=_work, name=name, daemon=True)
                worker.start()
                _ids.append(worker.native_id or 0)  # 0 stands for the caller
                _workers += 1
    return min(_workers, wanted)


def _keep_workers_off_this_cpu() -> None:
    """Have workers wake up on other processors than the caller's.

    Left alone, Linux may wake a worker where its caller runs though another processor is idle, and
    balances the load milliseconds later. INT8 1024^3 after pauses of 50 ms, two virtual processors:
    800 - 950 GOP/s on two threads, as on one; with this 1000 - 1600 (cores wake up slowly, too).
    """
    global _kept_off
    if _this_cpu is None or _callers > 1:  # of several callers, one would push away another's
        return
    with contextlib.suppress(OSError):
        mine, allowed = _this_cpu(), os.sched_getaffinity(0)
        if (mine, _workers, allowed) == _kept_off or len(allowed) < 2:
            return
        for worker in filter(None, _ids):
            os.sched_setaffinity(worker, allowed - {mine})
        _kept_off = mine, _workers, allowed


def run(tasks: Sequence[Callable[[], None]]) -> None:
    """Run all tasks, on the calling thread and on workers that are free.

    A caller takes its own tasks only: what a signal handler raises meanwhile (Ctrl-C) is its own.
    A task must own the arrays that it works on: such an exception may leave workers behind.
    """
    if len(tasks) == 1:
        tasks[0]()
        return
    global _callers
    _callers += 1
    try:
        _share(tasks)
    finally:
        _callers -= 1


def _share(tasks: Sequence[Callable[[], None]]) -> None:
    waiting, done = collections.deque(tasks), queue.SimpleQueue()
    # There may be more tasks than threads: parts that sums are formed over.
    helpers = _ensure_workers(min(len(tasks), get_num_threads()) - 1)
    if helpers:
        _keep_workers_off_this_cpu()
    for _ in range(helpers):
        _jobs.put((waiting, done))
    errors, interrupt = [], None
    while len(errors) < len(tasks):
        try:
            _take(waiting, done)
            errors.append(done.get())
        except BaseException as raised:
            if interrupt is not None:
                raise
            interrupt = raised
    first = interrupt or next((error for error in errors if error is not None), None)
    if first is not None:
        raise first


def _forget_after_fork() -> None:
    """A forked child has none of its parent's threads: start with an empty pool."""
    global _jobs, _workers, _lock, _ids, _callers, _kept_off
    _jobs = queue.SimpleQueue()
    _workers, _ids, _callers, _kept_off = 0, [], 0, None
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
