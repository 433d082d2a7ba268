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


# The integers beside a, b and out that say what a product is, as one array: an argument costs a
# call of a kernel as much as a small product's multiplications.
REQUEST = (
    "alpha", "beta",  # bits: as numbers they would be converted in the caller's rounding mode
    "activation", "bias", "packed",
    "c", "c_row", "c_column", "c_half",
    "out", "out_row", "out_column",  # FP16; out == 0: the FP32 array is meant
    "a_next", "b_next", "c_next", "out_next",  # bytes from one product of a batch to the next
)  # fmt: skip
Request = NamedTuple("Request", [(name, int) for name in REQUEST])


@inlined
def address(array):
    """Where an array starts, or 0 if it is empty."""
    return np.int64(array.ctypes.data) if array.size > 0 else 0


@inlined
def aligned(address):
    """The next address that is a multiple of a cache line."""
    return (address + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE


@inner
def read_request(array):
    """The array's integers by name."""
    return Request(
        array[0], array[1], array[2], array[3], array[4], array[5], array[6], array[7],
        array[8], array[9], array[10], array[11], array[12], array[13], array[14], array[15],
    )  # fmt: skip


@inner
def c_of(request, row, column):
    """The matrix c from (row, column) on, if there is one."""
    at = request.c
    if at != 0:
        at += row * request.c_row + column * request.c_column
    return Matrix(at, request.c_row, request.c_column, request.c_half != 0)


@inner
def out_of(request, single, row, column):
    """Where the result goes from (row, column) on."""
    if request.out != 0:
        at = request.out + row * request.out_row + column * request.out_column
        return Matrix(at, request.out_row, request.out_column, True)
    row_stride, column_stride = single.strides
    at = address(single) + row * row_stride + column * column_stride
    return Matrix(at, row_stride, column_stride, False)


@inner
def operand_of(request, b, k, column):
    """b from this column, a multiple of 64, on: plain, or its panels one below the other."""
    at, packed = address(b), request.packed != 0
    row, column_stride = b.strides
    panel = k * row if packed else PANEL * column_stride
    return Operand(at + column // PANEL * panel, row, column_stride, panel, packed)


@inlined
def moved(x, offset):
    """The same matrix, so many bytes on; none stays none."""
    return Matrix(x.at + offset if x.at != 0 else 0, x.row, x.column, x.half)
