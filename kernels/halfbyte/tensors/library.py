# SPDX-License-Identifier: Apache-2.0
"""Arrays of other libraries inside our types: seen as NumPy or CuPy arrays, kept as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import Array, as_array, as_numpy, is_numpy, kind_of, on_device, place_of

if TYPE_CHECKING:
    from collections.abc import Callable


def view(x: Any) -> Array:
    """Look at an array that passed `views` as a NumPy array."""
    return x if is_numpy(x) else as_numpy("halfbyte", "one array", x)[0]


def device_view(x: Any) -> Any:
    """Look at an array that passed `device_views` as a NumPy array, or a CuPy array on a GPU."""
    return x if is_numpy(x) else as_array("halfbyte", "one array", x)[0]


def views(function: str, **arrays: Any) -> tuple[list[Array], Any]:
    """Look at arrays of one library as NumPy arrays; return these and the library."""
    return _viewed(as_numpy, function, arrays)


def device_views(function: str, **arrays: Any) -> tuple[list[Any], Any]:
    """Look at arrays of one library as NumPy arrays, or all as CuPy arrays; return the library."""
    return _viewed(as_array, function, arrays)


def _viewed(
    look: Callable[[str, str, Any], tuple[Any, Any]], function: str, arrays: dict[str, Any]
) -> tuple[list[Any], Any]:
    seen, libraries = zip(*(look(function, name, x) for name, x in arrays.items()), strict=True)
    if any(library is not libraries[0] for library in libraries):
        kinds = ", ".join(f"{name} is a {kind_of(x)}" for name, x in arrays.items())
        msg = f"{function}: {kinds}; need arrays of one library"
        raise TypeError(msg)
    check_place(function, dict(zip(arrays, seen, strict=True)))
    return list(seen), libraries[0]


def check_place(function: str, seen: dict[str, Any]) -> None:
    """Raise TypeError unless the arrays are all in the CPU's memory, or all on a GPU."""
    if len({on_device(x) for x in seen.values()}) > 1:
        where = ", ".join(f"{name} is {place_of(x)}" for name, x in seen.items())
        msg = f"{function}: {where}; need all in one place"
        raise TypeError(msg)


def of(library: Any, array: Any) -> Any:
    """Give an array to a library."""
    if library is np or (on_device(array) and library_of(array) is library):
        return array
    return library.from_dlpack(array)


def answer(function: str, make: Callable[[], Any], dtype: Any, copy: bool | None) -> Array:
    """Answer NumPy's __array__ with values that `make` computes."""
    if copy is False:
        msg = f"{function}: copy is False; need a copy, for the values are computed"
        raise ValueError(msg)
    values = view(make())
    return values if dtype is None else values.astype(dtype, copy=False)


def library_of(x: Any) -> Any:
    """Library of an array that passed `views`."""
    return np if is_numpy(x) else as_array("library_of", "x", x)[1]
