# SPDX-License-Identifier: Apache-2.0
"""Matrix products: arguments are checked here, computed in the backend."""

from __future__ import annotations

import functools
import itertools
import math
import numbers
from typing import Any

import numpy as np

from halfbyte.arrays import (
    F16,
    F32,
    Array,
    check_out,
    exact_float,
    is_numpy,
    require_dtype,
    single_bits,
    through_numpy,
)
from halfbyte.tensors import PackedMatrix

_FLOATS = (F16, F32)
_INFINITY = 0x7F800000  # bits of float32 inf; those of a NaN have them all, too
_ACTIVATIONS = (None, "relu", "gelu", "silu")


def gemm_f16(
    a: Any,
    b: Any,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    c: Any = None,
    bias: Any = None,
    activation: str | None = None,
    out: Any = None,
    out_dtype: Any = None,
) -> Any:
    """Multiply two float16 matrices, accumulating in float32.

    Computes ``activation(alpha * (a @ b) + beta * c + bias)``. Sums run over k in ascending order
    in float32, one rounding a step, from +0; then each step of the epilogue is rounded to float32,
    in the order written. NumPy arrays give these very bits on every CPU, whatever the instruction
    set, the number of threads, the strides, and the other rows of the product.

    Parameters
    ----------
    a : float16 array, shape (..., m, k)
        Any strides. Leading dimensions broadcast against those of `b`.
    b : float16 array, shape (..., k, n), or PackedMatrix of shape (k, n)
    alpha, beta : float
        Rounded once to float32; finite. ``beta == 0`` leaves `c` out, NaN or not.
    c : float16 or float32 array, optional
        Broadcast to the result's shape. Needed if ``beta != 0``.
    bias : float16 or float32 array, shape (n,), optional
    activation : {None, 'relu', 'gelu', 'silu'}
        gelu is x * Phi(x) by the error function. gelu and silu are within 4 * 2**-24 * abs(x)
        of the exact function of their argument.
    out : float32 or float16 array, shape (..., m, n), optional
        Where to write the result; any strides. May be `c` itself, and no other byte of an input.
    out_dtype : float32 or float16, optional
        By default the dtype of `out`, else float32.

    Returns
    -------
    float32 or float16 array, shape (..., m, n)
        In the library of the inputs (NumPy, or any CPU library with ``__dlpack__``).

    Raises
    ------
    TypeError
        Another kind of array or another dtype. Nothing is cast silently.
    ValueError
        Shapes do not fit, alpha or beta is not finite in float32, `beta` without `c`, an unknown
        activation, or an `out` that is read-only or shares memory.

    Notes
    -----
    Against the exact product C, abs(result - C) <= gamma * (abs(a) @ abs(b)) with
    gamma = k * u / (1 - k * u), u = 2**-24 (Higham, Accuracy and Stability of Numerical
    Algorithms, 2002, section 3.1).

    Examples
    --------
    >>> a = np.full((2, 3), 0.5, np.float16)
    >>> gemm_f16(a, a.T, bias=np.ones(2, np.float32))
    array([[1.75, 1.75],
           [1.75, 1.75]], dtype=float32)
    """
    return _gemm_f16("gemm_f16", "b", a, b, alpha, beta, c, bias, activation, out, out_dtype)


