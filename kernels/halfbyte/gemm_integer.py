# SPDX-License-Identifier: Apache-2.0
"""The product of integer matrices: arguments are checked here, computed in the backend."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from halfbyte.arrays import Array, check_out, is_numpy, on_device, require_dtype
from halfbyte.devices import check_packed, empty
from halfbyte.products import ANY_DEPTH, check_depth, product_shape, products
from halfbyte.quantized import I8, I32, U8, Codes, check_zero_point, code_range
from halfbyte.tensors import Int4Array, PackedMatrix, library, nibbles
from halfbyte.tensors.arguments import device_views_of

INTEGER_KINDS = {"int8": (8, True), "uint8": (8, False), "int4": (4, True), "uint4": (4, False)}
"""Bits and sign of what a PackedMatrix for this operation was made of."""


def gemm_int(
    a: Any, b: Any, *, a_zero_point: Any = None, b_zero_point: Any = None, out: Any = None
) -> Any:
    """Multiply two integer matrices exactly, accumulating in int32.

    Computes ``(a - a_zero_point) @ (b - b_zero_point)``. Nothing saturates and nothing is rounded,
    for any signs and over the full range of codes.

    Parameters
    ----------
    a : int8 or uint8 array, or Int4Array, shape (..., m, k)
        Any strides, in the CPU's memory or on the current GPU; so are all arrays. Leading
        dimensions broadcast against those of `b`. The int4 and uint4 arrays of ml_dtypes are taken
        as well, here and as `b`.
    b : int8 or uint8 array, or Int4Array, shape (..., k, n); or PackedMatrix of shape (k, n)
    a_zero_point : int or integer array, shape () or (m,), optional
        Subtracted from all of `a`, or from each row; a code that the dtype of `a` can hold, which
        on a GPU is not checked.
    b_zero_point : int or integer array, shape () or (n,), optional
        Subtracted from all of `b`, or from each column.
    out : int32 array, shape (..., m, n), optional
        Where to write the result; any strides. Shares no byte with an input.

    Returns
    -------
    int32 array, shape (..., m, n)
        In the library of the inputs. Bit-identical on every backend.

    Raises
    ------
    TypeError
        Another kind of array, another dtype, or a PackedMatrix that was not packed from integers.
        Nothing is cast silently.
    ValueError
        Shapes do not fit, a zero point is no code, `out` is read-only or shares memory, or k is so
        large that a sum might not fit int32.

    Notes
    -----
    k * A * B must be below 2**31, where A and B are the largest differences that the formats of `a`
    and `b` let in: 2**(bits - 1) for signed codes, 2**bits - 1 for unsigned ones and wherever a
    zero point is given, even 0. So k <= 131071 for int8 and k <= 33025 for anything of 8 bits.

    Examples
    --------
    >>> a = np.array([[250, 251]], np.uint8)
    >>> gemm_int(a, np.array([[1], [-1]], np.int8), a_zero_point=128)
    array([[-1]], dtype=int32)
    """
    # Small products spend most of their time here: most calls are checked by the next few lines.
    if a_zero_point is b_zero_point is out is None and type(a) is _ndarray:
        signed = a.dtype is I8
        right: Any = None
        if type(b) is PackedMatrix:
            # What the CPU packed is a tuple, what a GPU did an array.
            right = b if b.kind in INTEGER_KINDS and isinstance(b._contents, tuple) else None
        elif type(b) is _ndarray and (b.dtype is I8 or b.dtype is U8):
            right = Codes(b, 8, b.dtype is I8)
        if right is not None and (signed or a.dtype is U8):
            a_shape, b_shape = a.shape, b.shape
            if len(a_shape) == 2 == len(b_shape) and a_shape[1] == b_shape[0] <= ANY_DEPTH:
                out = np.empty((a_shape[0], b_shape[1]), I32)
                if out.size:
                    _cpu().multiply(Codes(a, 8, signed), right, out, None, None)
                return out
    return _gemm_int(a, b, a_zero_point, b_zero_point, out)


def _gemm_int(a: Any, b: Any, a_zero_point: Any, b_zero_point: Any, out: Any) -> Any:
    """Compute what gemm_int is asked for, whatever it is."""
    name = "gemm_int"
    packed = type(b) is PackedMatrix
    arrays = {"a": a.packed if isinstance(a, Int4Array) else a}
    if not packed:
        arrays["b"] = b.packed if isinstance(b, Int4Array) else b
    seen, home = device_views_of(
        name, **arrays, a_zero_point=a_zero_point, b_zero_point=b_zero_point, out=out
    )
    a_codes, a_shape = codes_of(name, "a", a, seen["a"])
    if packed:
        if b.kind not in INTEGER_KINDS:
            msg = f"{name}: b was packed for {b.kind}; need prepack of an integer matrix"
            raise TypeError(msg)
        check_packed(name, "a", seen["a"], "b", b)
        b_format, b_shape = INTEGER_KINDS[b.kind], b.shape
    else:
        b_codes, b_shape = codes_of(name, "b", b, seen["b"])
        b_format = b_codes[1:]
    shape = product_shape(name, a_shape, b_shape)
    rows = _checked_zero_point(name, "a_zero_point", seen, shape[-2], a_codes[1:])
    columns = _checked_zero_point(name, "b_zero_point", seen, shape[-1], b_format)
    formats = (("a", *a_codes[1:], rows is not None), ("b", *b_format, columns is not None))
    check_depth(name, "k", a_shape[-1], formats)
    result = seen["out"]
    if result is None:
        result = empty(seen["a"], shape, I32)
    else:
        require_dtype(name, "out", result, (I32,))
        inputs = [(key, x) for key, x in seen.items() if is_numpy(x) or on_device(x)]
        check_out(name, result, shape, [(key, x) for key, x in inputs if key != "out"])
    if result.size:
        _multiply(a_codes, b if packed else b_codes, a_shape[-1], result, rows, columns)
    return library.of(home, result) if out is None else out


def _multiply(
    a: Codes, b: Any, k: int, out: Array, a_zero_point: Array | None, b_zero_point: Array | None
) -> None:
    packed = type(b) is PackedMatrix
    if on_device(out):
        from halfbyte.cuda import gemm_int as cuda

        if packed:
            b = Codes(b._contents, *INTEGER_KINDS[b.kind])
        cuda.multiply(a, b, k, out, a_zero_point, b_zero_point, packed=packed)
        return
    if out.ndim == 2:
        _cpu().multiply(a, b, out, a_zero_point, b_zero_point)
        return
    m = out.shape[-2]
    for part_a, part_b, part_out, _ in products(a.array, None if packed else b.array, out):
        rows = a_zero_point
        if rows is not None and rows.ndim and part_out.ndim == 2:
            rows = np.tile(rows, len(part_out) // m)  # rows of all products are rows of one
        _cpu().multiply(
            a._replace(array=part_a),
            b if packed else b._replace(array=part_b),
            part_out,
            rows,
            b_zero_point,
        )


def codes_of(name: str, argument: str, operand: Any, seen: Array) -> tuple[Codes, tuple[int, ...]]:
    """Return an operand's codes and their logical shape; `seen` are its bytes in NumPy."""
    if isinstance(operand, Int4Array):
        return Codes(seen, 4, operand.signed), operand.shape
    if nibbles.is_int4(seen.dtype):
        if not seen.ndim:
            msg = f"{name}: {argument} has shape (); need two dimensions or more"
            raise ValueError(msg)
        return Codes(nibbles.pack(seen), 4, seen.dtype.name == "int4"), seen.shape
    require_dtype(name, argument, seen, (I8, U8), "4-bit integers")
    return Codes(seen, 8, seen.dtype == I8), seen.shape


def _checked_zero_point(
    name: str, argument: str, seen: dict[str, Any], size: int, form: tuple[int, bool]
) -> Array | None:
    """Return zero points, one or `size` of them, as contiguous int32 or None."""
    zero_point = seen[argument]
    if zero_point is None:
        return None
    shape = getattr(zero_point, "shape", ())
    if shape not in ((), (size,)):
        msg = f"{name}: {argument} has shape {shape}; need () or {(size,)}"
        raise ValueError(msg)
    limits = code_range(*form, narrow=False)
    checked = check_zero_point(name, argument, zero_point, shape, *limits)
    return checked if on_device(checked) else np.asarray(checked, order="C")


_ndarray = np.ndarray


@functools.cache
def _cpu() -> Any:
    """Import the CPU backend when the first call needs it."""
    from halfbyte.cpu import gemm_int as backend

    return backend
