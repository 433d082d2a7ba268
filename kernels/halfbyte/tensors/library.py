# SPDX-License-Identifier: Apache-2.0
"""Arrays of other libraries inside our types: looked at as NumPy arrays, kept as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import Array, as_numpy, is_numpy, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable


def view(x: Any) -> Array:
    """Look at an array that passed `views` as a NumPy array."""
    return x if is_numpy(x) else np.from_dlpack(x)


def views(function: str, **arrays: Any) -> tuple[list[Array], Any]:
    """Look at arrays of one library as NumPy arrays; return these and the library."""
    seen, libraries = zip(*(as_numpy(function, name, x) for name, x in arrays.items()), strict=True)
    if any(library is not libraries[0] for library in libraries):
        kinds = ", ".join(f"{name} is a {kind_of(x)}" for name, x in arrays.items())
        msg = f"{function}: {kinds}; need arrays of one library"
        raise TypeError(msg)
    return list(seen), libraries[0]


def of(library: Any, array: Array) -> Any:
    """Give an array to a library."""
    return array if library is np else library.from_dlpack(array)


def answer(function: str, make: Callable[[], Any], dtype: Any, copy: bool | None) -> Array:
    """Answer NumPy's __array__ with values that `make` computes."""
    if copy is False:
        msg = f"{function}: copy is False; need a copy, for the values are computed"
        raise ValueError(msg)
    values = view(make())
    return values if dtype is None else values.astype(dtype, copy=False)


def library_of(x: Any) -> Any:
    """Library of an array that passed `views`."""
    return np if is_numpy(x) else as_numpy("library_of", "x", x)[1]
