# SPDX-License-Identifier: Apache-2.0
"""Plan and launch the casts: fewest dimensions, streaming, threads."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

import numpy as np

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
    shape, x_strides, out_strides = merge_dimensions(x.shape, x.strides, out.strides)
    source, target = (array.__array_interface__["data"][0] for array in (x, out))
    streaming = int(x.nbytes + out.nbytes > blocking.cache_bytes(3))
    parts = min(threads.get_num_threads(), shape[0], max(1, 2 * x.size // _THREADED))
    cuts = [shape[0] * t // parts for t in range(parts + 1)]
    lengths = np.array(shape, np.int64)
    tasks = []
    for i0, i1 in itertools.pairwise(cuts):
        part = lengths.copy()
        part[0] = i1 - i0
        tasks.append(
            functools.partial(
                _run,
                (x, out),
                kernel,
                source + i0 * x_strides[0],
                np.array(x_strides, np.int64),
                target + i0 * out_strides[0],
                np.array(out_strides, np.int64),
                part,
                np.zeros(len(shape), np.int64),
                streaming,
            )
        )
    threads.run(tasks)


def _run(owners: tuple[Array, ...], kernel: Kernel, *arguments: object) -> None:
    """Call the kernel; the owners of the memory it gets by address live as long as the task."""
    kernel(*arguments)