def linear(
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    activation: str | None = None,
    x_bits: int = 8,
    out: Any = None,
    out_dtype: Any = None,
) -> Any:
    """Apply a linear layer: ``activation(x @ w.T + bias)``.

    Parameters
    ----------
    x : float16 or float32 array, shape (..., k)
        float32 is rounded to float16 (to nearest, ties to even), as autocast does.
    w : float16 array, shape (n, k), or ``prepack(w.T)``
    bias : float16 or float32 array, shape (n,), optional
    activation : {None, 'relu', 'gelu', 'silu'}
    x_bits : int
        8 or 16; says nothing about float16 weights.
    out : float32 or float16 array, shape (..., n), optional
    out_dtype : float32 or float16, optional
        By default the dtype of `out`, else float32.

    Returns
    -------
    float32 or float16 array, shape (..., n)
        The bits of ``gemm_f16(x, w.T, bias=bias, activation=activation)``.

    Raises
    ------
    TypeError
        Another kind of array or another dtype.
    ValueError
        Shapes do not fit, an unknown activation, or an `out` that is read-only or shares memory.
    """
    name = "linear"
    arrays = {"x": x, "bias": bias, "out": out}
    options: dict[str, Any] = {"activation": activation, "x_bits": x_bits, "out_dtype": out_dtype}
    packed = isinstance(w, PackedMatrix)
    (options if packed else arrays)["w"] = w
    if not (
        is_numpy(x)
        and (packed or is_numpy(w))
        and (bias is None or is_numpy(bias))
        and (out is None or is_numpy(out))
    ):
        return through_numpy(linear, name, arrays, options)
    require_dtype(name, "x", x, _FLOATS)
    if x.ndim < 1:
        msg = f"{name}: x has shape (); need (..., k)"
        raise ValueError(msg)
    if not packed:
        require_dtype(name, "w", w, (F16,))
        if w.ndim != 2:
            msg = f"{name}: w has shape {w.shape}; need (n, k)"
            raise ValueError(msg)
    b = w if packed else w.T
    k, n = b.shape
    if x.shape[-1] != k:
        wanted = f"w is packed for k = {k}" if packed else f"w is {w.shape}"
        msg = f"{name}: inner dimensions differ: x is {x.shape} and {wanted}"
        msg += f"; need x.shape[-1] == {'k' if packed else 'w.shape[-1]'}"
        raise ValueError(msg)
    shape = (*x.shape[:-1], n)
    _check_x_bits(name, x_bits)
    dtype = _result_dtype(name, out, out_dtype)
    if out is not None:
        inputs = [("x", x)] + [("w", w)] * (not packed) + [("bias", bias)] * (bias is not None)
        check_out(name, out, shape, inputs)
    if x.dtype == F32:
        from halfbyte.casts import to_f16

        bias = _checked_bias(name, bias, n)
        if activation is not None:
            _check_activation(name, activation)
        x = to_f16(x)
    result = np.empty(shape, dtype) if out is None else out
    if x.ndim == 1:
        _gemm_f16(name, "w", x[None], b, 1.0, 0.0, None, bias, activation, result[None], None)
    else:
        _gemm_f16(name, "w", x, b, 1.0, 0.0, None, bias, activation, result, None)
    return result


def prepack(b: Any) -> PackedMatrix:
    """Lay out a matrix once for many products, as the right operand.

    Parameters
    ----------
    b : float16 array, shape (k, n)
        Any strides. For `linear`, pass ``w.T``.

    Returns
    -------
    PackedMatrix
        Takes as many bytes as `b`, its columns rounded up to a multiple of 64.

    Raises
    ------
    TypeError
        Another kind of array or another dtype.
    ValueError
        `b` is not a matrix.
    """
    if not is_numpy(b):
        return through_numpy(prepack, "prepack", {"b": b}, {})  # type: ignore[no-any-return]
    require_dtype("prepack", "b", b, (F16,))
    if b.ndim != 2:
        msg = f"prepack: b has shape {b.shape}; need (k, n)"
        raise ValueError(msg)
    return PackedMatrix(_cpu().pack_panels(b), b.shape, "float16")


