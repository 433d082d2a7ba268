# SPDX-License-Identifier: Apache-2.0
"""From the sums of a layer to what the caller asked for (rules 6 and 7), a few rows at a time.

Integer sums: (float32(acc) * sx) * sw; sums that have w's scales already: f * sx. Then + bias,
activation, cast or codes, each step rounded.
"""

from halfbyte.cpu.activations import NONE, activate
from halfbyte.cpu.compile import inlined, inner
from halfbyte.cpu.epilogue import scatter_row
from halfbyte.cpu.gemm_int_operands import CODE_OUT, HALF_OUT, SINGLE_OUT
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.quantization_rows import TO_INTEGER, code_of, quotient
from halfbyte.cpu.simd import (
    BYTE,
    INTEGER,
    SINGLE,
    bits,
    copy_bytes,
    lanes_of,
    load,
    load_part,
    load_scalar,
    splat,
    store,
)


@inlined
def codes_of(isa, sums, columns, layer):
    """FP32 values to bytes, in place. NaN becomes the zero point."""
    magic = splat(isa, TO_INTEGER)
    lowest, highest = magic + splat(isa, layer.code_min), magic + splat(isa, layer.code_max)
    zero_point, scale = splat(isa, layer.code_zero_point), splat(isa, layer.code_scale)
    for j in range(0, columns, lanes_of(isa)):
        t = quotient(isa, load(isa, sums + 4 * j, SINGLE), scale)
        store(isa, bits(code_of(isa, t, zero_point, lowest, highest)), sums + j, BYTE)


# What sums are: integers or FP32 chains, without the column scales yet, or with them.
INTEGERS, CHAINS, SCALED = 0, 1, 2


@inlined
def spread_columns(isa, source, step, count, default, target):
    """`count` FP32 values, or one for all (step 0), or the default (source 0), as 64 of them."""
    for j in range(0, PANEL, lanes_of(isa)):
        x = splat(isa, default)
        if source != 0 and step == 0:
            x = splat(isa, load_scalar(isa, source, SINGLE))
        elif source != 0:
            left = count - j if count > j else 0
            x = load_part(isa, source + 4 * j, left, SINGLE)
        store(isa, x, target + 4 * j, SINGLE)


@inner
def layer_columns(isa, what, layer, j, n, target):
    """Scales of the columns from j on, and 64 floats further on their bias. What there is none of
    is what changes nothing: 1, and -0."""
    scale = layer.w_scale + j * layer.w_scale_step if what != SCALED else 0
    spread_columns(isa, scale, layer.w_scale_step, n, 1.0, target)
    bias = layer.bias + 4 * j if layer.bias != 0 else 0
    spread_columns(isa, bias, 4, n, -0.0, target + 4 * PANEL)


@inlined
def finish_layer(isa, what, sums, sums_row, rows, n, out, layer, row, column, columns):
    """Rows of sums, with room for whole vectors, to out from (row, column) on. columns: where
    `layer_columns` put what belongs to these."""
    lanes = lanes_of(isa)
    out_at = out.at + row * out.row + column * out.column
    direct = out.form == SINGLE_OUT and out.column == 4 and n % lanes == 0
    for r in range(rows):
        own = splat(isa, 1.0)
        if layer.x_scale != 0:
            own = splat(isa, load_scalar(isa, layer.x_scale + 4 * (row + r), SINGLE))
        made = out_at if direct else sums
        if what == INTEGERS:
            for j in range(0, n, lanes):
                x = load(isa, sums + 4 * j, INTEGER) * own * load(isa, columns + 4 * j, SINGLE)
                x = x + load(isa, columns + 4 * (PANEL + j), SINGLE)
                store(isa, x, made + 4 * j, SINGLE)
        else:
            for j in range(0, n, lanes):
                x = load(isa, sums + 4 * j, SINGLE) * own * load(isa, columns + 4 * j, SINGLE)
                x = x + load(isa, columns + 4 * (PANEL + j), SINGLE)
                store(isa, x, made + 4 * j, SINGLE)
        if layer.activation != NONE:
            for j in range(0, n, lanes):
                x = activate(isa, load(isa, made + 4 * j, SINGLE), layer.activation)
                store(isa, x, made + 4 * j, SINGLE)
        if out.form == CODE_OUT:
            codes_of(isa, sums, n, layer)
            if out.column == 1:
                copy_bytes(out_at, sums, n)
            else:
                for j in range(n):
                    copy_bytes(out_at + j * out.column, sums + j, 1)
        elif not direct:
            scatter_row(isa, sums, out_at, out.column, out.form == HALF_OUT, n)
        out_at += out.row
        sums += sums_row
