# SPDX-License-Identifier: Apache-2.0
"""What a product works on, as values that kernels pass around: addresses and byte strides."""

from typing import NamedTuple

import numpy as np

from halfbyte.cpu.compile import inlined, inner
from halfbyte.cpu.isa import PANEL

CACHE_LINE = 64


class Matrix(NamedTuple):
    """An address (0: there is none), byte strides, and FP16 or FP32."""

    at: int
    row: int
    column: int
    half: bool


class Operand(NamedTuple):
    """FP16 b: where its first panel starts, byte strides of k, of n and from panel to panel."""

    at: int
    row: int
    column: int
    panel: int
    packed: bool


class Steps(NamedTuple):
    """What the epilogue does; bias and line (room for a row of c) are addresses."""

    plain: bool  # nothing but the cast: alpha is 1 and there is no c, bias or activation
    alpha: float
    beta: float
    bias: int
    activation: int
    line: int


@inlined
def address(array):
    """Where an array starts, or 0 if it is empty."""
    return np.int64(array.ctypes.data) if array.size > 0 else 0


@inlined
def aligned(address):
    """The next address that is a multiple of a cache line."""
    return (address + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE


@inner
def matrix_of(single, half, row, column):
    """The FP32 or the FP16 array, whichever is not empty, from (row, column) on."""
    is_half = half.size > 0
    at = address(half) if is_half else address(single)
    row_stride, column_stride = half.strides if is_half else single.strides
    if at != 0:
        at += row * row_stride + column * column_stride
    return Matrix(at, row_stride, column_stride, is_half)


@inner
def operand_of(b, panels, column):
    """b, packed (panels not empty) or plain, from this column, a multiple of 64, on."""
    packed = panels.size > 0
    if packed:
        panel = panels.strides[0]
        at, row, column_stride = address(panels), panels.strides[1], panels.strides[2]
    else:
        at = address(b)
        row, column_stride = b.strides
        panel = PANEL * column_stride
    return Operand(at + column // PANEL * panel, row, column_stride, panel, packed)


@inlined
def moved(x, offset):
    """The same matrix, so many bytes on; none stays none."""
    return Matrix(x.at + offset if x.at != 0 else 0, x.row, x.column, x.half)
