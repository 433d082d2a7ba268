# SPDX-License-Identifier: Apache-2.0
"""Plan and launch int32 sums to codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import copies, elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP = 4


def requantize(
    acc: Any, out: Any, scale: Any, zero_point: Any, bias: Any, axis: int | None, *, relu: bool
) -> None:
    """int32 to codes over the full range of out's dtype; all float32, () or one a channel."""
    limits = np.iinfo(out.dtype)
    channels = [copies.aligned(value) for value in (scale, zero_point, bias)]
    plan = elements.plan(
        acc.shape,
        [elements.elements(acc), elements.elements(out)],
        [elements.channels(value, acc.ndim, axis, None) for value in channels],
        step=_STEP,
    )
    numbers = (np.int32(limits.min), np.int32(limits.max), np.int32(relu))
    arguments = (acc, out, *channels, plan.layout, *numbers)
    runtime.launch("requantize", plan.defines, plan.grid, elements.THREADS, arguments)


def variants() -> Iterator[tuple[str, elements.Defines]]:
    """Yield the file and the defines of the kernels."""
    for defines in elements.forms(_STEP, packed=False, along=True):
        yield "requantize", defines
