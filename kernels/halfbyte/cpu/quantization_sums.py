# SPDX-License-Identifier: Apache-2.0
"""FP64 sums, one a channel. The pointer to them moves as that to scales does, in steps twice as
long: lanes of a block belong to one channel (step 0) and are collected, or to one each."""

import numpy as np

from halfbyte.cpu.compile import f32_1d, f64_1d, f64_2d, inlined, kernel
from halfbyte.cpu.simd import (
    DOUBLE,
    enter_default_rounding,
    leave_default_rounding,
    load,
    load_double,
    store,
    store_double,
    total,
    zeros,
)


@inlined
def collected(isa, sums, acc, term, step):
    """acc with a block's terms, which go to their sums right away where each has one."""
    if step != 0:
        store(isa, load(isa, sums, DOUBLE) + term, sums, DOUBLE)
    else:
        acc = acc + term
    return acc


@inlined
def flushed(isa, sums, acc, step):
    """Add what was collected to its sum; start anew."""
    if step == 0:
        store_double(load_double(sums) + total(acc), sums)
        acc = zeros(isa, DOUBLE)
    return acc


@kernel(f64_2d, f64_1d)
def add_parts(isa, parts, total):
    """Sums of sums, in the order of the parts."""
    before = enter_default_rounding()
    for i in range(total.size):
        total[i] = parts[0, i]
        for part in range(1, parts.shape[0]):
            total[i] += parts[part, i]
    leave_default_rounding(before)


@kernel(f64_1d, f32_1d)
def round_sums(isa, sums, result):
    """FP64 to FP32."""
    before = enter_default_rounding()
    for i in range(sums.size):
        result[i] = np.float32(sums[i])
    leave_default_rounding(before)
