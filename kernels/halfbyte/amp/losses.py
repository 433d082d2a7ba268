# SPDX-License-Identifier: Apache-2.0
"""Losses of any kind, times a scale."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from halfbyte.amp.numbers import checked_number
from halfbyte.arrays import REFUSED, kind_of

_NAME = "GradScaler.scale"


def scaled(x: Any, scale: float) -> Any:
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
        return value * scale
    if isinstance(x, (np.ndarray, np.generic)):
        return _scaled_array(x, scale)
    if hasattr(x, "__dlpack__"):
        product = x * scale  # its own, with what it records for gradients
        if product.dtype != x.dtype:
            msg = f"{_NAME}: outputs has dtype {x.dtype}; need a floating point dtype"
            raise TypeError(msg)
        return product
    msg = f"{_NAME}: outputs is a {kind_of(x)}; need a number, an array, or a container of these"
    raise TypeError(msg)


def _scaled_array(x: Any, scale: float) -> Any:
    if isinstance(x, REFUSED):
        msg = f"{_NAME}: outputs is a {kind_of(x)}; need a plain array"
        raise TypeError(msg)
    if x.dtype not in (np.float16, np.float32, np.float64):
        msg = f"{_NAME}: outputs has dtype {x.dtype}; need float16, float32 or float64"
        raise TypeError(msg)
    wide = np.promote_types(x.dtype, np.float32)
    with np.errstate(all="ignore"):
        product = (np.asarray(x).astype(wide) * wide.type(scale)).astype(x.dtype)
    return np.asarray(product) if isinstance(x, np.ndarray) else product
