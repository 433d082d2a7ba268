# SPDX-License-Identifier: Apache-2.0
"""Optimizers' steps: gradient, master and state read once, and written once with the FP16 copy.

Limited by memory: AdamW of FP16 parameters moves 14 bytes an element in and 14 out, and takes a
root and two divisions. The operands are the gradient, the FP16 copy (its stride is 0 where there
is none), the master, and the state.
"""

import numpy as np

from halfbyte.cpu.amp_rows import (
    COUNT,
    NUMBER,
    OPERANDS,
    ROWS,
    chunk_of,
    deliver,
    fetch_ahead,
    fetched,
    made_at,
    put,
    put_past,
    taken,
)
from halfbyte.cpu.compile import Kernel, f32_2d, i64, inner
from halfbyte.cpu.simd import (
    HALF,
    SINGLE,
    enter_default_rounding,
    finish_streaming,
    kind_bytes,
    lanes_of,
    leave_default_rounding,
    root,
    splat,
)

GRADIENT, COPY, MASTER, FIRST, SECOND = range(5)

# Places in an array's coefficients. What Adam and AdamW take:
INVERSE, KEEP, DECAY, BETA1, REST1, BETA2, REST2, STEP, ROOT, EPS = range(10)
# What SGD takes, after INVERSE:
MOMENTUM, RATE = 3, 4
COEFFICIENTS = 10


@inner
def adam(isa, gradient, copy, master, first, second, count, c, streaming, decaying, kind):
    """One step of `count` elements. c: their coefficients, a value for each name above."""
    lanes, size = lanes_of(isa), kind_bytes(kind)
    inverse, keep, decay = splat(isa, c[INVERSE]), splat(isa, c[KEEP]), splat(isa, c[DECAY])
    beta1, rest1 = splat(isa, c[BETA1]), splat(isa, c[REST1])
    beta2, rest2 = splat(isa, c[BETA2]), splat(isa, c[REST2])
    step, scale, eps = splat(isa, c[STEP]), splat(isa, c[ROOT]), splat(isa, c[EPS])
    for i in range(0, count, lanes):
        n = count - i
        at, p_at, m_at, v_at = gradient + size * i, master + 4 * i, first + 4 * i, second + 4 * i
        fetch_ahead(isa, at, kind)
        fetch_ahead(isa, p_at, SINGLE)
        fetch_ahead(isa, m_at, SINGLE)
        fetch_ahead(isa, v_at, SINGLE)
        g = taken(isa, at, n, kind) * inverse
        p = taken(isa, p_at, n, SINGLE)
        if decaying:
            g = g + decay * p
        p = p * keep
        m = beta1 * taken(isa, m_at, n, SINGLE) + rest1 * g
        v = beta2 * taken(isa, v_at, n, SINGLE) + (rest2 * g) * g
        p = p - step * (m / (root(v) / scale + eps))
        put(isa, m, m_at, n, SINGLE)
        put(isa, v, v_at, n, SINGLE)
        put(isa, p, p_at, n, SINGLE)
        if copy != 0:
            put_past(isa, p, copy + 2 * i, n, streaming, HALF)


def adam_rows(isa, table, first, last, streaming, scratch, coefficients, decaying, kind):
    """decaying: whether weight decay is added to the gradient (Adam)."""
    before = enter_default_rounding()
    for row in range(first, last):
        c = coefficients[table[row, NUMBER]]
        copied = table[row, OPERANDS + 2 * COPY] != 0
        i = 0
        while i < table[row, COUNT]:
            n = chunk_of(table, row, i)
            g = fetched(isa, table, row, GRADIENT, i, n, scratch, kind)
            p = fetched(isa, table, row, MASTER, i, n, scratch, SINGLE)
            m = fetched(isa, table, row, FIRST, i, n, scratch, SINGLE)
            v = fetched(isa, table, row, SECOND, i, n, scratch, SINGLE)
            copy = np.int64(0)
            if copied:
                copy = made_at(table, row, COPY, i, scratch, HALF)
            past = streaming != 0 and copy % 16 == 0
            adam(isa, g, copy, p, m, v, n, c, past, decaying != 0, kind)
            deliver(isa, table, row, MASTER, i, n, scratch, SINGLE)
            deliver(isa, table, row, FIRST, i, n, scratch, SINGLE)
            deliver(isa, table, row, SECOND, i, n, scratch, SINGLE)
            if copied:
                deliver(isa, table, row, COPY, i, n, scratch, HALF)
            i += n
    finish_streaming()
    leave_default_rounding(before)


adam_of_singles = Kernel(adam_rows, (*ROWS, f32_2d, i64), SINGLE)
adam_of_halves = Kernel(adam_rows, (*ROWS, f32_2d, i64), HALF)


@inner
def sgd(isa, gradient, copy, master, buffer, count, c, streaming, decaying, nesterov, kind):
    """One step of `count` elements. buffer is 0 without momentum."""
    lanes, size = lanes_of(isa), kind_bytes(kind)
    inverse, decay = splat(isa, c[INVERSE]), splat(isa, c[DECAY])
    momentum, rate = splat(isa, c[MOMENTUM]), splat(isa, c[RATE])
    for i in range(0, count, lanes):
        n = count - i
        at, p_at, b_at = gradient + size * i, master + 4 * i, buffer + 4 * i
        fetch_ahead(isa, at, kind)
        fetch_ahead(isa, p_at, SINGLE)
        g = taken(isa, at, n, kind) * inverse
        p = taken(isa, p_at, n, SINGLE)
        if decaying:
            g = g + decay * p
        if buffer != 0:
            fetch_ahead(isa, b_at, SINGLE)
            b = momentum * taken(isa, b_at, n, SINGLE) + g
            put(isa, b, b_at, n, SINGLE)
            if nesterov:
                g = g + momentum * b
            else:
                g = b
        p = p - rate * g
        put(isa, p, p_at, n, SINGLE)
        if copy != 0:
            put_past(isa, p, copy + 2 * i, n, streaming, HALF)


def sgd_rows(isa, table, first, last, streaming, scratch, coefficients, decaying, nesterov, kind):
    before = enter_default_rounding()
    for row in range(first, last):
        c = coefficients[table[row, NUMBER]]
        copied = table[row, OPERANDS + 2 * COPY] != 0
        buffered = table[row, OPERANDS + 2 * FIRST] != 0
        i = 0
        while i < table[row, COUNT]:
            n = chunk_of(table, row, i)
            g = fetched(isa, table, row, GRADIENT, i, n, scratch, kind)
            p = fetched(isa, table, row, MASTER, i, n, scratch, SINGLE)
            copy, buffer = np.int64(0), np.int64(0)
            if copied:
                copy = made_at(table, row, COPY, i, scratch, HALF)
            if buffered:
                buffer = fetched(isa, table, row, FIRST, i, n, scratch, SINGLE)
            past = streaming != 0 and copy % 16 == 0
            sgd(isa, g, copy, p, buffer, n, c, past, decaying != 0, nesterov != 0, kind)
            deliver(isa, table, row, MASTER, i, n, scratch, SINGLE)
            if buffered:
                deliver(isa, table, row, FIRST, i, n, scratch, SINGLE)
            if copied:
                deliver(isa, table, row, COPY, i, n, scratch, HALF)
            i += n
    finish_streaming()
    leave_default_rounding(before)


sgd_of_singles = Kernel(sgd_rows, (*ROWS, f32_2d, i64, i64), SINGLE)
sgd_of_halves = Kernel(sgd_rows, (*ROWS, f32_2d, i64, i64), HALF)
