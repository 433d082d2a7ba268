# SPDX-License-Identifier: Apache-2.0
"""Seeds know nothing of each other: each core works on its own."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import halfbyte
from bench import machine
from bench.pipeline.recipes import Effort


def each(
    work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], effort: Effort
) -> Iterator[Any]:
    """What `work` makes of each task, in their order."""
    count = effort.workers or machine.cores()
    if count == 1:
        yield from (work(*task) for task in tasks)
        return
    # Not forked: threads would be missing in the copy.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, on_one_thread)
    try:
        yield from pool.map(work, *zip(*tasks, strict=True))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def on_one_thread() -> None:
    """Begin a worker. Sums of BLAS depend on the number of threads; nothing of halfbyte's does."""
    import threadpoolctl

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends this one
    threadpoolctl.threadpool_limits(1)
    halfbyte.set_num_threads(1)
