# SPDX-License-Identifier: Apache-2.0
"""float32 to float16 and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from halfbyte.arrays import F16, F32, check_out, is_numpy, require_dtype
from halfbyte.devices import backend_of, empty_like
from halfbyte.tensors import library
from halfbyte.tensors.arguments import device_views_of


def to_f16(x: Any, *, out: Any = None) -> Any:
    """Convert float32 to float16, to nearest, ties to even (IEEE 754).

    Parameters
    ----------
    x : float32 array
        Any shape and strides, in the CPU's memory or on the current GPU.
        Beyond 65504 by half a unit or more becomes inf; NaN stays NaN.
    out : float16 array of the same shape, optional
        Any strides; shares no byte with `x`.

    Returns
    -------
    float16 array of the same shape

    Raises
    ------
    TypeError
        Another kind of array or another dtype.
    ValueError
        `out` has another shape, is read-only, or shares memory.

    Examples
    --------
    >>> to_f16(np.array([0.1, 2049, 65520], np.float32))
    array([9.998e-02, 2.048e+03,       inf], dtype=float16)
    """
    return _convert("to_f16", x, out, F32, F16)


def to_f32(x: Any, *, out: Any = None) -> Any:
    """Convert float16 to float32, exactly.

    Parameters
    ----------
    x : float16 array
        Any shape and strides, in the CPU's memory or on the current GPU.
    out : float32 array of the same shape, optional
        Any strides; shares no byte with `x`.

    Returns
    -------
    float32 array of the same shape

    Raises
    ------
    TypeError
        Another kind of array or another dtype.
    ValueError
        `out` has another shape, is read-only, or shares memory.

    Examples
    --------
    >>> to_f32(np.array([0.1, np.inf], np.float16))
    array([0.09997559,        inf], dtype=float32)
    """
    return _convert("to_f32", x, out, F16, F32)


def _convert(name: str, x: Any, out: Any, source: np.dtype[Any], target: np.dtype[Any]) -> Any:
    view, result, home = x, out, np
    if not (is_numpy(x) and (out is None or is_numpy(out))):
        seen, home = device_views_of(name, x=x, out=out)
        view, result = seen["x"], seen["out"]
    require_dtype(name, "x", view, (source,))
    if result is None:
        result = empty_like(view, target)
    else:
        require_dtype(name, "out", result, (target,))
        check_out(name, result, view.shape, [("x", view)])
    if view.size:
        backend_of(view, "casts").convert(view, result)
    return library.of(home, result) if out is None else out
