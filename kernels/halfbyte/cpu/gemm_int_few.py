# SPDX-License-Identifier: Apache-2.0
"""C = A B for integers and a few rows, exact, and a layer's result; on one thread.

    for each panel of 64 columns           b as stored: packed, all panels are one stream
      for 4, 2 or 1 rows at a time         bytes and nibbles become operands in the registers

Reading b from memory is all that takes time. Plain b that is contiguous along n is packed in
address order (`laid_out`), KC units of k of all panels, for as many rows as sums have room for.
"""

import numpy as np

from halfbyte.cpu.compile import inlined, inner, kernel, shared
from halfbyte.cpu.gemm_int_many import SIGNATURE
from halfbyte.cpu.gemm_int_operands import product_of
from halfbyte.cpu.gemm_int_panels import PANEL_ROW, Operand, interleave, pack_group
from halfbyte.cpu.gemm_int_parts import (
    ROW_BYTES,
    finish,
    lay,
    panel_terms,
    placed,
    scratch_layout,
    start_columns,
    stored_panel,
    units_of,
)
from halfbyte.cpu.gemm_int_rows import SMALL, unit_of
from halfbyte.cpu.gemm_int_strips import Depth, Fetch, Made, add_strip, first_fetch, next_fetch
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.linear_epilogue import INTEGERS, SCALED
from halfbyte.cpu.quantization_rows import lesser
from halfbyte.cpu.simd import (
    BYTE,
    NIBBLE,
    enter_default_rounding,
    kind_of_small,
    leave_default_rounding,
    multiplies_words,
    prefetch_line,
    shared_shape,
    tile_shape,
)

FEW_ROWS = 8


@inlined
def few_rows(isa, kind, height, depth, a, b, scales, terms, i, c, fetch):
    """4, 2 or 1 rows."""
    zero, columns = np.int64(0), np.int64(PANEL)  # not literals: see gemm_int_many.py
    if height == 4:
        shape = shared_shape(tile_shape(isa, 4, 64), scales)
        add_strip(isa, shape, kind, depth, a, b, scales, terms, i, c, zero, columns, fetch)
    elif height == 2:
        shape = tile_shape(isa, 2, 64)
        add_strip(isa, shape, kind, depth, a, b, scales, terms, i, c, zero, columns, fetch)
    else:
        shape = tile_shape(isa, 1, 64)
        add_strip(isa, shape, kind, depth, a, b, scales, terms, i, c, zero, columns, fetch)


@inlined
def height_of(left):
    """Rows of the next strip, of so many that are left."""
    return 4 if left >= 4 else 2 if left >= 2 else 1


@inlined
def strips_of(rows):
    """How many strips so many rows make."""
    return rows // 4 + rows % 4 // 2 + rows % 2


@inlined
def strips(isa, x, a, depth, p, b_at, scales, terms, c_at, fetch):
    """All rows of a panel, KC units of k from unit p on, into rows of 64 sums."""
    bits = x.b.plain.bits
    a_unit = unit_of(bits) * (2 if multiplies_words(isa, bits) else 1)
    i = np.int64(0)  # a literal 0 would make another variant of all that follows
    while i < x.rows:
        height = height_of(x.rows - i)
        at, c = (a.at + i * a.row + p * a_unit, a.row), Made(c_at + i * ROW_BYTES, ROW_BYTES, 0, 0)
        if bits == 4:
            few_rows(isa, NIBBLE, height, depth, at, b_at, scales, terms, i, c, fetch)
        elif bits == SMALL:
            kind = kind_of_small(isa)
            few_rows(isa, kind, height, depth, at, b_at, scales, terms, i, c, fetch)
        else:
            few_rows(isa, BYTE, height, depth, at, b_at, scales, terms, i, c, fetch)
        fetch = next_fetch(fetch, depth.all)
        i += height


@shared
def panel_bytes(units):
    """Bytes from panel to panel where several are laid out: not a multiple of what maps panels into
    the same sets of the L1 cache."""
    return (units + 1) * PANEL_ROW


