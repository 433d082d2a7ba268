# SPDX-License-Identifier: Apache-2.0
"""Numbers to codes and back."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from halfbyte.arrays import F16, F32, check_out, kind_of, on_device, require_dtype
from halfbyte.devices import assign, backend_of, beside, empty, empty_like, on_host, own
from halfbyte.quantized import (
    I32,
    U8,
    Scheme,
    check_axis,
    check_bits,
    check_choice,
    check_flag,
    check_group_size,
    check_scale,
    check_zero_point,
    checked_range,
    code_dtype,
    code_range,
    is_integer,
    scale_shape,
    values_shape,
)
from halfbyte.tensors import QuantizedTensor, library
from halfbyte.tensors.arguments import checked_dtype, device_views_of, out_view


def quantize(
    x: Any,
    *,
    bits: int = 8,
    axis: int | None = None,
    group_size: int | None = None,
    symmetric: bool = True,
    signed: bool = True,
    narrow_range: bool | None = None,
    scale: Any = None,
    zero_point: Any = None,
    method: Literal["absmax", "mse"] = "absmax",
    rounding: Literal["nearest", "stochastic"] = "nearest",
    seed: int | None = None,
    check_finite: bool = True,
    out: QuantizedTensor | None = None,
) -> QuantizedTensor:
    """Quantize: codes ``clip(rint(x / scale) + zero_point, qmin, qmax)``.

    In float32: a true division, ties to even, the zero point added after rounding. An infinity
    saturates, NaN becomes the zero point.

    Parameters
    ----------
    x : float32 or float16 array
        Any shape and strides, in the CPU's memory or on the current GPU; so are all arrays.
    bits : {8, 4, 3, 2}
        Width of a code. Two 4-bit codes share a byte, those of 2 and 3 bits have one each.
    axis : int, optional
        Entries of this axis get scales of their own: per channel. Without `axis` and `group_size`,
        there is one scale: per tensor.
    group_size : int, optional
        So many neighbours along the last axis share a scale; the last group may be shorter.
    symmetric : bool
        Without zero point. An affine one (False) maps the data's own range, 0 included.
    signed : bool
        Unsigned codes (False) need ``symmetric=False``.
    narrow_range : bool, optional
        Leave out the least of signed codes, so that the range is symmetric (-127 .. 127). By
        default if `symmetric`.
    scale : float32 array or Python float, optional
        Positive and finite, of shape (), (x.shape[axis],) or
        x.shape[:-1] + (ceil(x.shape[-1] / group_size),). By default it is taken from the data;
        where it is given, `method` and `check_finite` are checked and have no effect.
    zero_point : int or integer array, optional
        In the range of codes, with the shape of `scale`; goes with it if not `symmetric`.
    method : {"absmax", "mse"}
        How to take scales from the data. "absmax": the largest magnitude (affine: the range)
        becomes the largest code. "mse": of 41 scales from there down to 24/64 of it, the one with
        the smallest sum of squared errors. A scale that would be subnormal (symmetric, 8 bits: of
        magnitudes below 1.5e-36) is 1, and codes stand for 0.
    rounding : {"nearest", "stochastic"}
        "stochastic": up with the probability of the fraction, by Philox4x32-10 under `seed` and
        the element's place in C order.
    seed : int, optional
        Below 2**64; needed for stochastic rounding. With nearest it is checked and has no effect.
    check_finite : bool
        Refuse NaN and infinities where the scale comes from the data, which on a GPU waits for it.
        Otherwise these are left out of the extremes.
    out : QuantizedTensor, optional
        Filled and returned; of the same bits, axis, group_size, signed and shape, with zero points
        if not `symmetric`. Its own scale may be passed as `scale`. With `check_finite`, data is
        read twice, so that `out` keeps what it holds if there is an error.

    Returns
    -------
    QuantizedTensor
        Bit-identical on every backend. Scales of "mse" may differ where errors all but agree.

    Raises
    ------
    TypeError
        Another kind of argument, or another dtype.
    ValueError
        Arguments that do not go together, a wrong shape, a scale or zero point out of range, or
        data that is not finite: the text names the channel.

    Notes
    -----
    On a GPU, work goes to CuPy's current stream. Values of scales and zero points are not looked at
    there.

    Where x is in range, it differs from what `dequantize` returns by at most
    (1/2 + 2**(bits - 23)) * scale. Only at the ends of a range that reaches up to the dtype's
    largest number, a code may stand for more: it dequantizes to an infinity.

    Examples
    --------
    >>> x = np.array([[1.0, -2.0, 3.0], [0.1, 0.2, -0.4]], np.float32)
    >>> q = quantize(x, axis=0)
    >>> q.values
    array([[  42,  -85,  127],
           [  32,   64, -127]], dtype=int8)
    >>> quantize(x, bits=4, group_size=2, symmetric=False)
    QuantizedTensor(4 bits, signed, affine, shape=(2, 3), group_size=2, 36 bytes)
    """
    name = "quantize"
    seen, home = device_views_of(name, x=x, scale=scale, zero_point=zero_point)
    x, scale, zero_point = seen["x"], seen["scale"], seen["zero_point"]
    require_dtype(name, "x", x, (F32, F16))
    bits = check_bits(name, bits)
    axis = check_axis(name, axis, x.ndim)
    group_size = check_group_size(name, group_size, axis, x.ndim)
    symmetric = check_flag(name, "symmetric", symmetric)
    signed = check_flag(name, "signed", signed)
    check_finite = check_flag(name, "check_finite", check_finite)
    if symmetric and not signed:
        msg = f"{name}: signed is False and symmetric is True; need symmetric=False"
        raise ValueError(msg)
    qmin, qmax = checked_range(name, bits, signed, narrow_range, narrow=symmetric)
    check_choice(name, "method", method, ("absmax", "mse"))
    check_choice(name, "rounding", rounding, ("nearest", "stochastic"))
    seed = _checked_seed(name, rounding, seed)
    if symmetric and zero_point is not None:
        msg = f"{name}: zero_point is given and symmetric is True; need symmetric=False"
        raise ValueError(msg)
    if (scale is None) != (zero_point is None) and not symmetric:
        missing = "scale" if scale is None else "zero_point"
        msg = f"{name}: {missing} is missing; need scale and zero_point, or neither"
        raise ValueError(msg)
    if bits == 4 and not x.ndim:
        msg = f"{name}: x has shape () and bits is 4; need a last axis along which to pack codes"
        raise ValueError(msg)
    shape = scale_shape(x.shape, axis, group_size)
    given = scale is not None
    if given:
        scale = check_scale(name, "scale", scale, shape)
        if zero_point is not None:
            zero_point = check_zero_point(name, "zero_point", zero_point, shape, qmin, qmax)
    if out is None:
        values = _new_values(x, bits, signed)
        if given:
            its_scale, its_zero = own(x, scale, F32), own(x, zero_point, I32)
        else:
            its_scale = empty(x, shape, F32)
            its_zero = None if symmetric else empty(x, shape, I32)
    else:
        want = (bits, axis, group_size, signed, x.shape)
        values, its_scale, its_zero = _checked_out(name, out, want, home, affine=not symmetric)
        library.check_place(name, {"x": x, "out": values})
        inputs = [("x", x), ("scale", scale), ("zero_point", zero_point)]
        _check_parts(name, (values, its_scale, its_zero), inputs)

    backend = backend_of(x, "quantization")
    scheme = Scheme(bits, axis, group_size, qmin, qmax, symmetric)
    if given:
        if out is None:
            scale, zero_point = its_scale, its_zero
        else:
            scale, zero_point = beside(x, scale, F32), beside(x, zero_point, I32)
        if x.size:
            backend.quantize(x, values, scale, zero_point, scheme, seed)
        if out is not None:
            assign(its_scale, scale)
            if its_zero is not None:
                assign(its_zero, zero_point)
    elif not backend.quantize_from_data(
        x, values, its_scale, its_zero, scheme,
        method=method, seed=seed, check_finite=check_finite, keep=out is not None,
    ):  # fmt: skip
        msg = f"{name}: x has a NaN or an infinity {_first_bad(on_host(x), axis, group_size)}"
        msg += "; need finite numbers, or check_finite=False"
        raise ValueError(msg)
    if out is not None:
        return out
    values, its_scale = library.of(home, values), library.of(home, its_scale)
    its_zero = None if its_zero is None else library.of(home, its_zero)
    return QuantizedTensor._trusted(
        values, its_scale, its_zero, bits, axis, group_size, signed, x.shape
    )


def dequantize(q: QuantizedTensor, *, dtype: Any = np.float32, out: Any = None) -> Any:
    """Return ``float32(code - zero_point) * scale``.

    Parameters
    ----------
    q : QuantizedTensor
        Its arrays in the CPU's memory or on the current GPU.
    dtype : {float32, float16, None}
        Of the result; float16 is rounded from float32, to nearest, ties to even. None: that of
        `out`, else float32.
    out : array of q.shape and `dtype`, optional
        Any strides; shares no byte with `q`.

    Returns
    -------
    float32 or float16 array
        In the library of q's arrays. Bit-identical on every backend.

    Raises
    ------
    TypeError
        `q` is not a QuantizedTensor, or `out` has another dtype than `dtype`.
    ValueError
        `out` has another shape, is read-only, or shares memory.

    Examples
    --------
    >>> q = QuantizedTensor(np.array([1, -2, 3], np.int8), 0.5, zero_point=1)
    >>> dequantize(q)
    array([ 0. , -1.5,  1. ], dtype=float32)
    >>> dequantize(q, dtype=None, out=np.empty(3, np.float16))
    array([ 0. , -1.5,  1. ], dtype=float16)
    """
    name = "dequantize"
    if not isinstance(q, QuantizedTensor):
        msg = f"{name}: q is a {kind_of(q)}; need a QuantizedTensor"
        raise TypeError(msg)
    values, scale, zero_point = q._parts()
    home = library.library_of(q.values)
    allowed: tuple[np.dtype[Any], ...] = (F32, F16)
    if dtype is not None:
        allowed = (checked_dtype(name, dtype, home, allowed),)
    if out is None:
        packed = values.shape != q.shape
        result = empty(values, q.shape, allowed[0]) if packed else empty_like(values, allowed[0])
    else:
        result = out_view(name, out, home)
        library.check_place(name, {"q": values, "out": result})
        require_dtype(name, "out", result, allowed)
        check_out(
            name, result, q.shape, [("q", v) for v in (values, scale, zero_point) if v is not None]
        )
    if result.size:
        backend = backend_of(values, "quantization")
        qmin, qmax = code_range(q.bits, q.signed, narrow=False)
        scheme = Scheme(q.bits, q.axis, q.group_size, qmin, qmax)
        scale = scale if on_device(scale) else np.ascontiguousarray(scale)
        backend.dequantize(values, result, scale, zero_point, scheme)
    return library.of(home, result) if out is None else out


def _checked_seed(name: str, rounding: str, seed: Any) -> int | None:
    """Return the seed where rounding is stochastic, else None."""
    if seed is not None:
        if not is_integer(seed):
            msg = f"{name}: seed is a {kind_of(seed)}; need an integer"
            raise TypeError(msg)
        if not 0 <= seed < 2**64:
            msg = f"{name}: seed is {seed}; need 0 <= seed < 2**64"
            raise ValueError(msg)
    if rounding == "nearest":
        return None
    if seed is None:
        msg = f"{name}: rounding is 'stochastic' and seed is missing; need an integer"
        raise ValueError(msg)
    return int(seed)


def _new_values(x: Any, bits: int, signed: bool) -> Any:
    """Return an array for x's codes."""
    if bits == 4:
        return empty(x, values_shape(x.shape, bits), U8)
    return empty_like(x, code_dtype(signed))


