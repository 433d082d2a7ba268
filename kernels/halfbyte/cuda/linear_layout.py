# SPDX-License-Identifier: Apache-2.0
"""Bring the operands of a layer into the layout that its products read: see linear_layout.cuh."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.arrays import F16, F32
from halfbyte.cuda import copies, runtime
from halfbyte.quantized import I32, U8, code_dtype, values_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    Defines = dict[str, int | str]

BLOCK_K = 32  # places of a block; groups are padded to whole ones
_BYTES, _NIBBLES, _HALVES, _SINGLES = range(4)
_WARP, _MOST = 32, 256
_FLIPS = {8: 0x80, 4: 8}  # of unsigned codes, by their bits


class Layout(NamedTuple):
    """How the steps of k of a row are laid out."""

    k: int
    group: int  # steps of k; k where there are no groups, but 1 or more
    groups: int
    grouped: bool

    @property
    def padded(self) -> int:
        """Places of a group."""
        return _round_up(self.group, BLOCK_K)

    @property
    def places(self) -> int:
        """Places of a row, whole blocks."""
        before = max(self.groups - 1, 0)
        return before * self.padded + _round_up(self.k - before * self.group, BLOCK_K)

    @property
    def in_fours(self) -> bool:
        """Whether four places at a multiple of four begin at a multiple of four steps of k."""
        return self.groups <= 1 or self.group % 4 == 0

    @property
    def dense(self) -> bool:
        """Whether places are steps of k."""
        return self.groups <= 1 or self.group % BLOCK_K == 0


class Matrix(NamedTuple):
    """Rows of an array, strides in bytes; of codes of 4 bits, from byte to byte."""

    array: Any
    rows: int
    row: int
    step: int

    def vectors_of(self, size: int) -> bool:
        """Whether neighbours along a row are contiguous, and accesses of so many bytes aligned."""
        places = (runtime.address(self.array), self.row)
        contiguous = self.step == self.array.itemsize
        return contiguous and all(place % size == 0 for place in places)


def layout_of(k: int, group_size: int | None) -> Layout:
    """Return the layout of rows of k steps."""
    if group_size is None:
        return Layout(k, max(k, 1), 1, grouped=False)
    group = max(1, min(group_size, k))
    return Layout(k, group, -(-k // group), grouped=True)


def flip_of(bits: int, signed: bool) -> int:
    """Return which bit of codes changes so that they are signed: its value is subtracted.

    Codes of 2 and 3 bits lie in bytes, and are what they are either way.
    """
    return 0 if signed else _FLIPS.get(bits, 0)


def matrix_of(x: Any) -> Matrix:
    """View of (..., k) as rows, or a copy where strides allow no view."""
    rows = math.prod(x.shape[:-1])
    folded = row_stride(x)
    if folded is None:
        x = copies.copied(x)
        folded = x.shape[-1] * x.itemsize
    return Matrix(x, rows, folded, x.strides[-1] if x.shape[-1] > 1 else x.itemsize)


def row_stride(x: Any) -> int | None:
    """Return the stride between rows of (..., k), or None where they have no single one."""
    leading = [d for d in zip(x.shape[:-1], x.strides[:-1], strict=True) if d[0] != 1]
    for (_, stride), (inner_size, inner_stride) in itertools.pairwise(leading):
        if stride != inner_stride * inner_size:
            return None
    return leading[-1][1] if leading else 0


def quantized(x: Matrix, layout: Layout, pitch: int, *, sums: bool) -> tuple[Any, Any, Any]:
    """Return codes (rows, pitch) of 8 bits of rows of numbers, their scales, and sums of groups."""
    codes = runtime.empty((x.rows, pitch), U8)
    scale = runtime.empty((x.rows,), F32)
    added = _sums(x.rows, layout, wanted=sums)
    kind = _SINGLES if x.array.dtype == F32 else _HALVES
    rows = _rows(x, codes, layout, scale=scale, sums=added)
    rows["vectors"] = x.vectors_of(4 * x.array.itemsize) and layout.in_fours
    _launch("linear_rows", {"FROM": kind, "TO": _BYTES, "ORDERED": 0}, x.rows, pitch // 4, rows)
    return codes, scale, added


def halves(x: Matrix, layout: Layout, places: int, *, ordered: bool = False) -> Any:
    """Return rows of numbers as halves (rows, places); `ordered` for tiles of them."""
    target = runtime.empty((x.rows, places), F16)
    kind = _SINGLES if x.array.dtype == F32 else _HALVES
    rows = _rows(x, target, layout)
    rows["vectors"] = x.vectors_of(4 * x.array.itemsize) and layout.in_fours
    _launch(
        "linear_rows",
        {"FROM": kind, "TO": _HALVES, "ORDERED": int(ordered)},
        x.rows,
        places // 4,
        rows,
    )
    return target


def packed(
    x: Matrix, bits: int, signed: bool, layout: Layout, pitch: int, to_bits: int, *, sums: bool
) -> tuple[Any, Any]:
    """Return codes (rows, pitch bytes), signed and of so many bits, and sums of groups."""
    target = runtime.empty((x.rows, pitch), U8)
    added = _sums(x.rows, layout, wanted=sums)
    nibbles = bits == 4
    rows = _rows(x, target, layout, sums=added)
    rows["flip"] = flip_of(bits, signed) if to_bits == 4 or not nibbles else 0
    rows["is_signed"] = signed
    rows["vectors"] = x.vectors_of(4) and layout.in_fours
    defines: Defines = {"FROM": int(nibbles), "TO": int(to_bits == 4), "BACK": 0}
    _launch("linear_codes", defines, x.rows, pitch // 4, rows)
    return target, added


def unpacked(
    codes: Any, stored: int, bits: int, signed: bool, layout: Layout, shape: tuple[int, int]
) -> Any:
    """Return what was packed, of so many stored bits, as the values of a QuantizedTensor (n, k)."""
    dtype = U8 if bits == 4 else code_dtype(signed)
    values = runtime.empty(values_shape(shape, bits), dtype)
    source = Matrix(codes, shape[0], codes.shape[1], 1)
    rows = _rows(source, values, layout)
    rows["flip"] = flip_of(bits, signed) if stored == bits or bits != 4 else 0
    defines: Defines = {"FROM": int(stored == 4), "TO": int(bits == 4), "BACK": 1}
    _launch("linear_codes", defines, shape[0], values.shape[1], rows)
    return values


def variants() -> Iterator[tuple[str, Defines]]:
    """Yield the file and the defines of every kernel."""
    for kind, (to, ordered) in itertools.product(
        (_SINGLES, _HALVES), ((_BYTES, 0), (_HALVES, 0), (_HALVES, 1))
    ):
        yield "linear_rows", {"FROM": kind, "TO": to, "ORDERED": ordered}
    for from_, to, back in ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)):
        yield "linear_codes", {"FROM": from_, "TO": to, "BACK": back}


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _sums(rows: int, layout: Layout, *, wanted: bool) -> Any:
    return runtime.zeros((rows, layout.groups), I32) if wanted else None


def _rows(
    x: Matrix, target: Any, layout: Layout, *, scale: Any = None, sums: Any = None
) -> np.ndarray[Any, Any]:
    """Return what kernels call Rows."""
    rows = np.zeros(1, _ROWS)
    rows["source"], rows["target"] = runtime.address(x.array), runtime.address(target)
    for name, array in (("scales", scale), ("sums", sums)):
        rows[name] = 0 if array is None or not array.size else runtime.address(array)
    rows["row"], rows["step"] = x.row, x.step
    rows["pitch"] = target.shape[1] * target.itemsize
    rows["k"], rows["group"], rows["padded"] = layout.k, layout.group, layout.padded
    if layout.groups <= 1:
        rows["padded"] = ONE_GROUP
    rows["groups"] = layout.groups
    places = (runtime.address(x.array), x.row, x.step)
    rows["aligned"] = all(place % x.array.itemsize == 0 for place in places)
    return rows


def _launch(stem: str, defines: Defines, grid: int, units: int, rows: np.ndarray[Any, Any]) -> None:
    """Launch a block a row, no more threads than there are units."""
    if grid and (units or stem == "linear_rows"):
        block = min(_MOST, max(1, -(-units // _WARP)) * _WARP)
        runtime.launch(stem, defines, grid, block, (rows,))


ONE_GROUP = 1 << 40  # places of the only group: more than there are

_ROWS = np.dtype(
    [
        *((name, np.uint64) for name in ("source", "target", "scales", "sums")),
        *((name, np.int64) for name in ("row", "step", "pitch", "k", "group", "padded")),
        *((name, np.int32) for name in ("groups", "flip", "is_signed", "vectors", "aligned")),
    ],
    align=True,
)
