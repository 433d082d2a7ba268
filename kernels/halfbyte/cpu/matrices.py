# SPDX-License-Identifier: Apache-2.0
"""What a product works on, as values that kernels pass around: addresses and byte strides."""

from typing import NamedTuple

import numpy as np

from halfbyte.cpu.activations import NONE
from halfbyte.cpu.compile import inlined, inner
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.simd import single_from_bits

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


class Product(NamedTuple):
    """One task's part of one product: rows x columns of C."""

    a: Matrix
    b: Operand
    c: Matrix
    out: Matrix
    steps: Steps
    rows: int
    columns: int
    k: int
    memory: int  # scratch: an address on a cache line


@inlined
def address(array):
    """Where an array starts, or 0 if it is empty."""
    return np.int64(array.ctypes.data) if array.size > 0 else 0


@inlined
def moved(at, offset):
    """An address so many bytes on; none stays none."""
    return at + offset if at != 0 else 0


@inner
def product_of(request, task, t, a, b, single, scratch):
    """The task's part of product t of the batch.

    b is plain, or its panels one below the other; single is the FP32 result, or empty. The task
    says rows and columns, from .. to, in its elements 2 - 5; columns start at a multiple of 64.
    """
    r = Request(
        request[0], request[1], request[2], request[3], request[4], request[5],
        request[6], request[7], request[8], request[9], request[10], request[11],
        request[12], request[13], request[14], request[15],
    )  # fmt: skip
    row, column, k = task[2], task[4], a.shape[1]
    a_row, a_column = a.strides
    a_part = Matrix(address(a) + t * r.a_next + row * a_row, a_row, a_column, True)

    b_row, b_column = b.strides
    panel = k * b_row if r.packed != 0 else PANEL * b_column
    b_at = address(b) + t * r.b_next + column // PANEL * panel
    b_part = Operand(b_at, b_row, b_column, panel, r.packed != 0)

    c_at = moved(r.c, t * r.c_next + row * r.c_row + column * r.c_column)
    c_part = Matrix(c_at, r.c_row, r.c_column, r.c_half != 0)

    half = r.out != 0
    out_row = r.out_row if half else single.strides[0]
    out_column = r.out_column if half else single.strides[1]
    out_at = r.out if half else address(single)
    out_at += t * r.out_next + row * out_row + column * out_column
    out_part = Matrix(out_at, out_row, out_column, half)

    alpha, beta = single_from_bits(r.alpha), single_from_bits(r.beta)
    bias = moved(r.bias, 4 * column)
    memory = (address(scratch) + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE
    plain = alpha == 1 and c_at == 0 and bias == 0 and r.activation == NONE
    steps = Steps(plain, alpha, beta, bias, r.activation, memory)
    return Product(
        a_part, b_part, c_part, out_part, steps, task[3] - row, task[5] - column, k, memory
    )
