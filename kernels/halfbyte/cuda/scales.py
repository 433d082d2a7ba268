# SPDX-License-Identifier: Apache-2.0
"""Plan and launch scales and zero points for extremes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.quantized import Scheme

_BLOCK = 256


def from_extremes(lo: Any, hi: Any, scale: Any, zero_point: Any, scheme: Scheme) -> None:
    """Fill in what there is for each lo and hi; all in C order. No zero_point: symmetric."""
    if not lo.size:
        return
    pointers = (lo, hi, scale, elements.NULL if zero_point is None else zero_point)
    limits = (np.int32(scheme.qmin), np.int32(scheme.qmax))
    arguments = (*pointers, np.int64(lo.size), *limits)
    runtime.launch("scales", {}, -(-lo.size // _BLOCK), _BLOCK, arguments)


def variants() -> Iterator[tuple[str, dict[str, int | str]]]:
    """Yield the file and the defines of the kernel."""
    yield "scales", {}
