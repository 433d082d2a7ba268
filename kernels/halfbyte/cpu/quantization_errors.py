# SPDX-License-Identifier: Apache-2.0
"""Scales with the smallest squared error (rule 4): errors of all candidates, in one look at x."""

import numpy as np

from halfbyte.cpu.compile import (
    Kernel,
    f32_1d,
    i64_1d,
    inner,
    kernel,
)
from halfbyte.cpu.quantization_rows import (
    BLOCK,
    CANDIDATE_BYTES,
    FIRST_JUMP,
    FIRST_STEP,
    INPUT,
    PER,
    QMAX,
    QMIN,
    ROWS,
    SECOND_JUMP,
    SECOND_STEP,
    SIZE,
    TO_INTEGER,
    chunk_of,
    fed,
    feed,
    fetched,
    left_of,
    next_row,
    part_of,
)
from halfbyte.cpu.quantization_sums import collected, flushed
from halfbyte.cpu.simd import (
    DOUBLE,
    SINGLE,
    doubles,
    enter_default_rounding,
    larger,
    leave_default_rounding,
    load,
    magnitude,
    select,
    smaller,
    splat,
    widened,
    zeros,
)


@kernel(f32_1d, i64_1d)
def shrink_scales(isa, scale, steps):
    """scale * (1 - steps / 64), in place."""
    before = enter_default_rounding()
    for i in range(scale.size):
        scale[i] *= np.float32(1.0 - steps[i] / 64)
    leave_default_rounding(before)


CANDIDATES = 41


@inner
def error_blocks(isa, source, s, z, sums, first, count, options, shrink):
    """Add squared errors of whole blocks, with scales times `shrink`."""
    magic, zero = splat(isa, TO_INTEGER), splat(isa, 0.0)
    qmin, qmax = splat(isa, np.float32(options[QMIN])), splat(isa, np.float32(options[QMAX]))
    factor = splat(isa, shrink)
    per, s_step, s_jump = options[PER], options[FIRST_STEP], options[FIRST_JUMP]
    z_step, z_jump = options[SECOND_STEP], options[SECOND_JUMP]
    left = left_of(first, options)
    acc = zeros(isa, DOUBLE)
    for i in range(0, count, BLOCK):
        x = load(isa, source + 4 * i, SINGLE)
        x = select(magnitude(x) < splat(isa, np.inf), x, zero)
        scale, zero_point = fed(isa, s, s_step) * factor, fed(isa, z, z_step)
        t = smaller(larger(x / scale, qmin - zero_point), qmax - zero_point)
        error = doubles(x) - doubles(((t + magic) - magic) * scale)
        acc = collected(isa, sums, acc, error * error, s_step)
        s += s_step
        z += z_step
        sums += 2 * s_step
        left -= BLOCK
        if left == 0:
            acc = flushed(isa, sums, acc, s_step)
            left = per
            s += s_jump
            z += z_jump
            sums += 2 * s_jump
    if left != per:
        flushed(isa, sums, acc, s_step)


def error_rows(isa, addresses, strides, shape, index, count, rows, options, scratch):
    """x, x again, scale, zero point, sums of squared errors (FP64, added to) of each candidate."""
    before = enter_default_rounding()
    wide = widened(isa, BLOCK)
    d = shape.size
    nowhere = np.int64(0)  # nothing is spread
    for _ in range(rows):
        first = 0
        while first < count:
            n = chunk_of(count - first, False)  # 41 times from the cache
            s = feed(wide, addresses[2], FIRST_STEP, first, n, options, nowhere)
            z = feed(wide, addresses[3], SECOND_STEP, first, n, options, nowhere)
            sums = addresses[4] + 2 * (s - addresses[2])
            x = addresses[0] + first * strides[0, d]
            x = fetched(wide, x, strides[0, d], part_of(scratch, INPUT), n, options[SIZE])
            for i in range(CANDIDATES):
                shrink = np.float32(1.0 - i / 64)
                error_blocks(wide, x, s, z, sums, first, n, options, shrink)
                sums += options[CANDIDATE_BYTES]
            first += n
        next_row(index, shape, addresses, strides)
    leave_default_rounding(before)


errors_of_candidates = Kernel(error_rows, ROWS)
