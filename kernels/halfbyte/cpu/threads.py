# SPDX-License-Identifier: Apache-2.0
"""A pool of threads for kernels that release the GIL, and how work is split over it.

Not Numba's `parallel=True`: its default layer aborts the process when two Python threads call at
once. Idle workers sleep in a queue; nothing spins. Work is split over the output only, so the
number of threads never shows in the bits.
"""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_count: int | None = None
_lock = threading.Lock()
_jobs: queue.SimpleQueue[tuple[Callable[[], None], queue.SimpleQueue[BaseException | None]]]
_jobs = queue.SimpleQueue()
_workers = 0


def _default() -> int:
    asked = os.environ.get("HALFBYTE_NUM_THREADS")
    if asked is None:
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    if not asked.isdecimal() or int(asked) < 1:
        msg = f"HALFBYTE_NUM_THREADS: got {asked!r}; need a positive integer"
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
        _run(*jobs.get())


def _run(task: Callable[[], None], done: queue.SimpleQueue[BaseException | None]) -> None:
    try:
        task()
    except BaseException as error:
        done.put(error)
    else:
        done.put(None)


def _ensure_workers(wanted: int) -> None:
    global _workers
    if _workers >= wanted:
        return
    with _lock:
        while _workers < wanted:
            _workers += 1
            threading.Thread(target=_work, name=f"halfbyte-{_workers}", daemon=True).start()


def run(tasks: Sequence[Callable[[], None]]) -> None:
    """Run all tasks, the first on the calling thread, which then helps with what still waits."""
    if len(tasks) == 1:
        tasks[0]()
        return
    _ensure_workers(len(tasks) - 1)
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for task in tasks[1:]:
        _jobs.put((task, done))
    _run(tasks[0], done)
    while True:
        try:
            job = _jobs.get_nowait()
        except queue.Empty:
            break
        _run(*job)
    errors = [error for error in (done.get() for _ in tasks) if error is not None]
    if errors:
        raise errors[0]


def _forget_after_fork() -> None:
    """A forked child has none of its parent's threads: start with an empty pool."""
    global _jobs, _workers, _lock
    _jobs = queue.SimpleQueue()
    _workers = 0
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
