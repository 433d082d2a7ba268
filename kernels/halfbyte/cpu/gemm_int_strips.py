# SPDX-License-Identifier: Apache-2.0
"""The inner loops of integer products: a few rows of a, all of k, the columns of one panel of b.

A sum starts at what b's offset contributes (b is stored unsigned, `offset` more than it means):

    sum xs (u - offset - bz) = dot(xs, u) - offset * sum xs - bz * sum xs

and, where a has a zero point, goes on with what that contributes, az * -sum (u - offset - bz).
"""

from typing import NamedTuple

import numpy as np
from numba.core import types
from numba.extending import overload

from halfbyte.cpu.compile import inlined, inner
from halfbyte.cpu.simd import (
    BITS,
    SINGLE,
    WORD,
    a_bytes,
    pair_units,
    prefetch_line,
    shape_columns,
    tile_add_outer,
    tile_add_pairs,
    tile_add_scaled,
    tile_dot,
    tile_load,
    tile_scale,
    tile_spread,
    tile_store,
    tile_zero,
)

PANEL_ROW = 256  # bytes of a unit of k of a panel: 64 dwords
# How far ahead a strip fetches the panel that it reads itself. Where nothing else is to be fetched,
# the next strip of a is, its first row: of the roof, 2048 x 2048 x 1024 (Zen 5) 0.951 without and
# 0.968 with; all six rows 0.967; the tile of c as well 0.960.
PANEL_AHEAD = 4096
# The most strips that fetch the next panel together: with more, its reading hardly counts.
FETCHING_STRIPS = 16
TILE_ROWS = 6  # of products of many rows


class Made(NamedTuple):
    """Where sums go: address and bytes between rows. If they go straight to a layer's result, the
    addresses of their rows' scales and of their columns' scales, whose bias is `BIAS` further on;
    else 0."""

    at: int
    row: int
    rows: int
    columns: int


BIAS = PANEL_ROW


class Fetch(NamedTuple):
    """What to bring from memory while a strip is multiplied: from this address on (0: nothing), so
    many bytes for each unit of k; of neighbouring lines, the processor fetches both."""

    at: int
    step: int


@inlined
def first_fetch(packed, panel, following, strips, factor):
    """What the first of so many strips fetches; a unit of stored panels is `factor` of its own.

    A few strips fetch the next panel together, so that it arrives while this one is multiplied, and
    not in the first strip (16, 64 rows: 1.32, 1.11 times as fast on Zen 5). Otherwise the first one
    fetches the panel that it reads.
    """
    step = PANEL_ROW // (strips * factor)
    at = following
    if step > 128 or strips > FETCHING_STRIPS:
        step, at = PANEL_ROW, panel + PANEL_AHEAD
    if not packed:
        at = np.int64(0)
    return Fetch(at, step)


@inlined
def next_fetch(fetch, units):
    """What the next strip of so many units fetches."""
    at = fetch.at + units * fetch.step
    if fetch.at == 0 or fetch.step == PANEL_ROW:
        at = np.int64(0)
    return Fetch(at, fetch.step)


class Terms(NamedTuple):
    """Addresses of what is added to the products. Rows have an int32 a group: `starts`, `sums` and,
    one for all groups, `zeros`. Columns have 64 int32 a group: `b_zeros` and `b_sums`, negative;
    0 where there are none."""

    starts: int
    sums: int
    zeros: int
    row: int  # bytes between rows of starts and sums
    b_zeros: int
    b_sums: int


@inlined
def started(isa, shape, terms, i, group, j):
    """The tile of row i and column j that a group's products are added to."""
    at = i * terms.row + 4 * group
    acc = tile_spread(isa, shape, terms.starts + at, terms.row)
    if terms.b_zeros != 0:
        columns = terms.b_zeros + group * PANEL_ROW + 4 * j
        acc = tile_add_outer(acc, terms.sums + at, terms.row, columns)
    if terms.b_sums != 0:
        columns = terms.b_sums + group * PANEL_ROW + 4 * j
        acc = tile_add_outer(acc, terms.zeros + 4 * i, 4, columns)
    return acc


