# SPDX-License-Identifier: Apache-2.0
"""Fake quantization: what quantization-aware training computes with, and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from halfbyte.arrays import F16, F32, check_out, require_dtype
from halfbyte.devices import backend_of, beside, empty_like
from halfbyte.quantized import (
    I32,
    Scheme,
    check_axis,
    check_bits,
    check_flag,
    check_group_size,
    check_scale,
    check_zero_point,
    checked_range,
    scale_shape,
)
from halfbyte.tensors import library
from halfbyte.tensors.arguments import device_views_of


def fake_quantize(
    x: Any,
    scale: Any,
    zero_point: Any = None,
    *,
    bits: int = 8,
    axis: int | None = None,
    group_size: int | None = None,
    narrow_range: bool | None = None,
    signed: bool = True,
    out: Any = None,
) -> Any:
    """Quantize and dequantize in one pass: what quantization-aware training computes with.

    Parameters
    ----------
    x : float32 or float16 array
        Any shape and strides, in the CPU's memory or on the current GPU; so are all arrays. On a
        GPU the values of scales and zero points are not looked at.
    scale, zero_point, bits, axis, group_size, signed
        As in `quantize`; symmetric without `zero_point`, affine with it.
    narrow_range : bool, optional
        By default if there is no `zero_point`.
    out : array of x's shape and dtype, optional
        Any strides; shares no byte with an input.

    Returns
    -------
    array of x's shape and dtype
        ``dequantize(quantize(x))``. Bit-identical on every backend. An infinity where a code, at an
        end of its range, stands for more than the dtype's largest number.

    Raises
    ------
    TypeError
        Another kind of argument, or another dtype.
    ValueError
        Arguments that do not go together, a wrong shape, a scale or zero point out of range.

    Examples
    --------
    >>> x = np.array([0.3, -0.6, 99.0], np.float32)
    >>> fake_quantize(x, 0.25, bits=4)
    array([ 0.25, -0.5 ,  1.75], dtype=float32)
    """
    name = "fake_quantize"
    seen, home = device_views_of(name, x=x, scale=scale, zero_point=zero_point, out=out)
    x, result = seen["x"], seen["out"]
    require_dtype(name, "x", x, (F32, F16))
    s, z, scheme = _fake_arguments(name, x, seen, bits, axis, group_size, narrow_range, signed)
    if result is None:
        result = empty_like(x, x.dtype)
    else:
        require_dtype(name, "out", result, (x.dtype,))
        _check_fake_out(name, result, seen)
    if x.size:
        backend_of(x, "quantization").fake_quantize(x, result, s, z, scheme)
    return library.of(home, result) if out is None else out


def fake_quantize_backward(
    dy: Any,
    x: Any,
    scale: Any,
    zero_point: Any = None,
    *,
    bits: int = 8,
    axis: int | None = None,
    group_size: int | None = None,
    narrow_range: bool | None = None,
    signed: bool = True,
    out: Any = None,
) -> tuple[Any, Any]:
    """Gradients of `fake_quantize`: straight-through for x, learned step size (LSQ) for the scale.

    Parameters
    ----------
    dy : float32 or float16 array of x's shape
        The gradient of the result.
    x : float32 or float16 array
    scale, zero_point, bits, axis, group_size, narrow_range, signed
        As in `fake_quantize`.
    out : array of dy's shape and dtype, optional
        For dx. Any strides; shares no byte with an input.

    Returns
    -------
    dx : array of dy's shape and dtype
        dy where the code of x is in range before clipping, else 0. Bit-identical on every backend.
    dscale : float32 array of the scale's shape
        Sum of dy * (rint(x / scale) - x / scale), where clipped of dy * (qmin - zero_point) or
        dy * (qmax - zero_point), and nothing where x is NaN. Summed in float64: within
        n * 2**-52 * sum(abs(terms)) + 2**-24 * abs(dscale) + 2**-149 of n terms' exact sum. The
        factor 1 / sqrt(n * qmax) of Esser et al. (LSQ, 2020) is the caller's.

    Raises
    ------
    TypeError
        Another kind of argument, or another dtype.
    ValueError
        Arguments that do not go together, a wrong shape, a scale or zero point out of range.

    Examples
    --------
    No gradient reaches an x that was clipped; the scale's is 7 of it, and 0.25 of that one:

    >>> x = np.array([0.1875, 99.0], np.float32)
    >>> dx, dscale = fake_quantize_backward(np.ones(2, np.float32), x, 0.25, bits=4)
    >>> dx
    array([1., 0.], dtype=float32)
    >>> print(dscale)
    7.25
    """
    name = "fake_quantize_backward"
    seen, home = device_views_of(name, dy=dy, x=x, scale=scale, zero_point=zero_point, out=out)
    dy, x, result = seen["dy"], seen["x"], seen["out"]
    require_dtype(name, "dy", dy, (F32, F16))
    require_dtype(name, "x", x, (F32, F16))
    if dy.shape != x.shape:
        msg = f"{name}: dy has shape {dy.shape}; need {x.shape}, the shape of x"
        raise ValueError(msg)
    s, z, scheme = _fake_arguments(name, x, seen, bits, axis, group_size, narrow_range, signed)
    if result is None:
        result = empty_like(dy, dy.dtype)
    else:
        require_dtype(name, "out", result, (dy.dtype,))
        _check_fake_out(name, result, seen)
    if x.size:
        backend = backend_of(x, "quantization")
        dscale = backend.fake_quantize_backward(dy, x, result, s, z, scheme)
    else:
        dscale = beside(x, np.zeros(s.shape, F32), F32)
    dscale = library.of(home, dscale)
    return (library.of(home, result) if out is None else out), dscale


def _fake_arguments(
    name: str, x: Any, seen: dict[str, Any], bits: Any, axis: Any, group_size: Any,
    narrow_range: Any, signed: Any,
) -> tuple[Any, Any, Scheme]:  # fmt: skip
    """Return scale and zero point where x is, and how x is quantized, checked."""
    scale, zero_point = seen["scale"], seen["zero_point"]
    bits = check_bits(name, bits)
    axis = check_axis(name, axis, x.ndim)
    group_size = check_group_size(name, group_size, axis, x.ndim)
    check_flag(name, "signed", signed)
    if not signed and zero_point is None:
        msg = f"{name}: signed is False and zero_point is None; need a zero_point"
        raise ValueError(msg)
    qmin, qmax = checked_range(name, bits, signed, narrow_range, narrow=zero_point is None)
    shape = scale_shape(x.shape, axis, group_size)
    scale = beside(x, check_scale(name, "scale", scale, shape), F32)
    if zero_point is not None:
        zero_point = check_zero_point(name, "zero_point", zero_point, shape, qmin, qmax)
    # Padding is of no concern here: nothing is packed.
    scheme = Scheme(8, axis, group_size, qmin, qmax)
    return scale, beside(x, zero_point, I32), scheme


def _check_fake_out(name: str, out: Any, seen: dict[str, Any]) -> None:
    inputs = [(k, v) for k, v in seen.items() if k != "out" and hasattr(v, "strides")]
    check_out(name, out, seen["x"].shape, inputs)