@inner
def lay_out(isa, b, k, p, units, columns, target, place):
    """Units of bytes from k = p on, of all panels, in the order in which b lies in memory; units of
    a panel follow each other in `target`."""
    whole = columns // PANEL * PANEL
    size = panel_bytes(units)
    for u in range(units):
        q = p + 4 * u
        at = b.at + q * b.row
        to = target + u * PANEL_ROW
        if q + 4 <= k:
            for j in range(0, whole, PANEL):
                for r in range(4, 8):
                    prefetch_line(at + j + r * b.row)
                interleave(isa, at + j, b.row, to + j // PANEL * size, b.flip)
        else:
            for j in range(0, whole, PANEL):
                part = Operand(b.at + j, b.row, b.column, b.bits, b.nibbles, b.flip)
                pack_group(isa, part, q, k - q, PANEL, False, to + j // PANEL * size, place)
    if whole < columns:
        part = Operand(b.at + whole, b.row, b.column, b.bits, b.nibbles, b.flip)
        depth = lesser(4 * units, k - p)
        to = target + whole // PANEL * size
        pack_group(isa, part, p, depth, columns - whole, False, to, place)


@inlined
def multiply(isa, x, scales):
    """Part x of a product by the loops of this file's head."""
    rows, units = x.rows, units_of(x)
    s = scratch_layout(
        x.memory, rows, x.k, x.span, x.b.plain.bits, 0, rows, 0 if x.b.packed else units.all
    )
    a = placed(isa, x, s, 0, rows)
    lay(isa, x, s, a, 0, 0, rows)
    depth = Depth(0, x.groups if x.k > 0 else 0, units.group, units.last, units.all)
    what = INTEGERS if scales is None else SCALED
    for j in range(0, x.columns, PANEL):
        n = min(PANEL, x.columns - j)
        stored = stored_panel(isa, x, s, j, n, s.panels, True)
        terms = panel_terms(isa, x, s, j, n, stored, a.shifted)
        own = scales
        if scales is not None:
            own = scales + j // PANEL * x.groups * PANEL_ROW
        following = stored + units.all * PANEL_ROW
        fetch = first_fetch(x.b.packed, stored, following, strips_of(rows), 1)
        strips(isa, x, a, depth, 0, stored, own, terms, s.kept, fetch)
        start_columns(isa, x, s, j, n, what)
        finish(isa, x, s, s.kept, ROW_BYTES, rows, n, 0, j, what)


@inlined
def multiply_in_order(isa, x, kc):
    """`multiply` where plain b is packed in address order, KC units of all panels at a time."""
    rows, units = x.rows, units_of(x)
    panels = (x.columns + PANEL - 1) // PANEL
    s = scratch_layout(x.memory, rows, x.k, x.span, 8, 0, rows * panels, (kc + 1) * panels)
    a = placed(isa, x, s, 0, rows)
    lay(isa, x, s, a, 0, 0, rows)
    nothing = Fetch(np.int64(0), np.int64(0))
    for p in range(0, units.all, kc):
        count = min(kc, units.all - p)
        lay_out(isa, x.b.plain, x.k, 4 * p, count, x.columns, s.panels, s.place)
        # Sums start in the first block of k: that is what a group of 0 says.
        depth = Depth(p, 1, count, count, count)
        following = lesser(4 * kc, x.k - 4 * (p + count))
        for j in range(0, x.columns, PANEL):
            # What is packed next comes from memory while this is multiplied.
            next_at = x.b.plain.at + 4 * (p + count) * x.b.plain.row + j
            for r in range(following):
                prefetch_line(next_at + r * x.b.plain.row)
            terms = panel_terms(isa, x, s, j, min(PANEL, x.columns - j), 0, False)
            b_at = s.panels + j // PANEL * panel_bytes(count)
            c_at = s.kept + j // PANEL * rows * ROW_BYTES
            strips(isa, x, a, depth, p, b_at, None, terms, c_at, nothing)
    for j in range(0, x.columns, PANEL):
        c_at = s.kept + j // PANEL * rows * ROW_BYTES
        n = min(PANEL, x.columns - j)
        start_columns(isa, x, s, j, n, INTEGERS)
        finish(isa, x, s, c_at, ROW_BYTES, rows, n, 0, j, INTEGERS)


# As in gemm_int_many.py; after k the task has KC.
@kernel(*SIGNATURE, vnni=True)
def multiply_few(isa, a, b, out, request, task, scratch):
    """One task of `gemm_int`, or of a layer whose weights have no groups."""
    before = enter_default_rounding()
    for t in range(task[0], task[1]):
        x = product_of(request, task, t, a, b, out, scratch)
        multiply(isa, x, None)
    leave_default_rounding(before)


@kernel(*SIGNATURE, vnni=True)
def multiply_laid_out(isa, a, b, out, request, task, scratch):
    """`multiply_few` with b packed in address order."""
    before = enter_default_rounding()
    for t in range(task[0], task[1]):
        x = product_of(request, task, t, a, b, out, scratch)
        multiply_in_order(isa, x, task[7])
    leave_default_rounding(before)


@kernel(*SIGNATURE, vnni=True)
def multiply_few_groups(isa, a, b, out, request, task, scratch):
    """One task of a layer whose weights have groups."""
    before = enter_default_rounding()
    x = product_of(request, task, 0, a, b, out, scratch)
    multiply(isa, x, x.b.panel_scales)
    leave_default_rounding(before)
