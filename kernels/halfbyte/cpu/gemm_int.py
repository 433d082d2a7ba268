# SPDX-License-Identifier: Apache-2.0
"""Plan and launch integer products: block sizes, scratch memory, threads."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from halfbyte.arrays import address_of
from halfbyte.cpu import blocking, isa, threads
from halfbyte.cpu.gemm_f16 import tasks_of
from halfbyte.cpu.gemm_int_few import FEW_ROWS, multiply_few, multiply_few_groups, multiply_laid_out
from halfbyte.cpu.gemm_int_many import multiply_many, multiply_many_groups
from halfbyte.cpu.gemm_int_operands import REQUEST, Request
from halfbyte.cpu.gemm_int_panels import ALONG_N, PANEL_ROW, STAGE_BYTES, pack
from halfbyte.cpu.gemm_int_parts import scratch_layout
from halfbyte.cpu.gemm_int_rows import SMALL, padded, unit_of
from halfbyte.cpu.gemm_int_strips import TILE_ROWS
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.launching import Plan, aligned_bytes, launch
from halfbyte.cpu.matrices import CACHE_LINE
from halfbyte.quantized import Codes

if TYPE_CHECKING:
    from halfbyte.arrays import Array
    from halfbyte.tensors import PackedMatrix

NO_OUT = np.empty((0, 0), np.int32)
BYTE_FLIP, NIBBLE_FLIP = 0x80808080, 0x08080808

_RATE = 4  # multiply-adds of integers in the time of one of halves, with VNNI

# Bytes of plain b up to which all its panels are kept for the blocks of rows after the first.
_MOST_KEPT = 1 << 26

# Rows up to which plain b is packed in address order, and units of k at a time: 4096 x 4096 from
# memory, of the read loop's rate (Zen 5), 1, 16, 32 rows: 8 units 0.50, 0.30, 0.17; 32 units 0.44,
# 0.29, 0.21. Packing takes as long as reading does, and is not hidden behind it.
_LAID_OUT_ROWS = 32
_FEW_LAID_OUT, _MANY_LAID_OUT = 8, 32


class Panels(NamedTuple):
    """b (k, n) of a PackedMatrix: units of panels, one below the other."""

    codes: Array  # uint8 (panels * units, 256)
    bits: int  # 8, SMALL or 4
    signed: bool


@functools.lru_cache(maxsize=4096)
def plan(
    products: int, m: int, n: int, k: int, span: int, bits: int, in_order: bool, packed: bool,
    grouped: bool, readied: bool, thread_count: int,
) -> Plan:  # fmt: skip
    """Choose block sizes for the caches and split C over threads.

    in_order: b is plain, of bytes contiguous along n, and what is added to products is known
    before all of it is packed. span: k, or how much of it has a scale of its own. readied: panels
    are expanded, or their columns summed up, for each block of rows. Tasks: products, rows,
    columns, each from .. to, k, and KC, MC (many rows) or KC (few).
    """
    tasks = tasks_of(products, m, n, k, thread_count, _RATE)
    rows = max(task[3] - task[2] for task in tasks)
    columns = max(task[5] - task[4] for task in tasks)
    few = min(task[3] - task[2] for task in tasks) < TILE_ROWS or rows <= FEW_ROWS
    large = n * k > blocking.cache_bytes(2)
    laid_out = in_order and large and rows <= _LAID_OUT_ROWS
    unit = unit_of(bits)
    units = padded(k, span, unit) // unit
    if few or laid_out:
        kc = max(units, 1)
        if laid_out:
            kc = _FEW_LAID_OUT if rows <= FEW_ROWS else _MANY_LAID_OUT
        panels = -(-columns // PANEL) if laid_out else 1
        room = 0 if packed else (kc + 1) * panels if laid_out else units
        end = scratch_layout(CACHE_LINE, rows, k, span, bits, 0, rows * panels, room).end
        ways = (kc,)
        kernel = multiply_few_groups if grouped else multiply_few
        kernel = multiply_laid_out if laid_out else kernel
    else:
        # A panel, expanded perhaps, takes a quarter of the L2 cache, a block of a less than half.
        most = max(64, blocking.cache_bytes(2) // 4 // (PANEL_ROW * (4 if bits == 4 else 2)))
        whole = max(1, padded(span, span, unit) // unit) if grouped else 1
        kc = blocking.split(max(units, 1), max(whole, most // whole * whole), whole)
        part = 2 if readied else 8  # that takes as long as a strip of rows or so
        limit = max(16 * TILE_ROWS, blocking.cache_bytes(2) // part // max(k, 1))
        if not packed and n * k > _MOST_KEPT:
            limit = rows + TILE_ROWS  # one block
        mc = blocking.split(rows, limit // TILE_ROWS * TILE_ROWS, TILE_ROWS)
        panels = 0 if packed else -(-columns // PANEL) if mc < rows else 1
        kept = -(-mc // TILE_ROWS) * TILE_ROWS
        end = scratch_layout(CACHE_LINE, mc, k, span, bits, kc, kept, panels * units).end
        ways = (kc, mc)
        kernel = multiply_many_groups if grouped else multiply_many
    return Plan(kernel, end, tuple(np.array((*task, k, *ways), np.int64) for task in tasks))


@functools.lru_cache(maxsize=64)
def _plain_request(
    a_signed: bool, b_bits: int, b_signed: bool, b_nibbles: int, packed: bool
) -> Array:
    """The Request of two matrices of bytes, or nibbles, without zero points."""
    request = Request(*[0] * len(REQUEST))._replace(
        a_bits=8,
        a_flip=0 if a_signed else BYTE_FLIP,
        b_bits=b_bits,
        b_flip=flip_of(b_bits, b_signed),
        b_nibbles=b_nibbles,
        packed=int(packed),
    )
    return np.array(request, np.int64)


def flip_of(bits: int, signed: bool) -> int:
    """What makes four codes in a dword unsigned, by xor."""
    return 0 if not signed else NIBBLE_FLIP if bits == 4 else BYTE_FLIP


def expands(bits: int) -> bool:
    """Whether panels of such codes are not what the active instruction set multiplies."""
    return bits == 4 or not isa.active().vnni


def multiply(
    a: Codes, b: Codes | PackedMatrix, out: Array, a_zero_point: Array | None,
    b_zero_point: Array | None,
) -> None:  # fmt: skip
    """out = (a - a_zero_point) @ (b - b_zero_point), exactly.

    out int32 (m, n) or (t, m, n), not empty; a and b have as many dimensions, but for a packed b.
    Zero points: contiguous int32, one for all or one a row of a, a column of b.
    """
    packed = type(b) is not Codes
    if packed:
        k = b.shape[0]
        panels = b._contents
        b_array, b_bits, b_signed = panels.codes, panels.bits, panels.signed
        nibbles = 0
    else:
        b_array, b_bits, b_signed = b
        k = b_array.shape[-2]
        nibbles = ALONG_N if b_bits == 4 else 0
    a_array, a_bits, a_signed = a
    request = _plain_request(a_signed, b_bits, b_signed, nibbles, packed)
    products = 1
    simple = a_bits == 8 and out.ndim == 2
    if not (simple and a_zero_point is None is b_zero_point):
        values = request.tolist()
        fields = Request(*values)._replace(a_bits=a_bits)
        if a_bits == 4:
            fields = fields._replace(a_flip=8 if a_signed else 0)
        if a_zero_point is not None:
            fields = fields._replace(
                a_zeros=address_of(a_zero_point), a_zeros_step=4 * (a_zero_point.size > 1)
            )
        if b_zero_point is not None:
            fields = fields._replace(
                b_zeros=address_of(b_zero_point), b_zeros_step=4 * (b_zero_point.size > 1)
            )
        if out.ndim == 3:
            products = out.shape[0]
            fields = fields._replace(
                a_next=a_array.strides[0],
                b_next=0 if packed else b_array.strides[0],
                out_next=out.strides[0],
            )
            a_array, out = a_array[0], out[0]
            b_array = b_array if packed else b_array[0]
        request = np.array(fields, np.int64)
    m, n = out.shape
    in_order = not packed and b_bits == 8 and b_array.strides[1] == 1
    shifted = a_zero_point is not None or not (a_bits == 4 or a_signed)
    in_order = in_order and not shifted
    launch(
        plan(products, m, n, k, max(k, 1), b_bits, in_order, packed, False,
             shifted or expands(b_bits), threads.get_num_threads()),
        (a_array, b_array, out, request), (a_zero_point, b_zero_point),
    )  # fmt: skip


def _is_small(b: Array) -> bool:
    """Whether products of two codes of b, stored unsigned, with any signed ones fit 16 bits."""
    lowest, highest = (-64, 64) if b.dtype == np.int8 else (0, 128)
    return bool(b.size) and lowest <= b.min() and b.max() <= highest


def pack_panels(
    b: Array, k: int, n: int, bits: int, nibbles: int, signed: bool, span: int
) -> tuple[Array, int]:
    """Units of panels of b (k, n), whose array has one axis halved if of 4 bits; and their bits,
    which are SMALL where bytes allow it."""
    unit = unit_of(bits)
    count, units = -(-n // PANEL), padded(k, span, unit) // unit
    panels = aligned_bytes((count * units, PANEL_ROW))
    if k and n:
        parts = min(threads.get_num_threads(), count) if k * n > 1 << 20 else 1
        cuts = [count * t // parts for t in range(parts + 1)]
        options = (k, n, bits, nibbles, flip_of(bits, signed), span)
        threads.run(
            [
                functools.partial(_pack_part, b, panels, options, p0, p1)
                for p0, p1 in itertools.pairwise(cuts)
            ]
        )
    if bits == 8 and _is_small(b):
        bits = SMALL
        if signed:
            panels -= 64
    return panels, bits


def _pack_part(b: Array, panels: Array, options: tuple[int, ...], p0: int, p1: int) -> None:
    place = np.empty(STAGE_BYTES, np.uint8)
    pack(b, panels, np.array((*options, address_of(place)), np.int64), p0, p1)


def prepack(b: Codes, shape: tuple[int, int]) -> Panels:
    """b (k, n) as panels."""
    k, n = shape
    nibbles = ALONG_N if b.bits == 4 else 0
    codes, bits = pack_panels(b.array, k, n, b.bits, nibbles, b.signed, max(k, 1))
    return Panels(codes, bits, b.signed)


def unpack(panels: Panels, shape: tuple[int, int]) -> Array:
    """The codes (k, n), int8 or uint8, that were packed."""
    k, n = shape
    return unpack_codes(panels.codes, k, n, panels.bits, panels.signed, max(k, 1))


def unpack_codes(codes: Array, k: int, n: int, bits: int, signed: bool, span: int) -> Array:
    """The codes (k, n) that panels hold, without what groups of `span` are filled up with."""
    unit = unit_of(bits)
    count, units = -(-n // PANEL), padded(k, span, unit) // unit
    stored = codes.reshape(count, units, PANEL, 4)
    if bits == 4:
        stored = np.concatenate([stored & 15, stored >> 4], axis=-1)
    plain = stored.transpose(1, 3, 0, 2).reshape(units * unit, count * PANEL)[:, :n]
    group = -(-span // unit) * unit
    rows = np.arange(k)
    plain = plain[rows // span * group + rows % span]
    if not signed:
        return plain
    offset = {8: 128, SMALL: 64, 4: 8}[bits]
    return (plain.astype(np.int16) - offset).astype(np.int8)
