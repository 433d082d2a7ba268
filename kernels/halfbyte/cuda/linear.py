# SPDX-License-Identifier: Apache-2.0
"""Plan and launch layers with quantized weights: rows of x, then the product and how it ends."""

from __future__ import annotations

import math
from typing import Any

from halfbyte.arrays import F16
from halfbyte.cuda import copies, linear_few, linear_layout, linear_tiles, runtime
from halfbyte.cuda.linear_end import Output, RowScales, end_of
from halfbyte.cuda.linear_weights import Weights, prepack, unpack, weights_of
from halfbyte.tensors import PackedMatrix, QuantizedTensor

__all__ = ["Output", "apply", "prepack", "unpack"]


def apply(x: Any, w: QuantizedTensor | PackedMatrix, x_bits: int, out: Any, output: Output) -> None:
    """out = activation(x @ w.T + bias), or its codes.

    x (..., k), numbers or a QuantizedTensor; out (..., n), not empty. All arrays are CuPy's.
    """
    row = linear_layout.row_stride(out)
    target = out
    if row is None:  # no stride from row to row: by a detour
        target = runtime.empty(out.shape, out.dtype)
        row = out.shape[-1] * out.itemsize
    codes = isinstance(x, QuantizedTensor)
    affine = codes and x.zero_point is not None
    few = linear_few.suits(math.prod(out.shape[:-1]), out.shape[-1])
    if isinstance(w, PackedMatrix):
        weights = w._contents
    else:
        weights = weights_of(_aligned(w), raw=few, sums=affine)
    if x_bits == 16:
        rows, pitch, scales = _halves(x, weights, few=few)
    elif codes:
        rows, pitch, scales = _codes(x, weights)
    else:
        rows, pitch, scales = _quantized(x, weights)
    of_codes = map(copies.aligned, (output.scale, output.zero_point))
    output = output._replace(**dict(zip(("scale", "zero_point"), of_codes, strict=True)))
    end = end_of(target, row, scales, weights, output)
    if few:
        linear_few.multiply(rows, pitch, _places(weights), weights, end, halves=x_bits == 16)
    else:
        linear_tiles.multiply(rows, pitch, weights, end, halves=x_bits == 16)
    if target is not out:
        copies.copy(target, out)


def _aligned(w: QuantizedTensor) -> QuantizedTensor:
    """Return weights whose scales and zero points have addresses that are multiples of 4."""
    parts = map(copies.aligned, (w.scale, w.zero_point))
    return QuantizedTensor._trusted(w.values, *parts, *w._arguments())


def _places(w: Weights) -> int:
    """Return places of a row of x."""
    return -(-w.layout.places // linear_few.PLACES) * linear_few.PLACES


def _quantized(x: Any, w: Weights) -> tuple[Any, int, RowScales]:
    places = _places(w)
    rows = linear_layout.matrix_of(x)
    affine = w.zeros is not None
    codes, scale, sums = linear_layout.quantized(rows, w.layout, places, sums=affine)
    return codes, places, RowScales(scale, sums=sums)


def _halves(x: Any, w: Weights, *, few: bool) -> tuple[Any, int, RowScales]:
    rows = linear_layout.matrix_of(x)
    if not few:
        places = w.layout.places
        ordered = linear_layout.halves(rows, w.layout, places, ordered=True)
        return ordered, 2 * places, RowScales()
    places = _places(w)
    if x.dtype == F16 and w.layout.dense and places == w.layout.k and rows.vectors_of(16):
        return rows.array, rows.row, RowScales()
    return linear_layout.halves(rows, w.layout, places), 2 * places, RowScales()


def _codes(x: QuantizedTensor, w: Weights) -> tuple[Any, int, RowScales]:
    places = _places(w)
    rows = linear_layout.matrix_of(x.values)
    affine = w.zeros is not None
    offset = 0 if x.bits == 4 else linear_layout.flip_of(x.bits, x.signed)
    inner = 1 if x.axis is None else math.prod(x.shape[x.axis + 1 : -1])
    scales = RowScales(copies.aligned(x.scale), copies.aligned(x.zero_point), offset, None, inner)
    in_place = x.bits == 8 and not offset and not affine and w.layout.dense
    if in_place and places == w.layout.k and rows.vectors_of(16):
        return rows.array, rows.row, scales
    codes, sums = linear_layout.packed(rows, x.bits, x.signed, w.layout, places, 8, sums=affine)
    return codes, places, scales._replace(sums=sums)
