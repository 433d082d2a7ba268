# SPDX-License-Identifier: Apache-2.0
"""The same elements of several arrays in fewer dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def merge_dimensions(
    shape: Sequence[int], *strides: Sequence[int], by: int = -1
) -> tuple[list[int], ...]:
    """Shape and strides in the fewest dimensions, at least one.

    by: number of the operand whose widest strides come first.
    """
    dimensions = sorted(
        (d for d in zip(shape, *strides, strict=True) if d[0] != 1),
        key=lambda d: -abs(d[1:][by]),
    )
    merged: list[tuple[int, ...]] = []
    for size, *steps in dimensions:
        if merged and all(
            wide == step * size for wide, step in zip(merged[-1][1:], steps, strict=True)
        ):
            merged[-1] = (merged[-1][0] * size, *steps)
        else:
            merged.append((size, *steps))
    if not merged:
        merged = [(1, *(0 for _ in strides))]
    return tuple(map(list, zip(*merged, strict=True)))