def _gemm_f16(
    name: str, b_name: str, a: Any, b: Any, alpha: Any, beta: Any, c: Any, bias: Any,
    activation: Any, out: Any, out_dtype: Any,
) -> Any:  # fmt: skip
    # Small products spend most of their time here: what is not asked for costs no call.
    packed = type(b) is PackedMatrix
    if not (
        type(a) is _ndarray
        and (packed or type(b) is _ndarray)
        and (c is None or type(c) is _ndarray)
        and (bias is None or type(bias) is _ndarray)
        and (out is None or type(out) is _ndarray)
    ):
        arrays = {"a": a, "b": b, "c": c, "bias": bias, "out": out}
        options = {"alpha": alpha, "beta": beta, "activation": activation, "out_dtype": out_dtype}
        if packed:
            options["b"] = arrays.pop("b")
        return through_numpy(gemm_f16, name, arrays, options)
    if a.dtype is not F16:
        require_dtype(name, "a", a, (F16,))
    if packed:
        if b.kind != "float16":
            msg = f"{name}: {b_name} was packed for {b.kind}; need prepack of a float16 matrix"
            raise TypeError(msg)
    elif b.dtype is not F16:
        require_dtype(name, b_name, b, (F16,))
    a_shape, b_shape = a.shape, b.shape
    shape: tuple[int, ...]
    if len(a_shape) == 2 == len(b_shape) and a_shape[1] == b_shape[0]:
        shape = a_shape[0], b_shape[1]
    else:
        shape = _product_shape(name, a_shape, b_shape)
    if alpha is not _ONE:
        alpha = _checked_factor(name, "alpha", alpha)
    if beta is not _ZERO:
        beta = _checked_factor(name, "beta", beta)
    if c is not None:
        c = _checked_c(name, c, shape)
    elif beta != 0:
        msg = f"{name}: beta is {beta} and c is None; need c, or beta=0"
        raise ValueError(msg)
    if activation is not None:
        _check_activation(name, activation)
    contiguous_bias = None if bias is None else _checked_bias(name, bias, shape[-1])
    dtype = F32
    if out is not None or out_dtype is not None:
        dtype = _result_dtype(name, out, out_dtype)
    if out is None:
        out = np.empty(shape, dtype)
    else:
        inputs = [("a", a)] + [(b_name, b)] * (not packed)
        inputs += [("c", c)] * (c is not None) + [("bias", bias)] * (bias is not None)
        check_out(name, out, shape, inputs, itself=("c",))
    if out.size:
        used_c = None if beta == 0 else c
        if len(shape) == 2:
            _cpu().multiply(a, b, out, alpha, beta, used_c, contiguous_bias, activation)
        else:
            _multiply_batch(a, b, out, alpha, beta, used_c, contiguous_bias, activation)
    return out


_ndarray = np.ndarray
# The defaults: the objects themselves, so that calls without alpha and beta skip their checks.
_ONE: float = gemm_f16.__kwdefaults__["alpha"]  # type: ignore[index]
_ZERO: float = gemm_f16.__kwdefaults__["beta"]  # type: ignore[index]


@functools.cache
def _cpu() -> Any:
    """Import the CPU backend when the first call needs it."""
    from halfbyte.cpu import gemm_f16 as backend

    return backend


