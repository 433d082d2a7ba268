# SPDX-License-Identifier: Apache-2.0
"""ldmatrix and mma on the registers of many warps at once.

g = lane >> 2, t = lane & 3; e is the place in a register, low parts first. A fragment of registers
is an array whose axes are parts of rows and columns: layouts are transpositions.
"""

import numpy as np


def _deal(rows):
    """Give a lane the words t of rows g."""
    return rows.view(np.uint32).transpose(1, 0, 2, 3)


def _deal_transposed(rows):
    """Give a lane the elements g of rows 2 t + e."""
    halves = rows.view(np.uint16).reshape(*rows.shape[:2], 4, 2, 8)
    return np.ascontiguousarray(halves.transpose(1, 0, 4, 2, 3)).view(np.uint32)


# Functions of rows (warps, count, 8, 16) uint8 that return (count, warps, 8, 4) uint32.
LDMATRIX = {
    f"ldmatrix.sync.aligned.m8n8.x{count}{mode}.shared.b16": function
    for count in (1, 2, 4)
    for mode, function in (("", _deal), (".trans", _deal_transposed))
}

# ---------------------------------------------------------------------------------------- mma


# Elements, and the type in which products are summed: exact for bytes.
_ELEMENTS = {
    "f16": (np.float16, np.float64),
    "s8": (np.int8, np.float32),
    "u8": (np.uint8, np.float32),
}


def _rows_of_a(registers, kind, tall):
    """Return A (warps, m, k): row g + 8 i, k = (4 j + t) * packed + e; register tall * j + i.

    B's transpose lies in registers as 8 rows of A do.
    """
    element, wide = _ELEMENTS[kind]
    count, warps, _ = registers.shape
    x = np.ascontiguousarray(registers).view(element).reshape(count // tall, tall, warps, 8, 4, -1)
    m, k = 8 * tall, count // tall * 4 * x.shape[-1]
    return x.transpose(2, 1, 3, 0, 4, 5).astype(wide, order="C").reshape(warps, m, k)


def _rows_of_c(registers, dtype, tall):
    """Return C (warps, m, n): row g + 8 i, column 2 t + e; register 2 i + e."""
    _, warps, _ = registers.shape
    x = registers.view(dtype).reshape(tall, 2, warps, 8, 4).transpose(2, 0, 3, 4, 1)
    return x.reshape(warps, 8 * tall, 8)


def _registers_of_d(d, tall):
    warps = d.shape[0]
    x = d.view(np.uint32).reshape(warps, tall, 8, 4, 2).transpose(1, 4, 0, 2, 3)
    return x.reshape(2 * tall, warps, 32)


def _floating(tall):
    """Round to FP32 after every 8 steps of k, each summed in FP64 (hardware: otherwise)."""

    def multiply(a, b, c):
        a, b = _rows_of_a(a, "f16", tall), _rows_of_a(b, "f16", 1)
        d = _rows_of_c(c, np.float32, tall)
        for k in range(0, a.shape[2], 8):
            step = slice(k, k + 8)
            d = (np.matmul(a[:, :, step], b[:, :, step].mT) + d).astype(np.float32)
        return _registers_of_d(d, tall)

    return multiply


def _integer(a_kind, b_kind, tall):
    """Sum exactly: 32 products of bytes are below 2**24, which FP32 has. C is added and wraps."""

    def multiply(a, b, c):
        products = np.matmul(_rows_of_a(a, a_kind, tall), _rows_of_a(b, b_kind, 1).mT)
        return _registers_of_d(products.astype(np.int32) + _rows_of_c(c, np.int32, tall), tall)

    return multiply


# D = A B + C: functions of the registers (count, warps, 32) uint32 of a, b and c.
MMA = {
    **{f"mma.sync.aligned.m16n8k{k}.row.col.f32.f16.f16.f32": _floating(2) for k in (8, 16)},
    **{f"mma.sync.aligned.m{m}n8k{k}.row.col.s32.{a}.{b}.s32": _integer(a, b, m // 8)
       for a in ("s8", "u8") for b in ("s8", "u8") for m, k in ((8, 16), (16, 16), (16, 32))},
}  # fmt: skip
