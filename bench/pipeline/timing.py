# SPDX-License-Identifier: Apache-2.0
"""Milliseconds of a batch, on one thread or a GPU: contenders take turns, the fastest counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.pipeline.devices import CPU, Array, Device

BATCHES = (1, 256)
ROUNDS, QUICK_ROUNDS = 15, 3
SECONDS = 0.01  # of a turn

Call = Callable[[Array], Any]


def in_turn(
    calls: dict[str, Call], x: Array, rounds: int, device: Device = CPU
) -> dict[str, dict[int, float]]:
    """For each contender and batch the fastest of its turns: what else runs here only adds."""
    known: dict[str, dict[int, float]] = {name: {} for name in calls}
    for batch in BATCHES:
        rows = x[:batch]
        counts = {
            name: max(1, round(SECONDS / _seconds(call, rows, device)))
            for name, call in calls.items()
        }
        for _ in range(rounds):
            for name, call in calls.items():
                took = 1e3 * _seconds(call, rows, device, counts[name])
                known[name][batch] = min(took, known[name].get(batch, took))
    return known


def _seconds(call: Call, x: Array, device: Device, count: int = 1) -> float:
    """Of one call: the mean of so many, after one that is not counted. A GPU is waited for once."""
    call(x)
    device.wait()
    began = time.perf_counter()
    for _ in range(count):
        call(x)
    device.wait()
    return (time.perf_counter() - began) / count
