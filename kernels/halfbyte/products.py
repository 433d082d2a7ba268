# SPDX-License-Identifier: Apache-2.0
"""What matrix products share: shapes, leading dimensions, limits of sums, and how they end."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from halfbyte.arrays import F16, F32, Array, is_numpy, kind_of, on_device, require_dtype
from halfbyte.dimensions import merge_dimensions
from halfbyte.quantized import check_choice
from halfbyte.tensors.arguments import checked_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOATS = (F32, F16)
Activation = Literal["relu", "gelu", "silu"]
ACTIVATIONS = (None, *get_args(Activation))

_INT32_MAX = 2**31 - 1
# No format of 8 bits or fewer has a smaller limit, whatever its zero point.
ANY_DEPTH = _INT32_MAX // 255**2


def product_shape(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
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


def products(
    a: Array, b: Array | None, out: Array, c: Array | None = None
) -> Iterator[tuple[Any, ...]]:
    """Cut a product with leading dimensions into few products with one such dimension or none.

    Yields parts of a, b, out and c. b is None if it is packed; c has the shape of out.
    """
    if b is None or b.ndim == 2:
        # One b for all: rows of all products are rows of one, where strides allow.
        rows = [None if x is None else fold_rows(x) for x in (a, out, c)]
        if rows[0] is not None and rows[1] is not None and (c is None or rows[2] is not None):
            yield rows[0], b, rows[1], rows[2]
            return
    batch = out.shape[:-2]
    a = np.broadcast_to(a, batch + a.shape[-2:])
    if b is not None:
        b = np.broadcast_to(b, batch + b.shape[-2:])
    operands = [x for x in (a, b, out, c) if x is not None]
    views = operands if len(batch) == 1 else _merged(batch, operands)
    for index in np.ndindex(views[0].shape[:-3]):
        parts = iter([x[index] for x in views])
        yield tuple(None if x is None else next(parts) for x in (a, b, out, c))


def _merged(batch: tuple[int, ...], operands: list[Array]) -> list[Array]:
    """View operands (*batch, m, n) with as few leading dimensions as strides allow.

    The longest is the last.
    """
    sizes, *steps = merge_dimensions(batch, *(x.strides[:-2] for x in operands))
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    return [
        np.lib.stride_tricks.as_strided(
            x,
            [*(sizes[d] for d in order), *x.shape[-2:]],
            [*(own[d] for d in order), *x.strides[-2:]],
            writeable=x.flags.writeable,
        )
        for x, own in zip(operands, steps, strict=True)
    ]


def row_blocks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Yield arrays (..., columns) of equal leading dimensions as matrices (rows, columns).

    All rows at once where strides allow, else as many as they do.
    """
    if arrays[0].ndim == 2:
        yield arrays
        return
    folded = tuple(rows for rows in map(fold_rows, arrays) if rows is not None)
    if len(folded) == len(arrays):
        yield folded
        return
    sizes = arrays[0].shape[:-1]
    shortest = min((size, axis) for axis, size in enumerate(sizes) if size > 1)[1]
    for parts in zip(*(np.moveaxis(x, shortest, 0) for x in arrays), strict=True):
        yield from row_blocks(*parts)


def fold_rows(x: Array) -> Array | None:
    """View of (..., m, n) as (rows, n), or None where the strides do not allow one."""
    shape = math.prod(x.shape[:-1]), x.shape[-1]
    if x.flags.c_contiguous:
        return x.reshape(shape)
    leading = [d for d in zip(x.shape[:-1], x.strides[:-1], strict=True) if d[0] != 1]
    for (_, stride), (inner_size, inner_stride) in itertools.pairwise(leading):
        if stride != inner_stride * inner_size:
            return None
    strides = leading[-1][1] if leading else 0, x.strides[-1]
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=x.flags.writeable)


def check_depth(
    name: str, what: str, depth: int, formats: tuple[tuple[str, int, bool, bool], ...]
) -> None:
    """Raise ValueError if sums of so many products may not fit int32.

    formats: of each operand its name, bits, whether it is signed, and whether it has zero points,
    which may be any code, so that even 0 doubles the largest difference from a signed code.
    """
    product, texts = 1, []
    for operand, bits, signed, affine in formats:
        product *= 2 ** (bits - 1) if signed and not affine else 2**bits - 1
        kind = f"{'' if signed else 'u'}int{bits}"
        texts.append(f"{kind} {operand}{' with zero points' if affine else ''}")
    most = _INT32_MAX // product
    if depth > most:
        msg = f"{name}: {what} is {depth}; need {most} or less for {' and '.join(texts)}"
        raise ValueError(msg + ", so that sums fit int32")


def checked_bias(name: str, bias: Any, n: int) -> Array | None:
    """Return the bias as contiguous float32; on a GPU as it is."""
    if bias is None:
        return None
    if not (is_numpy(bias) or on_device(bias)):
        msg = f"{name}: bias is a {kind_of(bias)}; need a float32 or float16 array"
        raise TypeError(msg)
    require_dtype(name, "bias", bias, FLOATS)
    if bias.shape != (n,):
        msg = f"{name}: bias has shape {bias.shape}; need ({n},)"
        raise ValueError(msg)
    return bias if on_device(bias) else np.ascontiguousarray(bias, F32)


def check_activation(name: str, activation: Any) -> None:
    """Raise unless this is None or the name of an activation."""
    check_choice(name, "activation", activation, ACTIVATIONS)


def result_dtype(
    name: str, out: Array | None, out_dtype: Any, home: Any, allowed: tuple[np.dtype[Any], ...]
) -> np.dtype[Any]:
    """Dtype of the result, one of these, the first by default; `out`, if there is one, has it."""
    if out is not None:
        require_dtype(name, "out", out, allowed)
    if out_dtype is None:
        return allowed[0] if out is None else out.dtype
    dtype = checked_dtype(name, out_dtype, home, allowed, argument="out_dtype")
    if out is not None and out.dtype != dtype:
        msg = f"{name}: out has dtype {out.dtype} and out_dtype is {dtype}; need equal ones"
        raise TypeError(msg)
    return dtype
