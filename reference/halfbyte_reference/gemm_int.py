# SPDX-License-Identifier: Apache-2.0
"""Integer GEMM: the exact sum of (a - za) * (b - zb), and how long it may be in int32."""

import numpy as np


def gemm_int(a, b, *, a_zero_point=None, b_zero_point=None) -> np.ndarray:
    """Return the sum of (a[i, p] - za[i]) * (b[p, j] - zb[j]) over p, exactly, as int32.

    a is (..., m, k), b is (..., k, n), int8 or uint8 codes, 4-bit ones not packed; leading
    dimensions broadcast. a_zero_point is () or (m,), b_zero_point () or (n,); None subtracts
    nothing. k is at most `largest_k`.
    """
    a = np.asarray(a, np.int64) - column_of(a_zero_point)
    b = np.asarray(b, np.int64) - np.asarray(0 if b_zero_point is None else b_zero_point, np.int64)
    return np.matmul(a, b).astype(np.int32)


def column_of(values) -> np.ndarray:
    """Return one number a row as a column, a single one or None (0) as it is, in int64."""
    values = np.asarray(0 if values is None else values, np.int64)
    return values[:, None] if values.ndim else values


def largest_difference(bits: int, signed: bool, has_zero_point: bool) -> int:
    """Return the largest |code - zero point| that a format of `bits` bits lets in.

    A zero point may be any code, so with one, even 0, the two may lie a whole range apart.
    """
    return 2 ** (bits - 1) if signed and not has_zero_point else 2**bits - 1


def largest_k(a_difference: int, b_difference: int) -> int:
    """Return the largest k whose sums fit in int32, given the operands' `largest_difference`."""
    return (2**31 - 1) // (a_difference * b_difference)
