# SPDX-License-Identifier: Apache-2.0
"""Plans of matrix products, and running their tasks with the memory that they need."""

from __future__ import annotations

import functools
import math
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.arrays import address_of
from halfbyte.cpu import blocking, threads

if TYPE_CHECKING:
    from halfbyte.arrays import Array
    from halfbyte.cpu.compile import Kernel


class Plan(NamedTuple):
    """The kernel, its bytes of scratch memory, and the integers that each task passes it."""

    kernel: Kernel
    scratch: int
    tasks: tuple[Array, ...]


class _Local(threading.local):
    """Scratch memory of each thread: what its largest product needed, up to the L3 cache's size."""

    memory = np.empty(0, np.uint8)


_local = _Local()


def scratch(size: int) -> Array:
    """At least so many bytes, this thread's own."""
    if size > blocking.cache_bytes(3):  # rare, and not worth keeping
        return np.empty(size, np.uint8)
    memory = _local.memory
    if memory.size < size:
        memory = _local.memory = np.empty(size, np.uint8)
    return memory


def launch(plan: Plan, arguments: tuple[Array, ...], owners: tuple[Any, ...]) -> None:
    """Run the tasks of a plan. owners: of the memory that arguments name by address."""
    kernel, size, tasks = plan
    if len(tasks) == 1:
        kernel(*arguments, tasks[0], scratch(size))
    else:
        run = functools.partial(_run, owners, kernel, arguments, size)
        threads.run([functools.partial(run, task) for task in tasks])


def _run(
    owners: tuple[Any, ...], kernel: Kernel, arguments: tuple[Array, ...], size: int, task: Array
) -> None:
    kernel(*arguments, task, scratch(size))


def aligned_bytes(shape: tuple[int, ...]) -> Any:
    """A uint8 array that starts on a cache line."""
    size = math.prod(shape)
    memory = np.empty(size + 64, np.uint8)
    start = -address_of(memory) % 64
    return memory[start : start + size].reshape(shape)
