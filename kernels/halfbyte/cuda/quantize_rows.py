# SPDX-License-Identifier: Apache-2.0
"""Plan and launch codes and scales at once, for rows that fit a block's registers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.arrays import F32
from halfbyte.cuda import elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.quantized import Scheme

_BLOCK, _LARGEST_BLOCK, _WARP = 256, 1024, 32


class _Teams(NamedTuple):
    """How many threads have a row, and how many units each of them has."""

    threads: int
    items: int
    most: int  # threads of a block

    @property
    def warps(self) -> bool:
        """Whether a row takes a block."""
        return self.threads > _WARP or self.most == _LARGEST_BLOCK


def quantize_rows(x: Any, out: Any, scale: Any, zero_point: Any, bad: Any, scheme: Scheme) -> bool:
    """Fill in codes, scales and zero points, and set `bad` where x is not finite.

    Returns False, and does nothing, where a scale's elements are no row of vectors, or too many.
    x has elements; scale and zero_point are in C order.
    """
    packed = scheme.bits == 4
    plan = elements.plan(
        x.shape,
        [elements.elements(x), elements.nibbles(out) if packed else elements.elements(out)],
        elements.scales_and_zero_points(scale, zero_point, x.ndim, scheme),
        step=elements.step_of(x.dtype, packed=packed),
        group_size=scheme.group_size,
    )
    teams = _teams(plan.row_units, x.dtype, packed=packed)
    if teams is None or not plan.row_has_one_channel or plan.defines["WIDE"]:
        return False
    affine = zero_point is not None
    defines = plan.defines | _defines(x.dtype, teams, packed=packed, affine=affine)
    block = teams.threads if teams.warps else _BLOCK
    grid = plan.rows if teams.warps else -(-plan.rows * teams.threads // _BLOCK)
    pointers = (x, out, scale, zero_point if affine else elements.NULL, bad)
    shift = 0 if teams.warps else teams.threads.bit_length() - 1
    numbers = (plan.rows, shift, scheme.qmin, scheme.qmax)
    arguments = (*pointers, plan.layout, *map(np.int32, numbers))
    runtime.launch("quantize_rows", defines, grid, block, arguments)
    return True


def variants() -> Iterator[tuple[str, elements.Defines]]:
    """Yield the file and the defines of the kernels for two dimensions, and a few for others."""
    both = (False, True)
    for dtype, packed, affine in itertools.product(elements.FLOATS, both, both):
        step = elements.step_of(dtype, packed=packed)
        for ndim, units in ((2, 8), (2, 100), (2, 1000), (2, 4000), (1, 1000)):
            teams = _teams(units, dtype, packed=packed)
            if teams is not None:
                rows = elements.vectors(ndim, step)
                yield "quantize_rows", rows | _defines(dtype, teams, packed=packed, affine=affine)


def _teams(units: int, dtype: np.dtype[Any], *, packed: bool) -> _Teams | None:
    """Return the teams for rows of so many units; None where a block has too few registers."""
    if units <= _WARP:
        return _Teams(1 << (units - 1).bit_length(), 1, _BLOCK)
    if units <= 4 * _WARP:
        return _Teams(_WARP, 4, _BLOCK)
    most = _LARGEST_BLOCK if units > 4 * _BLOCK else _BLOCK
    items = 8 if most == _LARGEST_BLOCK and dtype == F32 and not packed else 4
    threads = -(-units // (_WARP * items)) * _WARP
    return None if threads > most else _Teams(threads, items, most)


def _defines(
    dtype: np.dtype[Any], teams: _Teams, *, packed: bool, affine: bool
) -> elements.Defines:
    return {
        "FROM": elements.type_name(dtype),
        "NIBBLES": int(packed),
        "AFFINE": int(affine),
        "WARPS": int(teams.warps),
        "ITEMS": teams.items,
        "MOST": teams.most,
    }
