# SPDX-License-Identifier: Apache-2.0
"""The linear layer: arguments are checked here, computed in the backend."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from halfbyte.arrays import (
    F16,
    F32,
    Array,
    check_out,
    is_numpy,
    on_device,
    require_dtype,
)
from halfbyte.casts import to_f16
from halfbyte.devices import backend_of, check_packed, empty
from halfbyte.gemm import multiply_f16
from halfbyte.layer_arguments import (
    SINGLE,
    X_BITS,
    Form,
    check_codes,
    check_sums,
    check_x_bits,
    checked_form,
    checked_weights,
    refuse_shape,
)
from halfbyte.products import (
    ANY_DEPTH,
    FLOATS,
    Activation,
    check_activation,
    checked_bias,
    row_blocks,
)
from halfbyte.quantized import Codes, QuantizedRows, Scheme
from halfbyte.tensors import PackedMatrix, QuantizedTensor, library
from halfbyte.tensors.arguments import device_views_of


def linear(
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    activation: Activation | None = None,
    x_bits: int = 8,
    out: Any = None,
    out_dtype: Any = None,
    out_scale: Any = None,
    out_zero_point: Any = None,
) -> Any:
    """Apply a linear layer: ``activation(x @ w.T + bias)``.

    Parameters
    ----------
    x : float32 or float16 array, or QuantizedTensor, shape (..., k)
        Any strides. With float16 weights, and with ``x_bits=16``, float32 is rounded to float16 (to
        nearest, ties to even), as autocast does: magnitudes from 65520 on become inf. With
        quantized weights and ``x_bits=8``, each row is quantized to 8 bits by its own largest
        magnitude. A QuantizedTensor, for quantized weights, has 8 or 4 bits and one scale, or one
        for each entry of an axis but the last.
    w : float16 array or QuantizedTensor, shape (n, k); or PackedMatrix
        A QuantizedTensor has one scale, one for each row (axis 0) or one for each group of a row.
        Packed, a float16 `w` is ``prepack(w.T)``, a quantized one ``prepack(w)``: a square float16
        `w` packed without ``.T`` gives ``x @ w``, and no error.
    bias : float16 or float32 array, shape (n,), optional
    activation : {None, 'relu', 'gelu', 'silu'}
        As in `gemm_f16`.
    x_bits : {8, 16}
        Multiply quantized weights with x as 8-bit codes, exactly, or as float16. Says nothing about
        float16 weights.
    out : array of the result's shape and dtype, optional
        Where to write the result, or its codes if there is an `out_scale`; any strides. Shares no
        byte with an input.
    out_dtype : float32 or float16; with `out_scale` int8 or uint8; optional
        By default the dtype of `out`, else float32, and int8 with `out_scale`.
    out_scale : float, or float32 array of shape (), optional
        Quantize the result by this scale, so that it can be the next layer's `x`.
    out_zero_point : int, or integer array of shape (), optional
        Its zero point. Without one, codes are in -127 .. 127; uint8 needs one.

    Returns
    -------
    float32 or float16 array, shape (..., n), or QuantizedTensor of that shape
        In the library of the inputs. A QuantizedTensor if there is an `out_scale`.

    Raises
    ------
    TypeError
        Another kind of argument, another dtype, a PackedMatrix that was packed from integers, or a
        QuantizedTensor `x` with float16 weights or ``x_bits=16``.
    ValueError
        Shapes do not fit, scales of `x` or `w` along k, an unknown activation, `out_scale` not
        positive and finite, `out_zero_point` no code, `out` read-only or sharing memory, or k so
        large that a sum of 8-bit codes might not fit int32.

    Notes
    -----
    Float16 weights give the bits of ``gemm_f16(x, w.T, bias=bias, activation=activation)``.

    Quantized ones: acc = sum of (code of x - zero point) * (code of w - zero point), exactly, and
    y = (float32(acc) * x's scale) * w's scale. With groups f = f + float32(acc) * w's scale over
    the groups in their order, from +0, and y = f * x's scale. With ``x_bits=16`` acc is summed as
    `gemm_f16` sums, and there is no scale of x. Each step is rounded to float32; then bias,
    activation and the cast, or ``clip(rint(y / out_scale) + out_zero_point)``. A row of x that is
    not finite gives NaN, which becomes the zero point. Sums of codes fit int32 up to k = 131071
    for signed codes of 8 bits without zero points, up to 33025 for any; with groups, k is a
    group's.

    On a GPU, products of codes give these very bits. With ``x_bits=16``, and with float16 weights,
    tensor cores sum in an order of their own: results are bounded, and the same in every run.

    Examples
    --------
    >>> w = QuantizedTensor(np.array([[1, 2], [3, -4]], np.int8), 0.5)
    >>> linear(np.array([127.0, 1.0], np.float32), w)
    array([ 64.5, 188.5], dtype=float32)
    """
    # A layer of one row spends a good part of its time here: what is not asked for costs no call.
    name = "linear"
    home: Any = np
    view = out
    if not (
        (type(x) is _ndarray or _is_plain(x))
        and (type(w) is PackedMatrix or type(w) is _ndarray or _is_plain(w))
        and (bias is None or type(bias) is _ndarray)
        and (out is None or type(out) is _ndarray)
        and (out_scale is None or type(out_scale) in _PLAIN)
        and (out_zero_point is None or type(out_zero_point) in _PLAIN)
    ):
        seen, home = _arguments(
            name, x=x, w=w, bias=bias, out=out, out_scale=out_scale, out_zero_point=out_zero_point
        )
        x, w, bias, view = seen["x"], seen["w"], seen["bias"], seen["out"]
        out_scale, out_zero_point = seen["out_scale"], seen["out_zero_point"]
    if type(x_bits) is not int or x_bits not in X_BITS:
        check_x_bits(name, x_bits)
    n, k, quantized = checked_weights(name, w)
    if isinstance(x, QuantizedTensor):
        check_codes(name, x, quantized, x_bits)
    elif x.dtype is not F32 and x.dtype is not F16:
        require_dtype(name, "x", x, FLOATS, "a QuantizedTensor")
    values = x.values if type(x) is QuantizedTensor else x
    if type(w) is PackedMatrix:
        check_packed(name, "x", values, "w", w)
    if not x.shape or x.shape[-1] != k:
        refuse_shape(name, x, w, k)
    if k > ANY_DEPTH and quantized and x_bits != 16:
        check_sums(name, x, w, k)
    contiguous_bias = None if bias is None else checked_bias(name, bias, n)
    if activation is not None:
        check_activation(name, activation)
    form = SINGLE
    if not (out is out_dtype is out_scale is out_zero_point is None):
        form = checked_form(name, values, view, out_dtype, home, out_scale, out_zero_point)
    shape = (*x.shape[:-1], n)
    if view is None:
        view = empty(values, shape, form.dtype)
    else:
        arguments = {"x": x, "w": w, "bias": bias, "out_scale": out_scale}
        inputs = _held_arrays({**arguments, "out_zero_point": out_zero_point})
        check_out(name, view, shape, inputs)
    if view.size:
        if quantized:
            _apply_codes(x, w, contiguous_bias, activation, x_bits, view, form)
        else:
            _apply_halves(x, w, contiguous_bias, activation, view, form)
    result = library.of(home, view) if out is None else out
    return result if form.scale is None else form.tensor(result, home)


_ndarray = np.ndarray
_PLAIN = (np.ndarray, float, int, np.float32)  # of scales and zero points


def _is_plain(q: Any) -> bool:
    """Whether this is a tensor of NumPy arrays, as they stand."""
    return type(q) is QuantizedTensor and type(q.values) is _ndarray


@functools.cache
def _cpu() -> Any:
    """Import the CPU backend when the first call needs it."""
    from halfbyte.cpu import linear as backend

    return backend


def _arguments(name: str, **arguments: Any) -> tuple[dict[str, Any], Any]:
    """Look at all arrays as NumPy arrays, or CuPy arrays on a GPU; return all, and the library."""
    tensors = {k: arguments[k] for k in "xw" if isinstance(arguments[k], QuantizedTensor)}
    packed = {k: v for k, v in arguments.items() if k == "w" and type(v) is PackedMatrix}
    arrays = {**arguments, **{k: q.values for k, q in tensors.items()}}
    seen, home = device_views_of(name, **{k: v for k, v in arrays.items() if k not in packed})
    return {**seen, **packed, **{k: _seen(q) for k, q in tensors.items()}}, home


def _seen(q: QuantizedTensor) -> QuantizedTensor:
    """Return the same tensor holding NumPy arrays, or CuPy arrays on a GPU."""
    if is_numpy(q.values):
        return q
    return QuantizedTensor._trusted(*q._parts(), *q._arguments())


def _held_arrays(arguments: dict[str, Any]) -> list[tuple[str, Array]]:
    """Return every array among arguments and in tensors, by the argument's name."""
    parts = [
        (name, part)
        for name, x in arguments.items()
        for part in (x._parts() if isinstance(x, QuantizedTensor) else (x,))
    ]
    return [
        (name, part)
        for name, part in parts
        if part is not None and (is_numpy(part) or on_device(part))
    ]


def _apply_halves(
    x: Array, w: Any, bias: Array | None, activation: str | None, out: Array, form: Form
) -> None:
    x = to_f16(x) if x.dtype == F32 else x
    y = out if form.scale is None else empty(out, out.shape, F32)
    a, c = (x[None], y[None]) if x.ndim == 1 and not on_device(x) else (x, y)
    multiply_f16(a, w if type(w) is PackedMatrix else w.T, c, 1.0, 0.0, None, bias, activation)
    if form.scale is not None:
        scheme = Scheme(8, None, None, *form.limits)
        backend_of(y, "quantization").quantize(y, out, form.scale, form.zero_point, scheme, None)


def _apply_codes(
    x: Any, w: Any, bias: Array | None, activation: str | None, x_bits: int, out: Array, form: Form
) -> None:
    if on_device(out):
        from halfbyte.cuda import linear as cuda

        output = cuda.Output(bias, activation, form.scale, form.zero_point, form.limits)
        cuda.apply(x, w, x_bits, out, output)
        return
    requantization = form.requantization
    arguments = w, bias, activation, x_bits
    if not isinstance(x, QuantizedTensor):
        for numbers, place in row_blocks(x, out):
            _cpu().apply(numbers, *arguments, place, requantization)
        return
    leading = x.shape[:-1]
    own = [_one_a_row(v, leading, x.axis) for v in (x.scale, x.zero_point) if v is not None]
    for codes, place, scale, *zero_point in row_blocks(x.values, out, *own):
        rows = QuantizedRows(
            Codes(codes, x.bits, x.signed),
            scale.ravel(),
            zero_point[0].ravel() if zero_point else None,
        )
        _cpu().apply(rows, *arguments, place, requantization)


def _one_a_row(values: Array, leading: tuple[int, ...], axis: int | None) -> Array:
    """Return one number, or one for each entry of an axis, as one column (..., 1)."""
    if axis is not None:
        values = values.reshape((-1,) + (1,) * (len(leading) - axis - 1))
    spread = np.empty((*leading, 1), values.dtype)
    spread[..., 0] = values
    return spread
