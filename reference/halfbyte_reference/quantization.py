# SPDX-License-Identifier: Apache-2.0
"""Numbers to codes and back: quantize, dequantize, requantize, and how nibbles are packed.

Every step is rounded to FP32. Codes are int8 (uint8 when unsigned) of the array's shape, whatever
their bits; `pack_nibbles` is what becomes of 4-bit ones in memory.
"""

from typing import NamedTuple

import numpy as np

from halfbyte_reference.activations import ACTIVATIONS
from halfbyte_reference.casts import to_f16, to_f32
from halfbyte_reference.channels import gather, spread
from halfbyte_reference.philox import uniforms
from halfbyte_reference.scales import best_scale, code_range, scale_zero_point


class Quantized(NamedTuple):
    """Codes and what they mean: x is about (codes - zero_point) * scale."""

    codes: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray | None


def quantize(
    x,
    *,
    bits=8,
    axis=None,
    group_size=None,
    symmetric=True,
    signed=True,
    narrow_range=None,
    scale=None,
    zero_point=None,
    method="absmax",
    rounding="nearest",
    seed=None,
    check_finite=True,
) -> Quantized:
    """Return clip(rint(x / scale) + zero_point) with the scale given, or the data's own."""
    narrow = symmetric if narrow_range is None else narrow_range
    qmin, qmax = code_range(bits, signed, narrow)
    x = to_f32(x)
    if scale is None:
        finite = np.isfinite(gather(x, axis, group_size))
        if check_finite and not finite.all():
            index = tuple(int(i) for i in np.argwhere(~finite.all(axis=-1))[0])
            msg = f"quantize: x has a NaN or an infinity in channel {index}"
            raise ValueError(msg)
        held = np.where(finite, gather(x, axis, group_size), np.float32(0))
        scale, zero_point = scale_zero_point(
            held.min(axis=-1, initial=0),
            held.max(axis=-1, initial=0),
            bits=bits,
            signed=signed,
            symmetric=symmetric,
            narrow=narrow,
        )
        if method == "mse":
            scale = best_scale(held, scale, zero_point, qmin, qmax)
    scale = np.asarray(scale, np.float32)
    zero_point = None if zero_point is None else np.asarray(zero_point, np.int32)
    z = spread(np.int32(0) if zero_point is None else zero_point, x.shape, axis, group_size)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        t = x / spread(scale, x.shape, axis, group_size)
        if rounding == "stochastic":
            f = np.floor(t)
            steps = f + (uniforms(seed, 0, x.size).reshape(x.shape) < t - f)
        else:
            steps = np.rint(t)
    codes = clipped(steps, z, qmin, qmax).astype(np.int8 if signed else np.uint8)
    return Quantized(codes, scale, zero_point)


def clipped(steps, zero_point, qmin, qmax) -> np.ndarray:
    """Return clip(steps + zero_point, qmin, qmax) as int32; NaN becomes the zero point."""
    code = np.clip(steps + np.asarray(zero_point, np.float32), np.float32(qmin), np.float32(qmax))
    return np.where(np.isnan(code), zero_point, code).astype(np.int32)


def dequantize(
    codes, scale, zero_point=None, *, axis=None, group_size=None, dtype=np.float32
) -> np.ndarray:
    """Return float32(codes - zero_point) * scale, cast to `dtype`; codes are not packed."""
    zero_point = np.asarray(0 if zero_point is None else zero_point, np.int32)
    scale = np.asarray(scale, np.float32)
    difference = codes.astype(np.int32) - spread(zero_point, codes.shape, axis, group_size)
    with np.errstate(over="ignore", under="ignore"):
        y = difference.astype(np.float32) * spread(scale, codes.shape, axis, group_size)
    return np.asarray(to_f16(y) if np.dtype(dtype) == np.float16 else y)


def requantize(
    acc, scale, *, zero_point=None, dtype=np.int8, bias=None, activation=None, axis=-1
) -> np.ndarray:
    """Return clip(rint(activation(float32(acc) * scale + bias)) + zero_point), `dtype`'s range."""
    zero_point = np.asarray(0 if zero_point is None else zero_point, np.int32)
    zero_point = spread(zero_point, acc.shape, axis, None)
    scale = spread(np.asarray(scale, np.float32), acc.shape, axis, None)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        y = acc.astype(np.float32) * scale
        if bias is not None:
            y = y + spread(np.asarray(bias, np.float32), acc.shape, axis, None)
        if activation is not None:
            y = ACTIVATIONS[activation](y)
        steps = np.rint(y)
    limits = np.iinfo(dtype)
    return clipped(steps, zero_point, limits.min, limits.max).astype(dtype)


def pack_nibbles(codes: np.ndarray) -> np.ndarray:
    """Put element 2i of the last axis in the low nibble of byte i and 2i + 1 in the high one."""
    nibbles = codes.astype(np.uint8) & 15
    packed = nibbles[..., 0::2].copy()
    packed[..., : codes.shape[-1] // 2] |= nibbles[..., 1::2] << 4
    return packed


def unpack_nibbles(packed: np.ndarray, length: int, signed: bool) -> np.ndarray:
    """Return the `length` elements of each row, int8 (-8 .. 7), or uint8 (0 .. 15)."""
    nibbles = np.stack([packed & 15, packed >> 4], axis=-1)
    nibbles = nibbles.reshape(*packed.shape[:-1], 2 * packed.shape[-1])[..., :length]
    return (nibbles ^ 8).astype(np.int8) - np.int8(8) if signed else nibbles
