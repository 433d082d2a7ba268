# SPDX-License-Identifier: Apache-2.0
"""From the sums of a layer to what the caller asked for (rules 6 and 7), a few rows at a time.

Integer sums: (float32(acc) * sx) * sw; sums that have w's scales already: f * sx. Then + bias,
activation, cast or codes, each step rounded.
"""

from halfbyte.cpu.activations import activate
from halfbyte.cpu.compile import inlined, inner
from halfbyte.cpu.epilogue import scatter_row
from halfbyte.cpu.gemm_int_operands import CODE_OUT, HALF_OUT
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


@inner
def finish_layer(isa, what, sums, sums_row, rows, columns, out, layer, row, column):
    """Rows of sums, with room for whole vectors, to out from (row, column) on."""
    lanes = lanes_of(isa)
    out_at = out.at + row * out.row + column * out.column
    one_scale = splat(isa, 1.0)
    if what != SCALED and layer.w_scale_step == 0:
        one_scale = splat(isa, load_scalar(isa, layer.w_scale, SINGLE))
    for r in range(rows):
        own = splat(isa, 1.0)
        if layer.x_scale != 0:
            own = splat(isa, load_scalar(isa, layer.x_scale + (row + r) * 4, SINGLE))
        for j in range(0, columns, lanes):
            x = load(isa, sums + 4 * j, SINGLE)
            if what == INTEGERS:
                x = load(isa, sums + 4 * j, INTEGER)
            if layer.x_scale != 0:
                x = x * own
            if what != SCALED:
                scale = one_scale
                if layer.w_scale_step != 0:
                    scale = load_part(isa, layer.w_scale + 4 * (column + j), columns - j, SINGLE)
                x = x * scale
            if layer.bias != 0:
                x = x + load_part(isa, layer.bias + 4 * (column + j), columns - j, SINGLE)
            store(isa, activate(isa, x, layer.activation), sums + 4 * j, SINGLE)
        if out.form == CODE_OUT:
            codes_of(isa, sums, columns, layer)
            if out.column == 1:
                copy_bytes(out_at, sums, columns)
            else:
                for j in range(columns):
                    copy_bytes(out_at + j * out.column, sums + j, 1)
        else:
            scatter_row(isa, sums, out_at, out.column, out.form == HALF_OUT, columns)
        out_at += out.row
        sums += sums_row
