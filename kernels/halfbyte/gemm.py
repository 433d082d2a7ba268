# SPDX-License-Identifier: Apache-2.0
"""The product of float16 matrices: arguments are checked here, computed in the backend."""

from __future__ import annotations

import functools
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
    on_device,
    require_dtype,
    single_bits,
)
from halfbyte.devices import check_packed, empty
from halfbyte.products import (
    FLOATS,
    Activation,
    check_activation,
    checked_bias,
    product_shape,
    products,
    result_dtype,
)
from halfbyte.tensors import PackedMatrix, library

_INFINITY = 0x7F800000  # bits of float32 inf; those of a NaN have them all, too


def gemm_f16(
    a: Any,
    b: Any,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    c: Any = None,
    bias: Any = None,
    activation: Activation | None = None,
    out: Any = None,
    out_dtype: Any = None,
) -> Any:
    """Multiply two float16 matrices, accumulating in float32.

    Computes ``activation(alpha * (a @ b) + beta * c + bias)``. Sums run over k in ascending order
    in float32, one rounding a step, from +0; then each step of the epilogue is rounded to float32,
    in the order written. NumPy arrays give these very bits on every CPU, whatever the instruction
    set, the number of threads, the strides, and the other rows of the product. A GPU's tensor cores
    sum in an order and with roundings of their own: its results are bounded (see Notes), and the
    same in every run.

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
        In the library of the inputs (NumPy, CuPy, or any library with ``__dlpack__``).

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
    Algorithms, 2002, section 3.1). On a GPU u = 2**-23, and k counts one more for each part that
    the sum over k was split into: at most 32 of them, for one to eight rows or columns 256.

    Examples
    --------
    >>> a = np.full((2, 3), 0.5, np.float16)
    >>> gemm_f16(a, a.T, bias=np.ones(2, np.float32))
    array([[1.75, 1.75],
           [1.75, 1.75]], dtype=float32)
    """
    # Small products spend most of their time here: what is not asked for costs no call.
    name = "gemm_f16"
    packed = type(b) is PackedMatrix
    home, result = np, out
    if not (
        type(a) is _ndarray
        and (packed or type(b) is _ndarray)
        and (c is None or type(c) is _ndarray)
        and (bias is None or type(bias) is _ndarray)
        and (out is None or type(out) is _ndarray)
    ):
        arrays = {"a": a, "b": b, "c": c, "bias": bias, "out": out}
        if packed:
            del arrays["b"]
        arrays = {key: x for key, x in arrays.items() if x is not None or key in "ab"}
        views, home = library.device_views(name, **arrays)
        seen = {"b": b} | dict(zip(arrays, views, strict=True))
        a, b, c, bias, out = (seen.get(key) for key in ("a", "b", "c", "bias", "out"))
    if a.dtype is not F16:
        require_dtype(name, "a", a, (F16,))
    if packed:
        if b.kind != "float16":
            msg = f"{name}: b was packed for {b.kind}; need prepack of a float16 matrix"
            raise TypeError(msg)
        check_packed(name, "a", a, "b", b)
    elif b.dtype is not F16:
        require_dtype(name, "b", b, (F16,))
    a_shape, b_shape = a.shape, b.shape
    shape: tuple[int, ...]
    if len(a_shape) == 2 == len(b_shape) and a_shape[1] == b_shape[0]:
        shape = a_shape[0], b_shape[1]
    else:
        shape = product_shape(name, a_shape, b_shape)
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
        check_activation(name, activation)
    contiguous_bias = None if bias is None else checked_bias(name, bias, shape[-1])
    dtype = F32
    if out is not None or out_dtype is not None:
        dtype = result_dtype(name, out, out_dtype, home, FLOATS)
    if out is None:
        out = empty(a, shape, dtype)
    else:
        inputs = [("a", a)] + [("b", b)] * (not packed)
        inputs += [("c", c)] * (c is not None) + [("bias", bias)] * (bias is not None)
        check_out(name, out, shape, inputs, itself=("c",))
    if out.size:
        multiply_f16(a, b, out, alpha, beta, None if beta == 0 else c, contiguous_bias, activation)
    if result is not None:
        return result
    return out if home is np else library.of(home, out)


def multiply_f16(
    a: Array, b: Any, out: Array, alpha: float, beta: float, c: Array | None,
    bias: Array | None, activation: str | None,
) -> None:  # fmt: skip
    """Write the product of checked arguments to `out`, which is not empty."""
    if on_device(out):
        from halfbyte.cuda import gemm_f16 as cuda

        cuda.multiply(a, b, out, alpha, beta, c, bias, activation)
        return
    if out.ndim == 2:
        _cpu().multiply(a, b, out, alpha, beta, c, bias, activation)
        return
    packed = type(b) is PackedMatrix
    for part_a, part_b, part_out, part_c in products(a, None if packed else b, out, c):
        part_b = b if packed else part_b
        _cpu().multiply(part_a, part_b, part_out, alpha, beta, part_c, bias, activation)


_ndarray = np.ndarray
# The defaults: the objects themselves, so that calls without alpha and beta skip their checks.
_ONE: float = gemm_f16.__kwdefaults__["alpha"]  # type: ignore[index]
_ZERO: float = gemm_f16.__kwdefaults__["beta"]  # type: ignore[index]


@functools.cache
def _cpu() -> Any:
    """Import the CPU backend when the first call needs it."""
    from halfbyte.cpu import gemm_f16 as backend

    return backend


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
    require_dtype(name, "c", c, FLOATS)
    if c.shape == shape:
        return c
    try:
        if on_device(c):  # strides of 0 are the backend's
            if np.broadcast_shapes(c.shape, shape) == shape:
                return c
            raise ValueError
        return np.broadcast_to(c, shape)
    except ValueError:
        msg = f"{name}: c has shape {c.shape}; need one that broadcasts to {shape}"
        raise ValueError(msg) from None