def _product_shape(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a @ b from those of a and b."""
    if len(a) < 2 or len(b) < 2:
        which, shape = ("a", a) if len(a) < 2 else ("b", b)
        msg = f"{name}: {which} has shape {shape}; need two dimensions or more"
        raise ValueError(msg)
    if a[-1] != b[-2]:
        msg = f"{name}: inner dimensions differ: a is {a} and b is {b}"
        raise ValueError(msg + "; need a.shape[-1] == b.shape[-2]")
    try:
        batch = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        msg = f"{name}: batch dimensions do not broadcast: a is {a} and b is {b}"
        raise ValueError(msg + "; need equal ones, or ones") from None
    return *batch, a[-2], b[-1]


def _multiply_batch(
    a: Array, b: Any, out: Array, alpha: float, beta: float, c: Array | None,
    bias: Array | None, activation: str | None,
) -> None:  # fmt: skip
    """Reduce leading dimensions to one or none, and call the backend."""
    packed = type(b) is PackedMatrix
    if packed or b.ndim == 2:
        # One b for all: rows of all products are rows of one, where strides allow.
        rows = [None if x is None else _fold_rows(x) for x in (a, out, c)]
        if rows[0] is not None and rows[1] is not None and (c is None or rows[2] is not None):
            _cpu().multiply(rows[0], b, rows[1], alpha, beta, rows[2], bias, activation)
            return
    batch = out.shape[:-2]
    a = np.broadcast_to(a, batch + a.shape[-2:])
    if not packed:
        b = np.broadcast_to(b, batch + b.shape[-2:])
    for index in np.ndindex(batch[:-1]):
        part_b = b if packed else b[index]
        part_c = None if c is None else c[index]
        _cpu().multiply(a[index], part_b, out[index], alpha, beta, part_c, bias, activation)


def _fold_rows(x: Array) -> Array | None:
    """View of (..., m, n) as (rows, n), or None where the strides do not allow one."""
    leading = [d for d in zip(x.shape[:-1], x.strides[:-1], strict=True) if d[0] != 1]
    for (_, stride), (inner_size, inner_stride) in itertools.pairwise(leading):
        if stride != inner_stride * inner_size:
            return None
    shape = math.prod(x.shape[:-1]), x.shape[-1]
    strides = leading[-1][1] if leading else 0, x.strides[-1]
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=x.flags.writeable)


def _checked_factor(name: str, argument: str, value: Any) -> float:
    if not isinstance(value, numbers.Real):
        msg = f"{name}: {argument} is a {type(value).__name__}; need a real number"
        raise TypeError(msg)
    try:
        number = exact_float(value)
    except OverflowError:
        number = math.inf
    bits = single_bits(number)
    if bits & _INFINITY == _INFINITY:
        msg = f"{name}: {argument} is {value}; need a number that is finite in float32"
        raise ValueError(msg)
    return number if bits & 0x7FFFFFFF else math.copysign(0.0, number)


def _checked_c(name: str, c: Array, shape: tuple[int, ...]) -> Array:
    require_dtype(name, "c", c, _FLOATS)
    if c.shape == shape:
        return c
    try:
        return np.broadcast_to(c, shape)
    except ValueError:
        msg = f"{name}: c has shape {c.shape}; need one that broadcasts to {shape}"
        raise ValueError(msg) from None


def _checked_bias(name: str, bias: Array | None, n: int) -> Array | None:
    """Return the bias as contiguous float32."""
    if bias is None:
        return None
    require_dtype(name, "bias", bias, _FLOATS)
    if bias.shape != (n,):
        msg = f"{name}: bias has shape {bias.shape}; need ({n},)"
        raise ValueError(msg)
    return np.ascontiguousarray(bias, F32)


def _check_x_bits(name: str, x_bits: Any) -> None:
    if not isinstance(x_bits, numbers.Integral):
        msg = f"{name}: x_bits is a {type(x_bits).__name__}; need 8 or 16"
        raise TypeError(msg)
    if x_bits not in (8, 16):
        msg = f"{name}: x_bits is {x_bits}; need 8 or 16"
        raise ValueError(msg)


def _check_activation(name: str, activation: Any) -> None:
    if not isinstance(activation, str):
        msg = f"{name}: activation is a {type(activation).__name__}; need one of {_ACTIVATIONS}"
        raise TypeError(msg)
    if activation not in _ACTIVATIONS:
        msg = f"{name}: unknown activation {activation!r}; need one of {_ACTIVATIONS}"
        raise ValueError(msg)


def _result_dtype(name: str, out: Array | None, out_dtype: Any) -> np.dtype[Any]:
    """Dtype of the result, float32 or float16, which `out` must have if there is one."""
    if out is not None:
        require_dtype(name, "out", out, _FLOATS)
    if out_dtype is None:
        return F32 if out is None else out.dtype
    dtype: np.dtype[Any] | None
    try:
        dtype = np.dtype(out_dtype)
    except TypeError:
        dtype = None
    if dtype is None or dtype not in _FLOATS:
        msg = f"{name}: out_dtype is {out_dtype!r}; need float32 or float16"
        raise TypeError(msg)
    if out is not None and out.dtype != dtype:
        msg = f"{name}: out has dtype {out.dtype} and out_dtype is {dtype}; need equal ones"
        raise TypeError(msg)
    return dtype
