# SPDX-License-Identifier: Apache-2.0
"""Where a run's arrays are: NumPy's in the CPU's memory, or CuPy's on a GPU.

What is drawn is drawn by NumPy and moved, so that a network begins the same in both places. From
there on nothing asks where it is: functions of NumPy and operators on arrays of CuPy are CuPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import halfbyte_reference as reference
from halfbyte import QuantizedTensor

Array = Any  # of NumPy or CuPy


def _nothing() -> None:
    """Wait for the CPU."""


@dataclass(frozen=True)
class Device:
    library: str = "numpy"  # whose arrays they are
    asarray: Callable[[Any], Array] = np.asarray
    wait: Callable[[], None] = _nothing  # until all that was asked for is done


CPU = Device()


def gpu() -> Device:
    import cupy

    return Device("cupy", cupy.asarray, cupy.cuda.Device().synchronize)


def on_gpu(x: Array) -> bool:
    return not isinstance(x, np.ndarray)


def on_host(x: Array) -> np.ndarray:
    """x itself, or a copy of what is on a GPU, which is waited for."""
    return x.get() if on_gpu(x) else x  # type: ignore[no-any-return]


def downloaded(q: QuantizedTensor) -> QuantizedTensor:
    """The same codes, scales and zero points in the CPU's memory."""
    zero_point = None if q.zero_point is None else on_host(q.zero_point)
    named = {name: getattr(q, name) for name in ("bits", "axis", "group_size", "signed", "shape")}
    return QuantizedTensor(on_host(q.values), on_host(q.scale), zero_point, **named)


def codes_of(q: QuantizedTensor) -> np.ndarray:
    """int8 codes of any bits."""
    return reference.unpack_nibbles(q.values, q.shape[-1], q.signed) if q.bits == 4 else q.values
