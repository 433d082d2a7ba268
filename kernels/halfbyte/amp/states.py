# SPDX-License-Identifier: Apache-2.0
"""What state dictionaries hold, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import as_array, kind_of, on_device, require_dtype
from halfbyte.devices import assign, beside, on_host
from halfbyte.devices import copied as device_copy
from halfbyte.tensors import library

if TYPE_CHECKING:
    from collections.abc import Callable


def check_keys(function: str, label: str, state: Any, wanted: set[str]) -> None:
    """Raise unless this is a dict with these keys."""
    if not isinstance(state, dict):
        msg = f"{function}: {label} is a {kind_of(state)}; need a dict"
        raise TypeError(msg)
    missing, unknown = sorted(wanted - state.keys()), sorted(map(str, state.keys() - wanted))
    if missing or unknown:
        faults = [f"lacks {missing}"] * bool(missing) + [f"has unknown {unknown}"] * bool(unknown)
        faults = faults if state else ["is empty"]
        msg = f"{function}: {label} {' and '.join(faults)}; need the keys {sorted(wanted)}"
        raise ValueError(msg)


def fill(function: str, label: str, own: Any, x: Any) -> None:
    """Copy an array of a state into one of the same dtype and shape; None stands for no array."""
    if (x is None) != (own is None):
        got, need = ("None", "an array") if x is None else (f"a {kind_of(x)}", "None")
        msg = f"{function}: {label} is {got}; need {need}"
        raise TypeError(msg)
    if own is None:
        return
    array, _ = as_array(function, label, x)
    require_dtype(function, label, array, (own.dtype,))
    if array.shape != own.shape:
        msg = f"{function}: {label} has shape {array.shape}; need {own.shape}"
        raise ValueError(msg)
    assign(own, beside(own, array, array.dtype) if on_device(own) else on_host(array))


def saved(home: Any, like: Any, state: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Copy each parameter's part of a state for a library, to the device that `like` is on."""

    def copied(x: Any) -> Any:
        if on_device(x):
            return library.of(home, device_copy(x))
        copy = beside(like, x, x.dtype) if on_device(like) else np.array(x)
        return library.of(home, copy)

    rows = rows_of(state)
    return [
        {name: None if x[i] is None else copied(x[i]) for name, x in rows.items()}
        for i in range(count)
    ]


def rows_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state whose parts can be asked for each parameter's: what is one array, as NumPy's.

    Where that is on a GPU, it waits for it.
    """
    return {name: on_host(part) for name, part in state.items()}


def on_device_again(like: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Return a state with all arrays where `like` is."""

    def there(x: Any) -> Any:
        return x if on_device(x) or not on_device(like) else beside(like, x, x.dtype)

    return {name: each(there, part) for name, part in state.items()}


def each(function: Callable[[Any], Any], part: Any) -> Any:
    """Return what a function makes of an array of a state, or of each array in a list of it."""
    if isinstance(part, list):
        return [None if x is None else function(x) for x in part]
    return function(part)
