# SPDX-License-Identifier: Apache-2.0
"""Weights of onnxruntime's MatMulNBits (com.microsoft): ``x @ w.T``, w (n, k) in blocks along k.

    b             uint8    (n, blocks, block_size * bits / 8)    blocks = ceil(k / block_size)

                  4 bits   | c1   c0 | c3   c2 | ...    the first code in the lowest bits; codes
                  2 bits   | c3 c2 c1 c0 | ...          beyond k mean nothing
    scales        float32  (n, blocks)
    zero_points   uint8    (n, ceil(blocks * bits / 8))          packed like the codes of a row
                  none: all are 2^(bits - 1)

w = scale * (code - zero_point), codes and zero points unsigned. Scales may be negative: the
quantizers of onnxruntime map the value of largest magnitude, whatever its sign, to code 0.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from halfbyte.arrays import Array, kind_of, require_dtype
from halfbyte.formats import codes as shared
from halfbyte.quantized import U8, check_bits, is_integer
from halfbyte.tensors import QuantizedTensor, library, nibbles

_WIDTHS = (2, 4, 8)


class MatMulNBits(NamedTuple):
    """The inputs and attributes of a MatMulNBits node; its N is ``b.shape[0]``."""

    b: Any  # uint8 (n, blocks, block_size * bits / 8)
    scales: Any  # float32 (n, blocks)
    zero_points: Any  # uint8 (n, ceil(blocks * bits / 8)), or None
    k: int
    bits: int
    block_size: int


def encode_matmul_nbits(q: QuantizedTensor) -> MatMulNBits:
    """Return the inputs and attributes of a MatMulNBits node.

    Parameters
    ----------
    q : QuantizedTensor of weights, shape (n, k)
        8, 4 or 2 bits; group_size a power of two from 16 on. Symmetric ones need no zero points.

    Returns
    -------
    MatMulNBits
        Codes beyond k are 0.

    Raises
    ------
    TypeError
        Another kind of argument.
    ValueError
        Another width, shape or group size.

    Examples
    --------
    >>> q = quantize(np.ones((3, 40), np.float32), bits=4, group_size=16)
    >>> node = encode_matmul_nbits(q)
    >>> node.b.shape, node.scales.shape, node.zero_points, node.k
    ((3, 3, 8), (3, 3), None, 40)
    """
    name = "encode_matmul_nbits"
    shared.check_tensor(name, q, _WIDTHS, "MatMulNBits")
    if len(q.shape) != 2:
        msg = f"{name}: q has shape {q.shape}; need (n, k)"
        raise ValueError(msg)
    if q.group_size is None:
        msg = f"{name}: q has no groups; need group_size, a power of two from 16 on"
        raise ValueError(msg)
    _check_block_size(name, "q.group_size", q.group_size)
    n, k = q.shape
    codes, zero_point = shared.unsigned(q)
    _, scale, _ = q._numpy()
    blocks = scale.shape[1]
    padded = np.zeros((n, blocks, q.group_size), U8)
    padded.reshape(n, blocks * q.group_size)[:, :k] = codes
    home = library.library_of(q.values)
    points = None
    if q.zero_point is not None:
        points = library.of(home, shared.pack(zero_point.astype(U8), q.bits))
    return MatMulNBits(
        b=library.of(home, shared.pack(padded, q.bits)),
        scales=library.of(home, scale),
        zero_points=points,
        k=k,
        bits=q.bits,
        block_size=q.group_size,
    )


def decode_matmul_nbits(
    b: Any, scales: Any, zero_points: Any = None, *, k: int, bits: Literal[2, 4, 8], block_size: int
) -> QuantizedTensor:
    """Read the inputs of a MatMulNBits node.

    ``decode_matmul_nbits(**encode_matmul_nbits(q)._asdict())`` dequantizes to the values of q.

    Parameters
    ----------
    b : uint8 array, shape (n, blocks, block_size * bits / 8)
    scales : float32 or float16 array, shape (n, blocks) or (n * blocks,)
        Finite. float16 is widened, which is exact.
    zero_points : uint8 array, shape (n, ceil(blocks * bits / 8)) or flat, optional
        None is 2^(bits - 1).
    k, bits, block_size : int
        The node's attributes K, bits and block_size. bits is 8, 4 or 2.

    Returns
    -------
    QuantizedTensor of shape (n, k), group_size `block_size`
        Signed and symmetric where there are no zero points and no scale is negative; else unsigned,
        codes and zero points turned to 2^bits - 1 - code where the scale is negative. A scale of 0
        becomes 1, with codes at the zero point.

    Raises
    ------
    TypeError
        Another kind of argument or another dtype.
    ValueError
        Shapes that do not fit, another width or block size, or a scale that is not finite.

    Examples
    --------
    >>> b, scales = np.full((1, 1, 8), 0x97, np.uint8), np.array([[0.5]], np.float32)
    >>> decode_matmul_nbits(b, scales, k=3, bits=4, block_size=16).dequantize()
    array([[-0.5,  0.5, -0.5]], dtype=float32)
    """
    name = "decode_matmul_nbits"
    if check_bits(name, bits) not in _WIDTHS:
        msg = f"{name}: bits is {bits}; need 8, 4 or 2"
        raise ValueError(msg)
    if not is_integer(k):
        msg = f"{name}: k is a {kind_of(k)}; need an integer"
        raise TypeError(msg)
    if k < 0:
        msg = f"{name}: k is {k}; need 0 or more"
        raise ValueError(msg)
    k, block_size = int(k), _check_block_size(name, "block_size", block_size)
    arrays = {"b": b, "scales": scales}
    if zero_points is not None:
        arrays["zero_points"] = zero_points
    (b, scales, *points), home = library.views(name, **arrays)
    require_dtype(name, "b", b, (U8,))
    scale = shared.widened(name, "scales", scales)
    n, blocks = b.shape[0] if b.ndim else 0, -(-k // block_size)
    _check_shape(name, "b", b, (n, blocks, block_size * bits // 8))
    scale = _check_shape(name, "scales", scale, (n, blocks))
    codes = shared.unpack(b, bits, block_size)
    middle = 2 ** (bits - 1)
    zero_point = np.full((n, blocks), middle, np.int32)
    if points:
        require_dtype(name, "zero_points", points[0], (U8,))
        packed = _check_shape(name, "zero_points", points[0], (n, -(-blocks * bits // 8)))
        zero_point = shared.unpack(packed, bits, blocks).astype(np.int32)
    scale, codes, zero_point = shared.turned(name, "scales", scale, codes, zero_point, bits)
    codes = codes.reshape(n, blocks * block_size)[:, :k]
    signed = not points and bool((zero_point == middle).all())
    if signed:
        codes = shared.signed(codes, bits)
    held = nibbles.pack(codes) if bits == 4 else codes
    return shared.made(
        home, held, scale, None if signed else zero_point, bits, None, block_size, signed, (n, k)
    )


def _check_block_size(function: str, name: str, block_size: Any) -> int:
    if not is_integer(block_size):
        msg = f"{function}: {name} is a {kind_of(block_size)}; need an integer"
        raise TypeError(msg)
    if block_size < 16 or block_size & (block_size - 1):
        msg = f"{function}: {name} is {block_size}; need a power of two from 16 on"
        raise ValueError(msg)
    return int(block_size)


def _check_shape(function: str, name: str, array: Array, shape: tuple[int, ...]) -> Array:
    """Return an array of this shape; one of two dimensions may have come flat."""
    if array.shape == shape:
        return array
    if len(shape) == 2 and array.shape == (shape[0] * shape[1],):
        return array.reshape(shape)
    msg = f"{function}: {name} has shape {array.shape}; need {shape}"
    raise ValueError(msg)
