# SPDX-License-Identifier: Apache-2.0
"""Two 4-bit codes a byte, in the order of ONNX and DLPack.

    byte i of a row   | 7  6  5  4 | 3  2  1  0 |
                      | code 2i+1  |  code 2i   |     signed codes in two's complement

An odd row ends with a high nibble of 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import on_device
from halfbyte.quantized import I8, U8, values_shape

if TYPE_CHECKING:
    from halfbyte.arrays import Array


def is_int4(dtype: np.dtype[Any]) -> bool:
    """Whether this is int4 or uint4 of ml_dtypes, which need not be installed."""
    return dtype.kind == "V" and dtype.names is None and dtype.name in ("int4", "uint4")


def pack(codes: Array) -> Array:
    """Pack codes, int8 or uint8 or ml_dtypes', along the last axis; their low four bits count."""
    if is_int4(codes.dtype):
        codes = codes.astype(U8 if codes.dtype.name == "uint4" else I8)
    codes = codes.view(U8)
    packed = codes[..., 0::2] & 15
    packed[..., : codes.shape[-1] // 2] |= codes[..., 1::2] << 4
    return packed


def unpack(packed: Array, shape: tuple[int, ...], signed: bool) -> Array:
    """Return the codes of bytes, int8 or uint8, of `shape`."""
    codes = np.empty(shape, U8)
    codes[..., 0::2] = packed & 15
    codes[..., 1::2] = packed[..., : shape[-1] // 2] >> 4
    if not signed:
        return codes
    codes ^= 8
    result = codes.view(I8)
    result -= 8
    return result


def check_packed(function: str, name: str, packed: Array, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless bytes hold 4-bit codes of this shape and nothing else."""
    if not shape:
        msg = f"{function}: shape is (); need one dimension or more for 4 bits"
        raise ValueError(msg)
    need = values_shape(shape, 4)
    if packed.shape != need:
        msg = f"{function}: {name} has shape {packed.shape}; need {need} for codes of shape {shape}"
        raise ValueError(msg)
    if not on_device(packed) and shape[-1] % 2 and (packed[..., -1] > 15).any():
        msg = f"{function}: {name} has more than {shape[-1]} codes a row; need a last nibble of 0"
        raise ValueError(msg)
