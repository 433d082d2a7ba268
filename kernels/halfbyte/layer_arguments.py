# SPDX-License-Identifier: Apache-2.0
"""What the linear layer takes, and what it makes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from halfbyte.arrays import F16, F32, kind_of, require_dtype
from halfbyte.devices import own
from halfbyte.products import FLOATS, check_depth, result_dtype
from halfbyte.quantized import (
    I8,
    I32,
    U8,
    Requantization,
    check_scale,
    check_zero_point,
    code_range,
    is_integer,
)
from halfbyte.tensors import PackedMatrix, QuantizedTensor, library

X_BITS = (8, 16)


class Form(NamedTuple):
    """What the result is: numbers, or codes if there is a scale, which then is the result's own."""

    dtype: np.dtype[Any]
    scale: Any = None  # float32, shape ()
    zero_point: Any = None  # int32, shape ()

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest code."""
        return code_range(8, self.dtype == I8, narrow=self.zero_point is None)

    @property
    def requantization(self) -> Requantization | None:
        """What the CPU's backend is told."""
        if self.scale is None:
            return None
        zero_point = 0 if self.zero_point is None else int(self.zero_point)
        return Requantization(int(self.scale.view(np.uint32)), zero_point, *self.limits)

    def tensor(self, values: Any, home: Any) -> QuantizedTensor:
        """Make a tensor of codes, an array of this library."""
        scale, zero_point = self.scale, self.zero_point
        if home is not np:
            scale = library.of(home, scale)
            zero_point = None if zero_point is None else library.of(home, zero_point)
        shape = tuple(values.shape)
        return QuantizedTensor._trusted(
            values, scale, zero_point, 8, None, None, self.dtype == I8, shape
        )


SINGLE = Form(F32)


def checked_weights(name: str, w: Any) -> tuple[int, int, bool]:
    """Return n and k, and whether weights are quantized ones."""
    if type(w) is PackedMatrix:
        if w.kind not in ("float16", "quantized"):
            msg = f"{name}: w was packed for {w.kind}; need prepack of a QuantizedTensor or of a "
            raise TypeError(msg + "float16 matrix")
        return w.shape[1], w.shape[0], w.kind == "quantized"
    if isinstance(w, QuantizedTensor):
        check_weights(name, "w", w)
        n, k = w.shape
        return n, k, True
    require_dtype(name, "w", w, (F16,), "a QuantizedTensor")
    if w.ndim != 2:
        msg = f"{name}: w has shape {w.shape}; need (n, k)"
        raise ValueError(msg)
    n, k = w.shape
    return n, k, False


def check_weights(name: str, argument: str, q: QuantizedTensor) -> None:
    """Raise ValueError unless this is (n, k) with scales that a sum over k allows."""
    if len(q.shape) != 2:
        msg = f"{name}: {argument} has shape {q.shape}; need (n, k)"
        raise ValueError(msg)
    if q.axis == 1:
        msg = f"{name}: {argument} has axis 1, a scale for each step of k"
        raise ValueError(msg + "; need axis 0, group_size, or one scale")


def check_codes(name: str, x: QuantizedTensor, quantized: bool, x_bits: int) -> None:
    """Raise unless x is made of codes that a sum over k allows, and may be."""
    if not quantized or x_bits == 16:
        given, need = ("x_bits is 16", "x_bits=8") if quantized else ("w is float16", "quantized w")
        msg = f"{name}: x is a QuantizedTensor and {given}; need a float32 or float16 x, or {need}"
        raise TypeError(msg)
    if x.bits not in (8, 4):
        msg = f"{name}: x has codes of {x.bits} bits; need 8 or 4"
        raise ValueError(msg)
    if x.group_size is not None or (x.axis is not None and x.axis == len(x.shape) - 1):
        scales = f"axis {x.axis}" if x.group_size is None else f"group_size {x.group_size}"
        msg = f"{name}: x has {scales}, and so scales along k"
        raise ValueError(msg + "; need one scale, or one for each entry of an axis but the last")


def refuse_shape(name: str, x: Any, w: Any, k: int) -> None:
    """Raise ValueError: x is not (..., k)."""
    if not x.shape:
        msg = f"{name}: x has shape (); need (..., k)"
        raise ValueError(msg)
    packed = type(w) is PackedMatrix
    wanted = f"w is packed for k = {k}" if packed else f"w is {w.shape}"
    msg = f"{name}: inner dimensions differ: x is {x.shape} and {wanted}"
    msg += f"; need x.shape[-1] == {'k' if packed else 'w.shape[-1]'}"
    if packed and w.kind == "float16":
        msg += "; float16 weights of shape (n, k) are packed as prepack(w.T)"
    raise ValueError(msg)


def check_sums(name: str, x: Any, w: Any, k: int) -> None:
    """Raise ValueError if a sum of codes may not fit int32."""
    if type(w) is PackedMatrix:
        w = w._contents
        affine = w.affine
    else:
        affine = w.zero_point is not None
    of_x = (8, True, False)  # what a row is quantized to
    if isinstance(x, QuantizedTensor):
        of_x = x.bits, x.signed, x.zero_point is not None
    what, depth = ("k", k) if w.group_size is None else ("group_size", min(k, w.group_size))
    check_depth(name, what, depth, (("x", *of_x), ("w", w.bits, w.signed, affine)))


def checked_form(
    name: str, x: Any, out: Any, out_dtype: Any, home: Any, scale: Any, zero_point: Any
) -> Form:
    """Return what the result is to be, its parts beside x."""
    if scale is None:
        if zero_point is not None:
            msg = f"{name}: out_zero_point is given and out_scale is None; need out_scale"
            raise ValueError(msg)
        return Form(result_dtype(name, out, out_dtype, home, FLOATS))
    dtype = result_dtype(name, out, out_dtype, home, (I8, U8))
    scale = check_scale(name, "out_scale", scale, ())
    if zero_point is not None:
        limits = code_range(8, dtype == I8, narrow=False)
        zero_point = check_zero_point(name, "out_zero_point", zero_point, (), *limits)
    elif dtype == U8:
        msg = f"{name}: out_dtype is uint8 and out_zero_point is None; need an out_zero_point"
        raise ValueError(msg)
    return Form(dtype, own(x, scale, F32), own(x, zero_point, I32))


def check_x_bits(name: str, x_bits: Any) -> None:
    """Raise unless rows are to be multiplied as codes of 8 bits or as float16."""
    if not is_integer(x_bits):
        msg = f"{name}: x_bits is a {kind_of(x_bits)}; need 8 or 16"
        raise TypeError(msg)
    if x_bits not in X_BITS:
        msg = f"{name}: x_bits is {x_bits}; need 8 or 16"
        raise ValueError(msg)