def _checked_out(
    name: str, out: Any, want: tuple[Any, ...], home: Any, *, affine: bool
) -> tuple[Any, Any, Any]:
    """Return the parts of `out`, which has these (bits, axis, ...)."""
    if not isinstance(out, QuantizedTensor):
        msg = f"{name}: out is a {kind_of(out)}; need a QuantizedTensor"
        raise TypeError(msg)
    attributes = ("bits", "axis", "group_size", "signed", "shape")
    for attribute, value in zip(attributes, want, strict=True):
        got = getattr(out, attribute)
        if got != value:
            msg = f"{name}: out has {attribute} {got}; need {value}"
            raise ValueError(msg)
    if (out.zero_point is not None) != affine:
        has, need = ("has no", "symmetric=True") if affine else ("has a", "symmetric=False")
        msg = f"{name}: out {has} zero_point; need that, or {need}"
        raise ValueError(msg)
    if library.library_of(out.values) is not home:
        msg = f"{name}: out holds a {kind_of(out.values)}; need arrays of the library of x"
        raise TypeError(msg)
    return out._parts()


def _check_parts(name: str, parts: tuple[Any, ...], inputs: list[tuple[str, Any]]) -> None:
    """Raise ValueError where parts of `out` share memory, with inputs or among themselves.

    A scale or zero point may be that of `out`.
    """
    # A number beside an array on a GPU is none of its memory.
    others = [(k, v) for k, v in inputs if v is not None and on_device(v) == on_device(parts[0])]
    for part in parts:
        if part is not None:
            check_out(name, part, part.shape, others, itself=("scale", "zero_point"))
            others.append(("another part of itself", part))


def _first_bad(x: Any, axis: int | None, group_size: int | None) -> str:
    """Where the first channel lies that is not finite."""
    bad = ~np.isfinite(x)
    if axis is not None:
        others = tuple(d for d in range(x.ndim) if d != axis)
        return f"in channel {int(np.argmax(bad.any(axis=others)))} of axis {axis}"
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    if group_size is not None:
        return f"in group {(*index[:-1], index[-1] // group_size)}"
    return f"at {index}"
