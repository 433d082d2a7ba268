# SPDX-License-Identifier: Apache-2.0
"""Plan and launch the casts: fewest dimensions, streaming, threads."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from halfbyte.arrays import address_of
from halfbyte.cpu import blocking, threads
from halfbyte.cpu import casts_kernel as kernels
from halfbyte.dimensions import merge_dimensions

if TYPE_CHECKING:
    from halfbyte.arrays import Array
    from halfbyte.cpu.compile import Kernel

# Elements below which waking a second thread costs more than it brings.
_THREADED = 1 << 18


def convert(x: Array, out: Array) -> None:
    """out = x, FP32 to FP16 or FP16 to FP32; same shape, any strides, not empty."""
    kernel = kernels.to_half if out.itemsize == 2 else kernels.to_single
    place = _plan(x.shape, x.strides, out.strides, x.nbytes + out.nbytes, threads.get_num_threads())
    source, target = address_of(x), address_of(out)
    threads.run(
        [
            functools.partial(
                _run,
                (x, out),
                kernel,
                source + source_offset,
                place.x_strides,
                target + target_offset,
                place.out_strides,
                lengths,
                np.zeros(len(lengths), np.int64),
                place.streaming,
            )
            for source_offset, target_offset, lengths in place.tasks
        ]
    )


class _Plan(NamedTuple):
    x_strides: Array
    out_strides: Array
    streaming: int
    tasks: list[tuple[int, int, Array]]  # bytes from where x and out start, and lengths


@functools.lru_cache(256)
def _plan(
    shape: tuple[int, ...], x_strides: tuple[int, ...], out_strides: tuple[int, ...],
    nbytes: int, thread_count: int,
) -> _Plan:  # fmt: skip
    lengths, x_steps, out_steps = merge_dimensions(shape, x_strides, out_strides)
    parts = min(thread_count, lengths[0], max(1, 2 * math.prod(shape) // _THREADED))
    cuts = [lengths[0] * t // parts for t in range(parts + 1)]
    tasks = [
        (i0 * x_steps[0], i0 * out_steps[0], np.array([i1 - i0, *lengths[1:]], np.int64))
        for i0, i1 in itertools.pairwise(cuts)
    ]
    streaming = int(nbytes > blocking.cache_bytes(3))
    return _Plan(np.array(x_steps, np.int64), np.array(out_steps, np.int64), streaming, tasks)


def _run(owners: tuple[Array, ...], kernel: Kernel, *arguments: object) -> None:
    """Call the kernel; the owners of the memory it gets by address live as long as the task."""
    kernel(*arguments)
