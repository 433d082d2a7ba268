# SPDX-License-Identifier: Apache-2.0
"""The quantized layer one number at a time: sums in Python's integers, each rounding on rationals.

Numbers are Python floats that FP32 holds, infinities and NaNs among them.
"""

import math
import struct
from fractions import Fraction

from rational import scalar_code, scalar_scale, single


def multiply(x, y) -> float:
    if not (math.isfinite(x) and math.isfinite(y)):
        return x * y
    return math.copysign(
        single(Fraction(x) * Fraction(y)), math.copysign(1, x) * math.copysign(1, y)
    )


def add(x, y) -> float:
    # An exact sum of zero has FP64's sign, another one does not underflow.
    if not (math.isfinite(x) and math.isfinite(y)) or x + y == 0:
        return x + y
    return single(Fraction(x) + Fraction(y))


def half(x) -> float:
    """Round to FP16."""
    if math.isfinite(x) and abs(x) >= 65520:
        return math.copysign(math.inf, x)
    return struct.unpack("<e", struct.pack("<e", x))[0]


def dynamic_row(row) -> tuple[list[int], float]:
    """Return a row's codes and scale; what is not finite makes the scale NaN."""
    if not all(map(math.isfinite, row)):
        return [0] * len(row), math.nan
    scale, _ = scalar_scale(min(row, default=0.0), max(row, default=0.0), -127, 127, True)
    return [scalar_code(x, scale, 0, -127, 127) for x in row], scale


def integer_sum(xs, ws) -> float:
    return single(Fraction(sum(x * w for x, w in zip(xs, ws, strict=True))))


def chained_sum(xs, ws) -> float:
    acc = 0.0
    for x, w in zip(xs, ws, strict=True):
        acc = add(acc, multiply(x, float(w)))
    return acc


def scalar_sum(xs, ws, scales, group_size, row_scale) -> float:
    """Return one element before bias: `scales` is one number, or with group_size one a group.

    xs holds codes less their zero point, or with row_scale None halves.
    """
    of = chained_sum if row_scale is None else integer_sum
    if group_size is None:
        y = of(xs, ws)
        return multiply(y if row_scale is None else multiply(y, row_scale), scales)
    f = 0.0
    for g, scale in enumerate(scales):
        group = slice(g * group_size, (g + 1) * group_size)
        f = add(f, multiply(of(xs[group], ws[group]), scale))
    return f if row_scale is None else multiply(f, row_scale)


def finished(y, bias, relu) -> float:
    y = y if bias is None else add(y, bias)
    return y if not relu or y > 0 or math.isnan(y) else 0.0
