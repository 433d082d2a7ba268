# SPDX-License-Identifier: Apache-2.0
"""What state dictionaries hold, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from halfbyte.arrays import Array, as_numpy, kind_of, require_dtype
from halfbyte.tensors import library


def check_keys(function: str, label: str, state: Any, wanted: set[str]) -> None:
    """Raise unless this is a dict with these keys."""
    if not isinstance(state, dict):
        msg = f"{function}: {label} is a {kind_of(state)}; need a dict"
        raise TypeError(msg)
    missing, unknown = sorted(wanted - state.keys()), sorted(map(str, state.keys() - wanted))
    if missing or unknown:
        faults = [f"lacks {missing}"] * bool(missing) + [f"has unknown {unknown}"] * bool(unknown)
        msg = f"{function}: {label} {' and '.join(faults)}; need the keys {sorted(wanted)}"
        raise ValueError(msg)


def fill(function: str, label: str, own: Array | None, x: Any) -> None:
    """Copy an array of a state into one of the same dtype and shape; None stands for no array."""
    if (x is None) != (own is None):
        got, need = ("None", "an array") if x is None else (f"a {kind_of(x)}", "None")
        msg = f"{function}: {label} is {got}; need {need}"
        raise TypeError(msg)
    if own is None:
        return
    array, _ = as_numpy(function, label, x)
    require_dtype(function, label, array, (own.dtype,))
    if array.shape != own.shape:
        msg = f"{function}: {label} has shape {array.shape}; need {own.shape}"
        raise ValueError(msg)
    own[...] = array


def copied(home: Any, array: Array | None) -> Any:
    """Copy an array for a library; None stays."""
    return None if array is None else library.of(home, np.array(array))
