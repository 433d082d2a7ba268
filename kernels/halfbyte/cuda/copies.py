# SPDX-License-Identifier: Apache-2.0
"""Copies between arrays of any strides, and of integers in 32 bits to other dtypes.

CuPy's own would do, but for the CUDA headers that it compiles them with.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.cuda import runtime
from halfbyte.dimensions import merge_dimensions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BLOCK = 256
_TO_INT32 = ("int8", "uint8", "int16", "uint16", "uint32", "int64", "uint64")


def copy(source: Any, target: Any) -> None:
    """target[...] = source, of one shape, perhaps empty.

    Of one dtype, or integers that int32 holds to int32 and float32.
    """
    if not source.size:
        return
    if target.dtype == np.float32 and source.dtype.name in _TO_INT32:
        integers = runtime.empty_like(source, np.dtype(np.int32))
        copy(source, integers)
        source = integers
    shape, *strides = merge_dimensions(source.shape, source.strides, target.strides, by=1)
    layout = np.zeros(1, _layout(len(shape)))
    layout["shape"], layout["source"], layout["target"] = shape, *strides
    aligned = all(map(_is_aligned, (source, target), strides))
    runtime.launch(
        "copies",
        _defines(source.dtype, target.dtype, len(shape), aligned),
        -(-source.size // _BLOCK),
        _BLOCK,
        (source, target, layout, np.int64(source.size)),
    )


def copied(x: Any) -> Any:
    """Return a copy in C order."""
    target = runtime.empty(x.shape, x.dtype)
    copy(x, target)
    return target


def dense(x: Any) -> Any:
    """Return an array in C order and aligned: itself, or a copy."""
    return x if is_dense(x) else copied(x)


def aligned(x: Any) -> Any:
    """Return an array of any strides whose addresses are multiples of its item size, or None."""
    return x if x is None or _is_aligned(x, x.strides) else copied(x)


def is_dense(x: Any) -> bool:
    """Whether an array is in C order and aligned."""
    order = tuple(x.itemsize * math.prod(x.shape[d + 1 :]) for d in range(x.ndim))
    return bool(x.strides == order) and _is_aligned(x, order)


def variants() -> Iterator[tuple[str, dict[str, int | str]]]:
    """Yield the file and the defines of every kernel for up to two dimensions."""
    pairs = [(dtype, dtype) for dtype in ("uint8", "uint16", "uint32", "uint64")]
    pairs += [(dtype, "int32") for dtype in _TO_INT32]
    pairs += [("int32", "float32")]
    for (source, target), ndim, aligned in itertools.product(pairs, (1, 2), (False, True)):
        yield "copies", _defines(np.dtype(source), np.dtype(target), ndim, aligned)


def _defines(
    source: np.dtype[Any], target: np.dtype[Any], ndim: int, aligned: bool
) -> dict[str, int | str]:
    names = (source.name, target.name)
    if source == target:
        names = (f"uint{8 * source.itemsize}",) * 2
    elif names != ("int32", "float32") and (names[0] not in _TO_INT32 or names[1] != "int32"):
        msg = f"no copy from {source} to {target}"
        raise TypeError(msg)
    return {"FROM": names[0], "TO": names[1], "NDIM": ndim, "ALIGNED": int(aligned)}


def _layout(ndim: int) -> np.dtype[Any]:
    """Return what the kernel calls Layout."""
    return np.dtype([(name, np.int64, (ndim,)) for name in ("shape", "source", "target")])


def _is_aligned(x: Any, strides: Iterable[int]) -> bool:
    return all(place % x.itemsize == 0 for place in (runtime.address(x), *strides))
