# SPDX-License-Identifier: Apache-2.0
"""int32 sums to codes of the next layer."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from halfbyte.arrays import F32, check_out, kind_of, on_device, require_dtype, single_bits
from halfbyte.devices import backend_of, beside, empty_like
from halfbyte.quantized import (
    I8,
    I32,
    U8,
    check_axis,
    check_choice,
    check_scale,
    check_zero_point,
    code_range,
    is_integer,
)
from halfbyte.tensors import library
from halfbyte.tensors.arguments import checked_dtype, device_views_of


def requantize(
    acc: Any,
    scale: Any,
    *,
    zero_point: Any = None,
    dtype: Any = np.int8,
    bias: Any = None,
    activation: Literal["relu"] | None = None,
    axis: int = -1,
    out: Any = None,
) -> Any:
    """Turn int32 sums into codes: ``clip(rint(activation(acc * scale + bias)) + zero_point)``.

    In float32, each step rounded, ties to even; over the full range of `dtype`. A NaN (of `bias`)
    becomes the zero point.

    Parameters
    ----------
    acc : int32 array
        Any shape and strides, in the CPU's memory or on the current GPU; so are all arrays. On a
        GPU the values of scales and zero points are not looked at.
    scale : float32 array or Python float
        Positive and finite, of shape () or (acc.shape[axis],): input scale * weight scale /
        output scale.
    zero_point : int or integer array, optional
        In the range of `dtype`, of shape () or (acc.shape[axis],).
    dtype : {int8, uint8}
    bias : float32 array or Python float, optional
        In steps of the output, of shape () or (acc.shape[axis],).
    activation : {None, "relu"}
    axis : int
        The axis that scales, zero points and biases belong to.
    out : array of acc.shape and `dtype`, optional
        Any strides; shares no byte with `acc`.

    Returns
    -------
    int8 or uint8 array, shape of acc
        Bit-identical on every backend.

    Raises
    ------
    TypeError
        Another kind of argument, or another dtype.
    ValueError
        A wrong shape, a scale or zero point out of range.

    Examples
    --------
    >>> acc = np.array([[1000, -2000], [3, 70000]], np.int32)
    >>> requantize(acc, 0.01, bias=np.array([0.5, 0.0], np.float32), activation="relu")
    array([[ 10,   0],
           [  1, 127]], dtype=int8)
    """
    name = "requantize"
    seen, home = device_views_of(
        name, acc=acc, scale=scale, zero_point=zero_point, bias=bias, out=out
    )
    acc, result = seen["acc"], seen["out"]
    require_dtype(name, "acc", acc, (I32,))
    wanted = checked_dtype(name, dtype, home, (I8, U8))
    check_choice(name, "activation", activation, (None, "relu"))
    its_axis = _requantize_axis(name, axis, acc.ndim)
    limits = code_range(8, wanted == I8, narrow=False)
    channels = {}
    for key, default in (("scale", None), ("zero_point", 0), ("bias", 0.0)):
        value = default if seen[key] is None else seen[key]
        shape = _channel_shape(name, key, value, acc.shape, its_axis)
        if key == "scale":
            value = check_scale(name, key, value, shape)
        elif key == "zero_point":
            value = check_zero_point(name, key, value, shape, *limits)
        else:
            value = _checked_bias(name, value)
        channels[key] = value
    if result is None:
        result = empty_like(acc, wanted)
    else:
        require_dtype(name, "out", result, (wanted,))
        inputs = [(k, v) for k, v in seen.items() if k != "out" and hasattr(v, "strides")]
        check_out(name, result, acc.shape, inputs)
    if acc.size:
        s, z, b = (beside(acc, channels[key], F32) for key in ("scale", "zero_point", "bias"))
        backend = backend_of(acc, "quantization")
        backend.requantize(acc, result, s, z, b, its_axis, relu=activation == "relu")
    return library.of(home, result) if out is None else out


def _requantize_axis(name: str, axis: Any, ndim: int) -> int | None:
    """Return the axis; None for an array without dimensions, whose scale has the shape ()."""
    return None if not ndim and is_integer(axis) and axis == -1 else check_axis(name, axis, ndim)


def _channel_shape(
    name: str, key: str, value: Any, shape: tuple[int, ...], axis: int | None
) -> tuple[int, ...]:
    """Return the value's shape, which is () or (shape[axis],)."""
    got = getattr(value, "shape", ())
    if got == () or (axis is not None and got == (shape[axis],)):
        return got
    need = "()" if axis is None else f"() or {(shape[axis],)}"
    msg = f"{name}: {key} has shape {got}; need {need}"
    raise ValueError(msg)


def _checked_bias(name: str, bias: Any) -> Any:
    if type(bias) in (float, int):
        try:
            bits = single_bits(float(bias))
        except OverflowError:
            msg = f"{name}: bias is {bias}; need a number that float64 can hold"
            raise ValueError(msg) from None
        return np.asarray(bits, np.uint32).view(F32)
    if on_device(bias):
        require_dtype(name, "bias", bias, (F32,))
        return bias
    if not isinstance(bias, (np.ndarray, np.float32)):
        msg = f"{name}: bias is a {kind_of(bias)}; need a float32 array or a Python float"
        raise TypeError(msg)
    array = np.asarray(bias)
    require_dtype(name, "bias", array, (F32,))
    return array
