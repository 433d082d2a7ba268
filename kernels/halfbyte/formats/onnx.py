# SPDX-License-Identifier: Apache-2.0
"""Tensors of ONNX's QuantizeLinear and DequantizeLinear: ``(x - zero_point) * scale``.

    TensorProto.raw_data        the whole tensor in C order, the first code in the lowest bits

    INT8, UINT8   | c0 | c1 | c2 | c3 | ...
    INT4, UINT4   | c1   c0 | c3   c2 | ...     high nibble, low nibble; rows are not padded: of
    INT2, UINT2   | c3 c2 c1 c0 | ...           an odd row the last code shares a byte with the
                                                first of the next
    scale, zero_point           shape ()               for all
                                shape (D_axis,)        for each index along `axis`
                                ceil(D_axis / B)       along `axis`, every other size the tensor's:
                                                       block_size B neighbours along `axis`

A zero point has the type of the codes, and so their bytes.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from halfbyte.arrays import F16, Array, describe_dtype, kind_of, require_dtype
from halfbyte.formats import codes as shared
from halfbyte.quantized import (
    U8,
    check_axis,
    check_scale,
    check_shape,
    code_dtype,
    is_integer,
    scale_shape,
)
from halfbyte.tensors import QuantizedTensor, library, nibbles

DataType = Literal["INT8", "UINT8", "INT4", "UINT4", "INT2", "UINT2"]

# Width and sign of the codes by the names of TensorProto.DataType, and these by its numbers.
_TYPES = {
    "INT8": (8, True),
    "UINT8": (8, False),
    "INT4": (4, True),
    "UINT4": (4, False),
    "INT2": (2, True),
    "UINT2": (2, False),
}
_NUMBERS: dict[int, DataType] = {
    3: "INT8",
    2: "UINT8",
    22: "INT4",
    21: "UINT4",
    26: "INT2",
    25: "UINT2",
}


class OnnxTensors(NamedTuple):
    """The inputs and attributes of a DequantizeLinear node.

    ``values.tobytes()`` and ``zero_point.tobytes()`` are `raw_data` of tensors of `data_type`, with
    the dims `shape` and ``scale.shape``.
    """

    values: Any  # int8 or uint8 array of `shape`; below 8 bits uint8, flat
    scale: Any  # float32
    zero_point: Any  # of the form of values; None where there is none
    data_type: str  # name of TensorProto.DataType
    shape: tuple[int, ...]
    axis: int | None  # None where the scale is one number
    block_size: int  # 0 where scales are not blocked, ONNX's default


def encode_onnx(q: QuantizedTensor, *, axis: int | None = None) -> OnnxTensors:
    """Return the tensors and attributes of a DequantizeLinear node that gives what q stands for.

    Parameters
    ----------
    q : QuantizedTensor of 8, 4 or 2 bits
    axis : int, optional
        Of a grouped q only: where its last axis goes, along which ONNX's blocks then lie. By
        default it stays the last. ``axis=0`` makes of weights (n, k) the (k, n) that MatMul needs.

    Returns
    -------
    OnnxTensors
        Without zero points if q has none; a QuantizeLinear then needs ``output_dtype=data_type``.

    Raises
    ------
    TypeError
        Another kind of argument.
    ValueError
        Codes of 3 bits, or an `axis` that does not exist or has nothing to say.

    Examples
    --------
    >>> q = quantize(np.array([[1, -2, 3], [4, 5, -6]], np.float32), bits=4, axis=0)
    >>> tensors = encode_onnx(q)
    >>> tensors.values.tobytes().hex(), tensors.data_type, tensors.shape, tensors.axis
    ('b25796', 'INT4', (2, 3), 0)
    """
    name = "encode_onnx"
    shared.check_tensor(name, q, (8, 4, 2), "ONNX")
    codes, (_, scale, zero_point) = q._codes(), q._numpy()
    node_axis = q.axis
    if axis is not None and q.group_size is None:
        msg = f"{name}: axis is {axis} and q has no groups; need axis=None"
        raise ValueError(msg)
    if q.group_size is not None:
        node_axis = codes.ndim - 1 if axis is None else check_axis(name, axis, codes.ndim)
        assert node_axis is not None
        codes, scale = np.moveaxis(codes, -1, node_axis), np.moveaxis(scale, -1, node_axis)
        if zero_point is not None:
            zero_point = np.moveaxis(zero_point, -1, node_axis)
    home = library.library_of(q.values)
    if zero_point is not None:
        zero_point = _packed(zero_point.astype(code_dtype(q.signed)), q.bits)
        zero_point = library.of(home, zero_point)
    return OnnxTensors(
        values=library.of(home, _packed(codes, q.bits)),
        scale=library.of(home, scale),
        zero_point=zero_point,
        data_type=f"{'' if q.signed else 'U'}INT{q.bits}",
        shape=codes.shape,
        axis=node_axis,
        block_size=q.group_size or 0,
    )


def decode_onnx(
    values: Any,
    scale: Any,
    zero_point: Any = None,
    *,
    data_type: DataType | int,
    shape: tuple[int, ...] | None = None,
    axis: int | None = None,
    block_size: int = 0,
    move_axis: bool = False,
) -> QuantizedTensor:
    """Read the tensors of a DequantizeLinear node.

    ``decode_onnx(**encode_onnx(q)._asdict())`` is q, with zero points if q is unsigned or has them.

    Parameters
    ----------
    values : array
        INT8 and UINT8: int8 or uint8, of the tensor's shape. Below 8 bits: the bytes of raw_data, a
        flat uint8 array, of which bits after the last code are ignored; or an array of ml_dtypes
        that has the type's name, as ``onnx.numpy_helper.to_array`` gives it.
    scale : float32 or float16 array, or Python float
        Positive and finite. float16 is widened, which is exact.
    zero_point : array, optional
        Of the form of `values`, with the shape of `scale`. None is 0.
    data_type : {'INT8', 'UINT8', 'INT4', 'UINT4', 'INT2', 'UINT2'}, or its number
        Of `values`, as its TensorProto names it: a name of TensorProto.DataType, or the number that
        is in a tensor's `data_type`.
    shape : tuple of int, optional
        Needed with bytes of codes below 8 bits.
    axis : int, optional
        The node's attribute; has no meaning where `scale` is one number. ONNX's default of 1 is the
        caller's to give.
    block_size : int
        The node's attribute.
    move_axis : bool
        Where blocks lie along another axis than the last, move that axis to the end: the result
        stands for ``np.moveaxis(x, axis, -1)``. Blocks of weights (k, n) along axis 0 become the
        groups of weights (n, k). Otherwise they are refused.

    Returns
    -------
    QuantizedTensor

    Raises
    ------
    TypeError
        Another kind of argument or another dtype.
    ValueError
        An unknown type, shapes that do not fit, a scale that is not positive and finite, or blocks
        along another axis.

    Examples
    --------
    >>> raw = np.array([0xB2, 0x57, 0x96], np.uint8)  # codes 2, -5, 7, 5, 6, -7
    >>> q = decode_onnx(raw, np.float32([0.5, 1]), data_type="INT4", shape=(2, 3), axis=0)
    >>> q.dequantize()
    array([[ 1. , -2.5,  3.5],
           [ 5. ,  6. , -7. ]], dtype=float32)
    """
    name = "decode_onnx"
    data_type, bits, signed = _checked_type(name, data_type)
    arrays = {"values": values}
    if not isinstance(scale, (float, int, np.generic)):
        arrays["scale"] = scale
    if zero_point is not None:
        arrays["zero_point"] = zero_point
    views, home = library.views(name, **arrays)
    seen = {"scale": scale, **dict(zip(arrays, views, strict=True))}
    codes = _codes(name, "values", seen["values"], data_type, shape)
    scale = seen["scale"]
    if isinstance(scale, np.ndarray) and scale.dtype == F16:
        scale = scale.astype(np.float32)
    group_size = _check_block_size(name, block_size)
    if group_size is None and not np.ndim(scale):
        axis = None
    axis = check_axis(name, axis, codes.ndim)
    need = scale_shape(codes.shape, axis, None)
    if group_size is not None:
        if axis is None:
            msg = f"{name}: block_size is {block_size} and axis is None; need the blocks' axis"
            raise ValueError(msg)
        need = (*codes.shape[:axis], -(-need[0] // group_size), *codes.shape[axis + 1 :])
    scale = check_scale(name, "scale", scale, need)
    if zero_point is not None:
        zero_point = _codes(name, "zero_point", seen["zero_point"], data_type, need)
        zero_point = zero_point.astype(np.int32)
    elif not signed:
        zero_point = np.zeros(need, np.int32)
    if group_size is not None and axis is not None:
        if axis != codes.ndim - 1 and not move_axis:
            msg = f"{name}: blocks lie along axis {axis} of shape {codes.shape}"
            msg += "; need the last, or move_axis=True to make it the last"
            raise ValueError(msg)
        codes, scale = np.moveaxis(codes, axis, -1), np.moveaxis(scale, axis, -1)
        if zero_point is not None:
            zero_point = np.moveaxis(zero_point, axis, -1)
        axis = None
    if bits == 4 and not codes.ndim:
        msg = f"{name}: values has shape (); need one dimension or more for 4 bits"
        raise ValueError(msg)
    held = nibbles.pack(codes) if bits == 4 else codes
    return shared.made(home, held, scale, zero_point, bits, axis, group_size, signed, codes.shape)


def _checked_type(function: str, data_type: Any) -> tuple[DataType, int, bool]:
    """Return the name of a type, and width and sign of its codes."""
    numbered = is_integer(data_type)
    name = _NUMBERS.get(data_type) if numbered else data_type
    if name not in _TYPES:
        need = ", ".join(f"{text} ({number})" for number, text in _NUMBERS.items())
        msg = f"{function}: data_type is {data_type!r}; need one of {need}"
        raise ValueError(msg) if numbered or isinstance(name, str) else TypeError(msg)
    return (name, *_TYPES[name])


def _check_block_size(function: str, block_size: Any) -> int | None:
    """Return the size of a block, or None where there are none."""
    if not is_integer(block_size):
        msg = f"{function}: block_size is a {kind_of(block_size)}; need an integer"
        raise TypeError(msg)
    if block_size < 0:
        msg = f"{function}: block_size is {block_size}; need 0 or more"
        raise ValueError(msg)
    return int(block_size) or None


def _packed(codes: Array, bits: int) -> Array:
    return codes if bits == 8 else shared.pack(codes.reshape(-1), bits)


def _codes(function: str, name: str, array: Array, data_type: str, shape: Any) -> Array:
    """Return the codes of a tensor one in a byte, int8 or uint8, of its shape."""
    bits, signed = _TYPES[data_type]
    if shape is not None:
        shape = check_shape(function, shape)
    if array.dtype.kind == "V" and array.dtype.name == data_type.lower():
        array = array.astype(code_dtype(signed))
    elif bits == 8:
        require_dtype(function, name, array, (code_dtype(signed),))
    else:
        if array.dtype != U8:
            msg = f"{function}: {name} has dtype {describe_dtype(array.dtype)}"
            msg += f"; need uint8 bytes, or {data_type.lower()} of ml_dtypes"
            raise TypeError(msg)
        if shape is None:
            msg = f"{function}: {name} are bytes of {data_type} and shape is None; need it"
            raise ValueError(msg)
        size = math.prod(shape)
        need = (-(-size * bits // 8),)
        if array.shape != need:
            msg = f"{function}: {name} has shape {array.shape}; need {need} for {size} codes"
            raise ValueError(msg)
        flat = shared.unpack(array, bits, size)
        return (shared.sign_extended(flat, bits) if signed else flat).reshape(shape)
    if shape is not None and array.shape != shape:
        msg = f"{function}: {name} has shape {array.shape}; need {shape}"
        raise ValueError(msg)
    return array
