# SPDX-License-Identifier: Apache-2.0
"""4-bit codes two a byte along the last axis, as Int4Array holds them, and one a byte."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from halfbyte.cuda import runtime
from halfbyte.cuda.gemm_int_pack import ALONG, BYTES, Source, write
from halfbyte.dimensions import merge_dimensions

_BATCH = 3  # leading dimensions of a launch, but for the rows


def pack(values: Any) -> Any:
    """Return codes (..., k), int8 or uint8, of which the low four bits count, two a byte."""
    *leading, k = values.shape
    target = runtime.empty((*leading, -(-k // 2)), np.uint8)
    _write(values, target, k, BYTES, ALONG, signed=False)
    return target


def unpack(packed: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return codes of this shape, int8 or uint8, of which two share a byte of `packed`."""
    target = runtime.empty(shape, dtype)
    _write(packed, target, shape[-1], ALONG, BYTES, signed=target.dtype.kind == "i")
    return target


def _write(source: Any, target: Any, k: int, form: int, to: int, *, signed: bool) -> None:
    if not target.size:
        return
    # The target is in C order, and so are its dimensions when merged.
    shape, wide, own = merge_dimensions(target.shape[:-1], source.strides[:-1], target.strides[:-1])
    cut = max(0, len(shape) - 1 - _BATCH)
    batch, rows = tuple(shape[cut:-1]), shape[-1]
    for index in itertools.product(*map(range, shape[:cut])):
        start = sum(i * stride for i, stride in zip(index, wide, strict=False))
        offset = sum(i * stride for i, stride in zip(index, own, strict=False))
        address = runtime.address(source) + start
        codes = Source(address, wide[-1], source.strides[-1], tuple(wide[cut:-1]), form, signed)
        write(codes, batch, target, rows, k, k, to, offset=offset)
