# SPDX-License-Identifier: Apache-2.0
"""Losses of any kind, times a scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.amp.numbers import checked_number
from halfbyte.arrays import REFUSED, is_on_gpu, kind_of

if TYPE_CHECKING:
    from halfbyte.amp.scale import Scale

_NAME = "GradScaler.scale"


def scaled(x: Any, scale: Scale) -> Any:
    """Return scale times a loss, or the losses of a container, in their dtypes."""
    if x is None:
        return None
    if isinstance(x, dict):
        return {key: scaled(value, scale) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        values = [scaled(value, scale) for value in x]
        return type(x)(*values) if hasattr(x, "_fields") else type(x)(values)
    if isinstance(x, (int, float)) and not isinstance(x, (bool, np.generic)):
        value = checked_number(_NAME, "outputs", x)
        if math.isinf(value) and isinstance(x, int):
            msg = f"{_NAME}: outputs is an integer beyond every float; need a number within"
            raise ValueError(msg)
        return value * scale.value
    if isinstance(x, (np.ndarray, np.generic)):
        return _scaled_array(x, scale.value)
    if is_on_gpu(_NAME, "outputs", x):
        from halfbyte.cuda import amp_scale, runtime

        if runtime.is_own(x):
            view = runtime.array(_NAME, "outputs", x)
            _check_dtype(x)
            return amp_scale.scaled(view, scale.on_device(_NAME))
    if hasattr(x, "__dlpack__"):
        product = x * scale.value  # its own, with what it records for gradients
        if product.dtype != x.dtype:
            msg = f"{_NAME}: outputs has dtype {x.dtype}; need a floating point dtype"
            raise TypeError(msg)
        return product
    msg = f"{_NAME}: outputs is a {kind_of(x)}; need a number, an array, or a container of these"
    raise TypeError(msg)


def _check_dtype(x: Any) -> None:
    if x.dtype not in (np.float16, np.float32, np.float64):
        msg = f"{_NAME}: outputs has dtype {x.dtype}; need float16, float32 or float64"
        raise TypeError(msg)


def _scaled_array(x: Any, scale: float) -> Any:
    if isinstance(x, REFUSED):
        msg = f"{_NAME}: outputs is a {kind_of(x)}; need a plain array"
        raise TypeError(msg)
    _check_dtype(x)
    wide = np.promote_types(x.dtype, np.float32)
    with np.errstate(all="ignore"):
        product = (np.asarray(x).astype(wide) * wide.type(scale)).astype(x.dtype)
    return np.asarray(product) if isinstance(x, np.ndarray) else product
