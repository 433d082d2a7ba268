# SPDX-License-Identifier: Apache-2.0
"""Lay out codes along k, as the integer kernels take them: see gemm_int_pack.cu.

Rows are a multiple of 16 bytes long, zeros at their ends. Codes of 8 bits lie as they are; 4-bit
ones of b in blocks of 32, which an mma's registers are unpacked from; those of a become bytes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.cuda import runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.cuda.gemm_f16_problem import View
    from halfbyte.quantized import Codes

# How codes lie, as gemm_int_pack.cu counts.
BYTES, ALONG, ACROSS, BLOCKS, TURNED = range(5)

BLOCK = 32  # codes of 4 bits
_CHUNK = 16  # bytes of a copy
_BATCH = 3
_SIZE, _THREADS = 64, 256
_MOST_PRODUCTS = 65535  # blocks along y


class Source(NamedTuple):
    """Rows of codes along k, with one or more leading dimensions; strides are those of bytes."""

    address: int
    row: int
    step: int
    batch: tuple[int, ...]
    form: int
    signed: bool
    padded: bool = False  # rows go on with zeros to a multiple of 16 bytes

    @classmethod
    def of(cls, view: View, form: int, signed: bool) -> Source:
        """Return the codes of an operand of a product."""
        return cls(view.address, view.row, view.column, view.batch, form, signed)


def pack(b: Codes, shape: tuple[int, ...]) -> Any:
    """Return b (k, n), any strides, as rows along k: uint8, (n, bytes)."""
    k, n = shape
    step, row = b.array.strides
    form = BYTES if b.bits == 8 else ACROSS
    source = Source(runtime.address(b.array), row, step, (), form, b.signed)
    return laid_out(source, (), n, k, BYTES if b.bits == 8 else BLOCKS)


def unpack(packed: Any, shape: tuple[int, int], bits: int, dtype: Any) -> Any:
    """Return what was packed, (k, n) in C order, of this dtype; of 4 bits, two a byte along n."""
    k, n = shape
    target = runtime.empty((k, n if bits == 8 else -(-n // 2)), dtype)
    # Rows of the result are along n, and what was along k is across them.
    form, step = (BYTES, 1) if bits == 8 else (TURNED, 0)
    source = Source(runtime.address(packed), step, packed.strides[0], (), form, signed=False)
    write(source, (), target, k, n, n, BYTES if bits == 8 else ALONG)
    return target


def laid_out(source: Source, batch: tuple[int, ...], rows: int, k: int, to: int) -> Any:
    """Return codes as rows along k of one leading dimension or more: uint8, (*batch, rows, bytes).

    to: BYTES or BLOCKS.
    """
    unit = _CHUNK if to == BYTES else BLOCK
    padded = -(-k // unit) * unit
    target = runtime.empty((*batch, rows, padded if to == BYTES else padded // 2), np.uint8)
    write(source, batch, target, rows, k, padded, to)
    return target


def variants() -> Iterator[tuple[str, dict[str, int | str]]]:
    """Yield the one kernel there is."""
    yield "gemm_int_pack", {}


def write(
    source: Source, batch: tuple[int, ...], target: Any, rows: int, k: int, padded: int, to: int,
    offset: int = 0,
) -> None:  # fmt: skip
    """Write codes of up to three leading dimensions, in C order, from a byte of the target on.

    to: BYTES, ALONG or BLOCKS. Rows are `padded` codes long there.
    """
    if not target.size:
        return
    layout = np.zeros(1, _PACKING)
    layout["target"] = runtime.address(target) + offset
    layout["source"] = source.address
    layout["row"], layout["step"] = source.row, source.step
    missing = _BATCH - len(batch)
    layout["batch"] = (0,) * missing + source.batch
    layout["sizes"] = ((1,) * missing + batch)[1:]
    layout["rows"], layout["depth"], layout["padded"] = rows, k, padded
    layout["tiles"] = tiles = -(-padded // _SIZE)
    layout["from"], layout["to"], layout["is_signed"] = source.form, to, source.signed
    layout["by_rows"] = abs(source.row) < abs(source.step)
    layout["words"] = _words(source, rows, k)
    products = math.prod(batch)
    for first in range(0, products, _MOST_PRODUCTS):
        layout["first"] = first
        grid = tiles * -(-rows // _SIZE), min(products - first, _MOST_PRODUCTS)
        runtime.launch("gemm_int_pack", {}, grid, _THREADS, (layout,))


def _words(source: Source, rows: int, k: int) -> bool:
    """Whether codes are words of four bytes, along rows where these lie closer together."""
    by_rows = abs(source.row) < abs(source.step)
    near, far = (source.row, source.step) if by_rows else (source.step, source.row)
    size, pairs = (rows, ACROSS) if by_rows else (k, ALONG)
    places = (source.address, far, *source.batch)
    return (
        source.form in (BYTES, pairs)
        and near == 1
        and size % (8 if source.form == pairs else 4) == 0
        and all(x % 4 == 0 for x in places)
    )


_PACKING = np.dtype(
    [
        *((name, np.uint64) for name in ("source", "target")),
        *((name, np.int64) for name in ("row", "step")),
        ("batch", np.int64, (_BATCH,)),
        ("sizes", np.int64, (2,)),
        *((name, np.int64) for name in ("rows", "depth", "padded")),
        *((name, np.int64) for name in ("tiles", "first")),
        *((name, np.int32) for name in ("from", "to", "is_signed", "by_rows", "words")),
    ],
    align=True,
)
