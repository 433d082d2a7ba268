# SPDX-License-Identifier: Apache-2.0
"""Arrays where the caller's are: NumPy's in the CPU's memory, CuPy's on a GPU.

What passed `arrays.as_array` is one or the other. Nothing here waits for a GPU but `on_host`.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

from halfbyte.arrays import is_numpy, on_device, place_of


def backend_of(x: Any, operation: str) -> Any:
    """Return the module that has the operation's kernels for the device that x is on."""
    return _module("cuda" if on_device(x) else "cpu", operation)


@functools.cache
def _module(kind: str, operation: str) -> Any:
    """Import it when the first call needs it."""
    return importlib.import_module(f"halfbyte.{kind}.{operation}")


def check_current(function: str, name: str, x: Any) -> None:
    """Raise ValueError where an array is on another GPU than the current one."""
    if on_device(x):
        from halfbyte.cuda import runtime

        runtime.array(function, name, x)


def check_packed(function: str, name: str, x: Any, packed_name: str, packed: Any) -> None:
    """Raise unless what was packed is where x is: TypeError, ValueError on another GPU."""
    contents = packed._contents
    if isinstance(contents, tuple):
        contents = contents[0]  # codes, beside what belongs to them
    if is_numpy(contents) and is_numpy(x):  # most calls
        return
    if on_device(contents) is not on_device(x):
        msg = f"{function}: {name} is {place_of(x)} and {packed_name} was packed "
        msg += f"{place_of(contents)}; need both in one place"
        raise TypeError(msg)
    check_current(function, packed_name, contents)


def empty(like: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a new array in C order on the device that `like` is on."""
    if type(like) is np.ndarray or not on_device(like):  # no call in most
        return np.empty(shape, dtype)
    from halfbyte.cuda import runtime

    return runtime.empty(shape, dtype)


def empty_like(x: Any, dtype: Any) -> Any:
    """Return a new array of x's shape in x's order of memory, on its device."""
    if not on_device(x):
        return np.empty_like(x, dtype)
    from halfbyte.cuda import runtime

    return runtime.empty_like(x, dtype)


def zeros_like(x: Any, dtype: Any) -> Any:
    """Return a new array of x's shape in x's order of memory, its bytes zero, on its device."""
    if not on_device(x):
        return np.zeros_like(x, dtype)
    from halfbyte.cuda import runtime

    return runtime.zeros_like(x, dtype)


def beside(like: Any, value: Any, dtype: Any) -> Any:
    """Return a value as an array of this dtype on the device that `like` is on; None stays.

    A new one, but that an array of this dtype on a GPU is returned as it is.
    """
    return value if on_device(value) and value.dtype == dtype else own(like, value, dtype)


def own(like: Any, value: Any, dtype: Any) -> Any:
    """Return a value as a new array of this dtype, C order, on like's device; None stays."""
    if value is None:
        return None
    if on_device(value):
        array = empty(value, value.shape, dtype)
        assign(array, value)
        return array
    array = np.array(value, dtype, order="C")
    if not on_device(like):
        return array
    from halfbyte.cuda import runtime

    return runtime.upload(array)


def copied(x: Any, dtype: Any = None) -> Any:
    """Return a copy on x's device, of another dtype where one is given."""
    copy = empty_like(x, x.dtype if dtype is None else dtype)
    assign(copy, x)
    return copy


def assign(target: Any, source: Any) -> None:
    """target[...] = source, both on one device."""
    if not on_device(target):
        target[...] = source
        return
    from halfbyte.cuda import runtime

    runtime.assign(target, source)


def on_host(x: Any) -> Any:
    """Return an array in the CPU's memory; waits for a GPU."""
    if not on_device(x):
        return x
    from halfbyte.cuda import runtime

    return runtime.download(x)
