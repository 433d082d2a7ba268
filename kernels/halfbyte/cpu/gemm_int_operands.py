# SPDX-License-Identifier: Apache-2.0
"""What an integer product works on, as values that kernels pass around: addresses, byte strides."""

from typing import NamedTuple

from halfbyte.cpu.compile import inner
from halfbyte.cpu.gemm_int_panels import ALONG_N, PANEL_ROW, Operand
from halfbyte.cpu.gemm_int_rows import padded, unit_of
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.matrices import CACHE_LINE, address, moved
from halfbyte.cpu.simd import single_from_bits

# The integers beside a, b and out that say what a product is, as one array.
REQUEST = (
    "a_bits", "a_flip",  # what xor adds to four bytes, or to a nibble
    "a_zeros", "a_zeros_step",  # address of int32, 0: none; bytes between rows, 0: one for all
    "b_bits", "b_flip", "b_nibbles", "packed",  # bits: 8, 4, or SMALL where it is packed
    "b_zeros", "b_zeros_step",  # of plain b
    "panel_zeros",  # of groups: 64 int32 a group and panel, negative; 0: none
    "span",  # k, or how much of it has a scale of its own
    "a_next", "b_next", "out_next",  # bytes from one product of a batch to the next
    "out", "out_row", "out_column", "out_form",  # out == 0: the array is meant
    "scaled",  # whether the result is a layer's
    "x_scale", "w_scale", "w_scale_step", "panel_scales", "bias", "activation",
    "code_scale", "code_zero_point", "code_min", "code_max",  # bits of the scale
)  # fmt: skip
Request = NamedTuple("Request", [(name, int) for name in REQUEST])

INTEGER_OUT, SINGLE_OUT, HALF_OUT, CODE_OUT = range(4)


class Rows(NamedTuple):
    """a: where it starts, byte strides of rows and along k, bits, flip, zero points."""

    at: int
    row: int
    column: int
    bits: int
    flip: int
    zeros: int
    zeros_step: int


class Columns(NamedTuple):
    """b: the plain operand, or where its first panel is and bytes from panel to panel; zero points;
    and, of panels, arrays with 64 values a group."""

    plain: Operand
    packed: bool
    panel: int
    zeros: int
    zeros_step: int
    panel_zeros: int
    panel_scales: int


class Result(NamedTuple):
    at: int
    row: int
    column: int
    form: int


class Layer(NamedTuple):
    """What becomes of the sums of a layer: scales of rows (0: none) and of columns (addresses; step
    0: one for all), bias, activation, and codes."""

    scaled: bool
    x_scale: int
    w_scale: int
    w_scale_step: int
    bias: int
    activation: int
    code_scale: float
    code_zero_point: int
    code_min: int
    code_max: int


class Product(NamedTuple):
    """One task's part of one product: rows x columns of C."""

    a: Rows
    b: Columns
    out: Result
    layer: Layer
    rows: int
    columns: int
    k: int
    span: int
    groups: int
    memory: int


@inner
def product_of(request, task, t, a, b, out, scratch):
    """The task's part of product t of the batch; rows and columns, from .. to, in its elements 2 to
    5; columns start at a multiple of 64."""
    r = Request(
        request[0], request[1], request[2], request[3], request[4], request[5], request[6],
        request[7], request[8], request[9], request[10], request[11], request[12], request[13],
        request[14], request[15], request[16], request[17], request[18], request[19],
        request[20], request[21], request[22], request[23], request[24], request[25],
        request[26], request[27], request[28], request[29],
    )  # fmt: skip
    row, column, k = task[2], task[4], task[6]
    span = r.span if r.span > 0 else max(k, 1)
    groups = max(1, (k + span - 1) // span)
    a_row, a_column = a.strides
    a_at = address(a) + t * r.a_next + row * a_row
    zeros = moved(r.a_zeros, row * r.a_zeros_step)
    a_part = Rows(a_at, a_row, a_column, r.a_bits, r.a_flip, zeros, r.a_zeros_step)

    b_row, b_column = b.strides
    packed = r.packed != 0
    unit = unit_of(r.b_bits)
    panel = padded(k, span, unit) // unit * PANEL_ROW
    first = column // PANEL
    b_at = address(b) + t * r.b_next
    if packed:
        b_at += first * panel
    elif r.b_nibbles == ALONG_N:
        b_at += column // 2 * b_column
    else:
        b_at += column * b_column
    kept = first * groups * PANEL_ROW
    b_part = Columns(
        Operand(b_at, b_row, b_column, r.b_bits, r.b_nibbles, r.b_flip),
        packed, panel, moved(r.b_zeros, column * r.b_zeros_step), r.b_zeros_step,
        moved(r.panel_zeros, kept), moved(r.panel_scales, kept),
    )  # fmt: skip

    given = r.out != 0
    out_row = r.out_row if given else out.strides[0]
    out_column = r.out_column if given else out.strides[1]
    out_at = r.out if given else address(out)
    out_at += t * r.out_next + row * out_row + column * out_column
    layer = Layer(
        r.scaled != 0, moved(r.x_scale, row * 4),
        moved(r.w_scale, column * r.w_scale_step), r.w_scale_step, moved(r.bias, 4 * column),
        r.activation, single_from_bits(r.code_scale), r.code_zero_point, r.code_min, r.code_max,
    )  # fmt: skip
    memory = (address(scratch) + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE
    return Product(
        a_part, b_part, Result(out_at, out_row, out_column, r.out_form), layer,
        task[3] - row, task[5] - column, k, span, groups, memory,
    )  # fmt: skip
