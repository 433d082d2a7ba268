# SPDX-License-Identifier: Apache-2.0
"""float32 to float16 and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import F16, F32, check_out, is_numpy, require_dtype, through_numpy

if TYPE_CHECKING:
    from collections.abc import Callable


def to_f16(x: Any, *, out: Any = None) -> Any:
    """Convert float32 to float16, to nearest, ties to even (IEEE 754).

    Parameters
    ----------
    x : float32 array
        Any shape and strides. Beyond 65504 by half a unit or more becomes inf; NaN stays NaN.
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
    """
    return _convert(to_f16, "to_f16", x, out, F32, F16)


def to_f32(x: Any, *, out: Any = None) -> Any:
    """Convert float16 to float32, exactly.

    Parameters
    ----------
    x : float16 array
        Any shape and strides.
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
    """
    return _convert(to_f32, "to_f32", x, out, F16, F32)


def _convert(
    function: Callable[..., Any],
    name: str,
    x: Any,
    out: Any,
    source: np.dtype[Any],
    target: np.dtype[Any],
) -> Any:
    if not (is_numpy(x) and (out is None or is_numpy(out))):
        return through_numpy(function, name, {"x": x, "out": out}, {})
    require_dtype(name, "x", x, (source,))
    if out is None:
        out = np.empty_like(x, target)
    else:
        require_dtype(name, "out", out, (target,))
        check_out(name, out, x.shape, [("x", x)])
    if x.size:
        from halfbyte.cpu import casts

        casts.convert(x, out)
    return out
