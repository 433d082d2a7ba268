# SPDX-License-Identifier: Apache-2.0
"""Arguments of one call, arrays of one library among them, as NumPy arrays."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.tensors import library

if TYPE_CHECKING:
    from collections.abc import Callable

# Arguments that are no numbers. `out` may be None.
_ARRAYS = ("x", "dy", "acc", "a", "b", "w")
_OUT = "out"


def views_of(function: str, **arguments: Any) -> tuple[dict[str, Any], Any]:
    """Look at the arrays among arguments as NumPy arrays; return all, and the arrays' library.

    Scales and the like may be numbers or None, and then stay.
    """
    return _viewed(library.views, function, arguments)


def device_views_of(function: str, **arguments: Any) -> tuple[dict[str, Any], Any]:
    """Do as `views_of` does, with CuPy arrays where the arguments are on a GPU."""
    return _viewed(library.device_views, function, arguments)


def _viewed(
    look: Callable[..., tuple[list[Any], Any]], function: str, arguments: dict[str, Any]
) -> tuple[dict[str, Any], Any]:
    for name, x in arguments.items():
        if type(x) is not np.ndarray and not _stays(name, x):
            break
    else:
        return arguments, np  # most calls
    arrays = {name: x for name, x in arguments.items() if not _stays(name, x)}
    views, home = look(function, **arrays)
    return {**arguments, **dict(zip(arrays, views, strict=True))}, home


def _stays(name: str, x: Any) -> bool:
    """Whether an argument may be something else than an array, and is."""
    if name in _ARRAYS:
        return False
    return x is None or (name != _OUT and isinstance(x, (int, float, np.generic)))


def out_view(function: str, out: Any, home: Any) -> Any:
    """Look at `out`, an array of this library, as a NumPy array, or a CuPy array on a GPU."""
    (view,), its_home = library.device_views(function, out=out)
    if its_home is not home:
        msg = (
            f"{function}: out is a {type(out).__name__}; need an array of the library of the input"
        )
        raise TypeError(msg)
    return view


def checked_dtype(
    function: str,
    dtype: Any,
    home: Any,
    allowed: tuple[np.dtype[Any], ...],
    argument: str = "dtype",
) -> np.dtype[Any]:
    """Return the one of these dtypes that is meant: NumPy's own, its name, or the library's."""
    for known in allowed:
        if dtype is known or dtype is known.type:  # most calls
            return known
    meant = None
    with contextlib.suppress(TypeError):
        meant = None if dtype is None else np.dtype(dtype)
    for known in allowed:
        if known == meant or dtype is getattr(home, known.name, None):
            return known
    need = " or ".join(known.name for known in allowed)
    msg = f"{function}: {argument} is {dtype!r}; need {need}"
    raise TypeError(msg)
