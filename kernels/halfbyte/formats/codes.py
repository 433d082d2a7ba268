# SPDX-License-Identifier: Apache-2.0
"""What the layouts share: codes as unsigned numbers, several in a byte, and scales of either sign.

With u the unsigned code, u = code + 2^(bits - 1) for signed ones (zero points alike), and a scale
d < 0 is a scale -d of turned codes: d * (u - z) = -d * ((m - u) - (m - z)), m = 2^bits - 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from halfbyte.arrays import F16, F32, Array, kind_of, require_dtype
from halfbyte.quantized import I8, U8
from halfbyte.tensors import QuantizedTensor, library

_F32_INFINITY = 0x7F800000
_F32_ONE = 0x3F800000


def check_tensor(function: str, q: Any, bits: tuple[int, ...], layout: str) -> None:
    """Raise unless q is a QuantizedTensor of one of these widths."""
    if not isinstance(q, QuantizedTensor):
        msg = f"{function}: q is a {kind_of(q)}; need a QuantizedTensor"
        raise TypeError(msg)
    if q.bits not in bits:
        need = " or ".join(map(str, bits))
        msg = f"{function}: q has codes of {q.bits} bits; need {need} for {layout}"
        raise ValueError(msg)


def unsigned(q: QuantizedTensor) -> tuple[Array, Array]:
    """Return the codes of q as unsigned numbers, and the zero points that belong to them."""
    codes = q._codes()
    _, scale, zero_point = q._numpy()
    if not q.signed:
        assert zero_point is not None
        return codes, zero_point
    half = 2 ** (q.bits - 1)
    if zero_point is None:
        zero_point = np.zeros(scale.shape, np.int32)
    return codes.view(U8) + U8.type(half), zero_point + np.int32(half)


def signed(codes: Array, bits: int) -> Array:
    """Return unsigned codes as signed ones."""
    return (codes - U8.type(2 ** (bits - 1))).view(I8)


def pack(codes: Array, bits: int) -> Array:
    """Put 8 / bits codes in a byte along the last axis, the first in the lowest bits."""
    per_byte = 8 // bits
    codes = codes.view(U8) & U8.type(2**bits - 1)
    packed = codes[..., ::per_byte].copy()
    for place in range(1, per_byte):
        part = codes[..., place::per_byte]
        packed[..., : part.shape[-1]] |= part << U8.type(place * bits)
    return packed


def unpack(packed: Array, bits: int, length: int) -> Array:
    """Return the `length` unsigned codes of each row."""
    per_byte = 8 // bits
    codes = np.empty((*packed.shape[:-1], packed.shape[-1] * per_byte), U8)
    for place in range(per_byte):
        codes[..., place::per_byte] = packed >> U8.type(place * bits)
    codes &= U8.type(2**bits - 1)
    return codes[..., :length]


def sign_extended(codes: Array, bits: int) -> Array:
    """Return codes whose `bits` lowest bits are in two's complement as int8."""
    half = U8.type(2 ** (bits - 1))
    return ((codes ^ half) - half).view(I8)


def widened(function: str, name: str, scales: Array) -> Array:
    """Return scales of a file, float32 or float16, as float32."""
    require_dtype(function, name, scales, (F32, F16))
    return scales.astype(F32, copy=False)


def turned(
    function: str, name: str, scale: Array, codes: Array, zero_point: Array, bits: int
) -> tuple[Array, Array, Array]:
    """Return positive scales, codes and zero points of the values that finite scales make.

    Codes have one axis more than scales: the elements of a group. A scale of 0, which makes nothing
    but zeros, becomes 1 with every code at the zero point.
    """
    sizes = scale.view(np.uint32) & np.uint32(0x7FFFFFFF)
    wrong = sizes >= _F32_INFINITY
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        msg = f"{function}: {name} is {scale[index]} at {index}; need finite scales"
        raise ValueError(msg)
    zero, negative = sizes == 0, scale.view(np.int32) < 0
    top = 2**bits - 1
    zero_point = np.where(negative, top - zero_point, zero_point).astype(np.int32)
    codes = codes ^ np.where(negative, U8.type(top), U8.type(0))[..., None]
    codes = np.where(zero[..., None], zero_point[..., None].astype(U8), codes)
    return np.where(zero, np.uint32(_F32_ONE), sizes).view(F32), codes, zero_point


def silent(scale: Array, codes: Array, zero_point: Array) -> Array:
    """Where a group is what `turned` makes of a scale of 0."""
    still: Array = (codes == zero_point[..., None]).all(axis=-1)
    still &= scale.view(np.uint32) == _F32_ONE
    return still


def made(
    home: Any, values: Array, scale: Array, zero_point: Array | None, bits: int,
    axis: int | None, group_size: int | None, is_signed: bool, shape: tuple[int, ...],
) -> QuantizedTensor:  # fmt: skip
    """Make a tensor of parts that fit, in the caller's library."""
    return QuantizedTensor._trusted(
        library.of(home, values),
        library.of(home, scale),
        None if zero_point is None else library.of(home, zero_point),
        bits, axis, group_size, is_signed, shape,
    )  # fmt: skip
