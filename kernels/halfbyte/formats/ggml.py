# SPDX-License-Identifier: Apache-2.0
"""Blocks of ggml, as they lie in GGUF files: 32 neighbours along a row share a float16 scale d.

    Q4_0    0   1   2   3   4        17        18 bytes, x[j] = d * (u[j] - 8)
          +-------+---+---+---+-- --+---+
          |   d   | u0| u1| u2| ... |u15|      low nibbles:  u[0] .. u[15]
          |       |u16|u17|u18|     |u31|      high nibbles: u[16] .. u[31]
          +-------+---+---+---+-- --+---+

    Q8_0    0   1   2   3   4        33        34 bytes, x[j] = d * c[j]
          +-------+---+---+---+-- --+---+
          |   d   | c0| c1| c2| ... |c31|      int8
          +-------+---+---+---+-- --+---+

d is little-endian. Q4_0 blocks have a d < 0 as often as not: ggml maps the value of largest
magnitude, whatever its sign, to u = 0.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from halfbyte.arrays import F16, F32, Array, require_dtype
from halfbyte.formats import codes as shared
from halfbyte.quantized import U8
from halfbyte.tensors import QuantizedTensor, library, nibbles

Kind = Literal["Q4_0", "Q8_0"]

_BLOCK = 32
_BITS = {"Q4_0": 4, "Q8_0": 8}
_F16_SIGN = np.uint16(0x8000)


def decode_ggml(data: Any, kind: Kind) -> QuantizedTensor:
    """Read blocks of ggml.

    Parameters
    ----------
    data : uint8 array, shape (..., bytes of a row)
        18 (Q4_0) or 34 (Q8_0) bytes a block of 32: of the tensors t of a ``gguf.GGUFReader``,
        ``decode_ggml(t.data, t.tensor_type.name)``.
    kind : {'Q4_0', 'Q8_0'}

    Returns
    -------
    QuantizedTensor of shape (..., 32 * blocks), group_size 32
        Q8_0: 8 bits, signed, symmetric. Q4_0: 4 bits, unsigned, with zero point 8 where d > 0 and
        7 where d < 0, codes turned to 15 - u. It dequantizes to ggml's values, but for the sign of
        zeros. A block with d = 0 gets the scale 1 and codes at the zero point.

    Raises
    ------
    TypeError
        Another kind of argument or another dtype.
    ValueError
        An unknown kind, a row that is no whole number of blocks, a d that is not finite, or one
        below 0 in Q8_0, which ggml never writes.

    Examples
    --------
    One block: the scale 0.5 and 32 codes of 3.

    >>> data = np.frombuffer(np.float16(0.5).tobytes() + bytes([3] * 32), np.uint8)
    >>> q = decode_ggml(data, "Q8_0")
    >>> q
    QuantizedTensor(8 bits, signed, symmetric, shape=(32,), group_size=32, 36 bytes)
    >>> print(q.dequantize()[:3])
    [1.5 1.5 1.5]
    """
    name = "decode_ggml"
    bits = _check_kind(name, kind)
    (data,), home = library.views(name, data=data)
    require_dtype(name, "data", data, (U8,))
    size = 2 + _BLOCK * bits // 8
    if not data.ndim or data.shape[-1] % size:
        msg = f"{name}: data has shape {data.shape}; need rows of {size} bytes a block for {kind}"
        raise ValueError(msg)
    blocks = data.reshape(*data.shape[:-1], data.shape[-1] // size, size)
    # The unsigned codes of both kinds mean d * (u - middle).
    body = blocks[..., 2:]
    if bits == 4:
        codes = np.concatenate([body & U8.type(15), body >> U8.type(4)], axis=-1)
    else:
        codes = body ^ U8.type(0x80)
    d = _scales(name, blocks, kind)
    middle = np.full(d.shape, 2 ** (bits - 1), np.int32)
    scale, codes, zero_point = shared.turned(name, "d", d, codes, middle, bits)
    shape = (*data.shape[:-1], blocks.shape[-2] * _BLOCK)
    codes = codes.reshape(shape)
    if bits == 8:
        return shared.made(home, shared.signed(codes, 8), scale, None, 8, None, _BLOCK, True, shape)
    values = nibbles.pack(codes)
    return shared.made(home, values, scale, zero_point, 4, None, _BLOCK, False, shape)


def encode_ggml(q: QuantizedTensor, kind: Kind, *, round_scale: bool = False) -> Any:
    """Write blocks of ggml.

    Parameters
    ----------
    q : QuantizedTensor, shape (..., k), group_size 32, k a multiple of 32
        Q8_0: 8 bits, symmetric. Q4_0: 4 bits, symmetric or with zero points that are the middle
        code or the one below it (8 and 7 when unsigned, 0 and -1 when signed), as `decode_ggml`
        gives them.
    kind : {'Q4_0', 'Q8_0'}
    round_scale : bool
        Round scales to float16, to nearest. Otherwise one that float16 does not hold is refused,
        for rounding changes values.

    Returns
    -------
    uint8 array, shape (..., k / 32 * bytes of a block)
        What `decode_ggml` reads back to equal values; to equal bytes, too, if they were ggml's and
        have no d = 0 whose codes are not at the middle. A group with scale 1 and nothing but zeros
        is written as d = 0.

    Raises
    ------
    TypeError
        Another kind of argument.
    ValueError
        An unknown kind, another width or group size, a k that is no multiple of 32, or a scale or
        zero point that the layout does not hold.

    Examples
    --------
    Scales that float16 holds, and the codes that go with them:

    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)
    >>> scale = to_f32(to_f16(quantize(x, group_size=32).scale))
    >>> encode_ggml(quantize(x, group_size=32, scale=scale), "Q8_0").shape
    (68,)
    """
    name = "encode_ggml"
    bits = _check_kind(name, kind)
    shared.check_tensor(name, q, (bits,), kind)
    if q.group_size != _BLOCK or q.shape[-1] % _BLOCK:
        msg = f"{name}: q has shape {q.shape} and group_size={q.group_size}"
        msg += f"; need group_size={_BLOCK} and a last size that is a multiple of it for {kind}"
        raise ValueError(msg)
    codes, zero_point = shared.unsigned(q)
    middle = 2 ** (bits - 1)
    negative = zero_point == middle - 1
    wrong = (zero_point != middle) & (~negative | (bits == 8))
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        offset = middle if q.signed else 0
        allowed = f"{middle - offset} or {middle - 1 - offset}" if bits == 4 else middle - offset
        msg = f"{name}: zero_point is {zero_point[index] - offset} at {index}"
        msg += f"; need {allowed} for {kind}"
        raise ValueError(msg)
    codes = codes.reshape(*zero_point.shape, _BLOCK)
    scale = library.view(q.scale)
    d = _halves(name, scale, round_scale).view(np.uint16)
    d = np.where(shared.silent(scale, codes, zero_point), np.uint16(0), d)
    d |= np.where(negative, _F16_SIGN, np.uint16(0))
    codes = codes ^ np.where(negative, U8.type(2**bits - 1), U8.type(0))[..., None]
    if bits == 4:
        body = codes[..., : _BLOCK // 2] | codes[..., _BLOCK // 2 :] << U8.type(4)
    else:
        body = shared.signed(codes, 8).view(U8)
    blocks = np.concatenate([d.astype("<u2")[..., None].view(U8), body], axis=-1)
    data = blocks.reshape(*q.shape[:-1], blocks.shape[-2] * blocks.shape[-1])
    return library.of(library.library_of(q.values), data)


def _check_kind(function: str, kind: Any) -> int:
    """Return the width of the codes."""
    if kind not in _BITS:
        msg = f"{function}: kind is {kind!r}; need 'Q4_0' or 'Q8_0'"
        raise ValueError(msg) if isinstance(kind, str) else TypeError(msg)
    return _BITS[kind]


def _scales(function: str, blocks: Array, kind: str) -> Array:
    """Return the d of each block as float32."""
    with np.errstate(invalid="ignore"):
        d = blocks[..., :2].copy().view("<f2")[..., 0].astype(F16).astype(F32)
    if kind == "Q8_0":
        wrong = d < 0
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            msg = f"{function}: d is {d[index]} at {index}; need 0 or more for {kind}"
            raise ValueError(msg)
        d = np.abs(d)
    return d


def _halves(function: str, scale: Array, round_scale: bool) -> Array:
    """Return scales as float16."""
    with np.errstate(over="ignore", under="ignore"):
        halves = scale.astype(F16)
    wrong = np.isinf(halves)
    need = "scales below 65520"
    if not round_scale:
        wrong |= halves.astype(F32).view(np.uint32) != scale.view(np.uint32)
        need = "scales that float16 holds exactly, or round_scale=True"
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        msg = f"{function}: scale is {scale[index]} at {index}; need {need}"
        raise ValueError(msg)
    return halves
