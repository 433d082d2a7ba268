# SPDX-License-Identifier: Apache-2.0
"""What observers do with arrays on a GPU: extremes and histograms that stay there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import channels, elements, runtime
from halfbyte.cuda.extremes import find as extremes
from halfbyte.quantized import I32

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NO_EXPONENT", "count", "extremes", "join", "merge", "move"]

NO_EXPONENT = -127  # of a histogram of zeros alone: below all others

_BLOCK = 256
_BINS = 2048
_MERGING = 1024  # threads

# Steps of a thread: few blocks, since each adds its histogram to the others'.
_STEPS = 64


def join(lo: Any, hi: Any, bad: Any, other_lo: Any, other_hi: Any, other_bad: Any) -> None:
    """Widen extremes in place by others."""
    _join(0, (lo, hi, bad, other_lo, other_hi, other_bad), 0.0)


def move(
    lo: Any, hi: Any, bad: Any, latest_lo: Any, latest_hi: Any, latest_bad: Any, momentum: float
) -> None:
    """Move extremes in place by a part of the way, `momentum`, to the latest ones."""
    _join(1, (lo, hi, bad, latest_lo, latest_hi, latest_bad), momentum)


def count(x: Any, counts: Any, exponent: Any, lo: Any, hi: Any, bad: Any) -> None:
    """Add the elements of x to a histogram, and its extremes to lo, hi and bad, all in place."""
    latest = extremes(x)
    if x.size:
        own = runtime.zeros((_BINS,), np.int64), runtime.empty((), I32)
        plan = channels.plan([x], None, None, _STEPS)
        arguments = (x, *latest[:2], *own, plan.channels, *plan.strides)
        defines = plan.defines | {"FROM": elements.type_name(x.dtype)}
        runtime.launch("histogram", defines, plan.grid, channels.BLOCK, arguments)
        merge(counts, exponent, *own)
    join(lo, hi, bad, *latest)


def merge(counts: Any, exponent: Any, other_counts: Any, other_exponent: Any) -> None:
    """Add another histogram in place, in the wider bins of both."""
    arguments = (counts, exponent, other_counts, other_exponent)
    runtime.launch("histogram_join", {}, 1, _MERGING, arguments)


def variants() -> Iterator[tuple[str, dict[str, int | str]]]:
    """Yield the file and the defines of every kernel for up to two dimensions."""
    for dtype in elements.FLOATS:
        for defines in channels.forms(dtype):
            if not defines["COLUMNS"]:
                yield "histogram", defines | {"FROM": elements.type_name(dtype)}
    yield "histogram_join", {}
    for moving in (0, 1):
        yield "extremes_join", {"MOVE": moving}


def _join(moving: int, arrays: tuple[Any, ...], momentum: float) -> None:
    channel_count = arrays[0].size
    numbers = (np.float32(momentum), np.int64(channel_count))
    grid = max(1, -(-channel_count // _BLOCK))
    runtime.launch("extremes_join", {"MOVE": moving}, grid, _BLOCK, (*arrays, *numbers))
