# SPDX-License-Identifier: Apache-2.0
"""Numbers that loss scaling and optimizers are told, checked."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from halfbyte.arrays import checked_real, is_numpy, is_on_gpu, kind_of, single_bits


def checked_number(function: str, name: str, x: Any) -> float:
    """Return a real number, or an array of shape () that holds one, as a float."""
    if getattr(x, "shape", None) == () and not isinstance(x, np.generic):
        if is_on_gpu(function, name, x):  # to ask for it would wait
            msg = f"{function}: {name} is a {kind_of(x)} on a GPU; need a number"
            raise TypeError(msg)
        x = x[()] if is_numpy(x) else x.item()
    return checked_real(function, name, x)


def checked_not_negative(function: str, name: str, x: Any) -> float:
    """Return a number >= 0 that is finite in float32, as a float."""
    value = checked_number(function, name, x)
    if not (value >= 0 and rounded(value) < math.inf):
        msg = f"{function}: {name} is {x}; need a number >= 0 that is finite in float32"
        raise ValueError(msg)
    return value


def checked_scale(function: str, name: str, x: Any) -> float:
    """Return a loss scale: positive and finite, rounded to float32."""
    value = checked_number(function, name, x)
    single = rounded(value)
    if not 0 < single < math.inf:
        msg = f"{function}: {name} is {x}; need a positive, finite number in float32's range"
        raise ValueError(msg)
    return single


def checked_integer(function: str, name: str, x: Any, least: int) -> int:
    """Return an integer from `least` on."""
    try:
        value = operator.index(x) if not isinstance(x, (bool, np.bool_)) else None
    except TypeError:
        value = None
    if value is None:
        msg = f"{function}: {name} is a {kind_of(x)}; need an integer"
        raise TypeError(msg)
    if value < least:
        msg = f"{function}: {name} is {value}; need an integer >= {least}"
        raise ValueError(msg)
    return value


def rounded(x: float) -> float:
    """Return x rounded once to float32."""
    return float(np.array([single_bits(x)], np.uint32).view(np.float32)[0])
