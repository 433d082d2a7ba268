# SPDX-License-Identifier: Apache-2.0
"""The linear layer with quantized weights: exact sums of integers, or chains of FP32 additions.

x                          summed over k, or over a group of it      a row's scale
numbers, x_bits = 8        codes of the row, exactly                 from the row
codes, x_scale given       codes - zero point, exactly               given
numbers, x_bits = 16       halves, one FP32 addition after another   none: weight-only
"""

import math
from collections.abc import Callable

import numpy as np

from halfbyte_reference.activations import ACTIVATIONS
from halfbyte_reference.casts import to_f16, to_f32
from halfbyte_reference.channels import spread
from halfbyte_reference.gemm_f16 import chain
from halfbyte_reference.gemm_int import gemm_int
from halfbyte_reference.quantization import Quantized, quantize


def linear_int(
    x,
    codes,
    scale,
    zero_point=None,
    bias=None,
    *,
    axis=None,
    group_size=None,
    x_bits=8,
    x_scale=None,
    x_zero_point=None,
    x_axis=None,
    activation=None,
    out_dtype=None,
    out_scale=None,
    out_zero_point=None,
) -> np.ndarray | Quantized:
    """Return activation(x @ w.T + bias) with w = (codes - zero_point) * scale, quantized weights.

    codes is (n, k), 4-bit ones not packed; axis is 0 or None. x is (..., k): float32 or float16
    numbers, or with x_scale codes, one scale for all or along x_axis, which is not the last. With
    out_scale the result is quantized by it, to int8 unless out_dtype says uint8.
    """
    zero_point = np.asarray(0 if zero_point is None else zero_point, np.int32)
    w = codes.astype(np.int32) - spread(zero_point, codes.shape, axis, group_size)
    scale = np.asarray(scale, np.float32)
    # Leading dimensions become rows, also when there are none: row i depends on row i alone.
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if x_bits == 16:
            y = scaled_sums(chain, to_f16(rows), to_f16(w), scale, group_size)
        else:
            if x_scale is None:
                own, row_scale = quantized_rows(rows)
            else:
                row_scale = one_a_row(np.asarray(x_scale, np.float32), x.shape, x_axis)
                x_zero_point = np.asarray(0 if x_zero_point is None else x_zero_point, np.int32)
                own = rows.astype(np.int32) - one_a_row(x_zero_point, x.shape, x_axis)
            y = scaled_sums(gemm_int, own, w, scale, group_size, row_scale)
        if bias is not None:
            y = y + to_f32(bias)
        if activation is not None:
            y = ACTIVATIONS[activation](y)
    y = y.reshape((*x.shape[:-1], codes.shape[0]))
    if out_scale is not None:
        return quantize(
            y,
            symmetric=out_zero_point is None,
            signed=out_dtype is None or np.dtype(out_dtype) == np.int8,
            scale=out_scale,
            zero_point=out_zero_point,
        )
    return to_f16(y) if out_dtype is not None and np.dtype(out_dtype) == np.float16 else y


def scaled_sums(
    product: Callable[[np.ndarray, np.ndarray], np.ndarray], x, w, scale, group_size, row_scale=None
) -> np.ndarray:
    """Return x @ w.T in FP32, w's scale and row_scale (m, 1) multiplied in, every step rounded.

    Not grouped, the row's scale comes first. Grouped, w's own come first, one each group, and the
    groups are added up in their order, from +0. row_scale None is no step.
    """
    if group_size is None:
        y = product(x, w.T).astype(np.float32)
        return (y if row_scale is None else y * row_scale) * scale
    f = np.zeros((x.shape[0], w.shape[0]), np.float32)
    for g, start in enumerate(range(0, x.shape[1], group_size)):
        group = slice(start, start + group_size)
        acc = product(x[:, group], w[:, group].T).astype(np.float32)
        f = f + acc * scale[:, g]
    return f if row_scale is None else f * row_scale


def quantized_rows(rows) -> tuple[np.ndarray, np.ndarray]:
    """Return symmetric 8-bit codes of each row and its scale (m, 1), NaN where a row is not finite.

    That scale makes the whole row of the result NaN, whatever its sums are.
    """
    codes, scale, _ = quantize(rows, axis=0, check_finite=False)
    finite = np.isfinite(rows).all(axis=1)
    return codes, np.where(finite, scale, np.float32(np.nan))[:, None]


def one_a_row(values, shape, axis) -> np.ndarray:
    """Return each row's own entry of `values`, () or along `axis` of x, as a column."""
    axis = None if axis is None else axis % len(shape)
    return spread(values, shape[:-1], axis, None).reshape(-1, 1)