@inlined
def add_products(isa, shape, kind, acc, a, a_row, b, units, fetch, following):
    """acc + a b, so many units of k. Fetches what it is told to, or the next strip of a."""
    step, most = a_bytes(isa, kind), pair_units(isa, kind)
    fetching, twice, at = fetch.at != 0, fetch.step == PANEL_ROW, fetch.at
    if most == 0:
        for _ in range(units):
            if fetching:
                prefetch_line(at)
                if twice:
                    prefetch_line(at + 128)
                at += fetch.step
            elif following:
                prefetch_line(a + TILE_ROWS * a_row)
            acc = tile_dot(isa, acc, a, a_row, b, kind)
            a += step
            b += PANEL_ROW
        return acc
    while units > 0:
        count = most if units > most else units
        pairs = tile_zero(isa, shape, WORD)
        for _ in range(count):
            if fetching:
                prefetch_line(at)
                if twice:
                    prefetch_line(at + 128)
                at += fetch.step
            pairs = tile_dot(isa, pairs, a, a_row, b, kind)
            a += step
            b += PANEL_ROW
        acc = tile_add_pairs(acc, pairs)
        units -= count
    return acc


@inlined
def deliver(isa, sums, c, j):
    """A tile of sums to where it goes."""
    if c.columns != 0:
        scales = c.columns + 4 * j
        tile_store(tile_scale(isa, sums, c.rows, scales, scales + BIAS), c.at + 4 * j, c.row)
    else:
        tile_store(sums, c.at + 4 * j, c.row)


@inner
def strip(isa, shape, kind, first, units, a, a_row, b, terms, i, c, j0, columns, fetch):
    """c[rows, j0:columns] = or += a b in whole tiles, int32; a's first row is row i of `terms`."""
    for j in range(j0, columns, shape_columns(isa, shape)):
        if first:
            acc = started(isa, shape, terms, i, 0, j)
        else:
            acc = tile_load(isa, shape, c.at + 4 * j, c.row, BITS)
        acc = add_products(isa, shape, kind, acc, a, a_row, b + 4 * j, units, fetch, True)
        deliver(isa, acc, c, j)
        fetch = Fetch(0, fetch.step)


@inner
def grouped_strip(
    isa, shape, kind, group, groups, units, last, a, a_row, b, scales, terms, i, c, j0, columns,
    fetch,
):  # fmt: skip
    """c[rows, j0:columns] = or += groups' sums, converted to FP32, times their scales.

    Groups from this one on, of `units`, the last of `last`. scales: 64 a group, from group 0 on.
    """
    step = a_bytes(isa, kind)
    for j in range(j0, columns, shape_columns(isa, shape)):
        if group == 0:
            sums = tile_zero(isa, shape, SINGLE)
        else:
            sums = tile_load(isa, shape, c.at + 4 * j, c.row, SINGLE)
        at, bt, part = a, b + 4 * j, fetch
        for g in range(group, group + groups):
            count = last if g == group + groups - 1 else units
            acc = started(isa, shape, terms, i, g, j)
            acc = add_products(isa, shape, kind, acc, at, a_row, bt, count, part, False)
            sums = tile_add_scaled(sums, acc, scales + g * PANEL_ROW + 4 * j)
            at += count * step
            bt += count * PANEL_ROW
            if part.at != 0:
                part = Fetch(part.at + count * part.step, part.step)
        deliver(isa, sums, c, j)
        fetch = Fetch(0, fetch.step)


class Depth(NamedTuple):
    """Which part of k: its first group, how many, units of one, of the last, and of all."""

    group: int
    groups: int
    units: int
    last: int
    all: int


def add_strip(isa, shape, kind, depth, a, b, scales, terms, i, c, j0, j1, fetch):
    """`strip` or, where there are scales (not None), `grouped_strip`. a: address and bytes between
    rows."""
    raise NotImplementedError


@overload(add_strip, inline="always")
def _add_strip(isa, shape, kind, depth, a, b, scales, terms, i, c, j0, j1, fetch):
    """By types: an `if` would have Numba compile both."""

    def plain(isa, shape, kind, depth, a, b, scales, terms, i, c, j0, j1, fetch):
        strip(
            isa, shape, kind, depth.group == 0, depth.all, a[0], a[1], b, terms, i, c, j0, j1,
            fetch,
        )  # fmt: skip

    def grouped(isa, shape, kind, depth, a, b, scales, terms, i, c, j0, j1, fetch):
        grouped_strip(
            isa, shape, kind, depth.group, depth.groups, depth.units, depth.last, a[0], a[1], b,
            scales, terms, i, c, j0, j1, fetch,
        )  # fmt: skip

    return plain if scales in (None, types.none) else grouped
