# SPDX-License-Identifier: Apache-2.0
"""Arrays of a list, tuple or dict: of one library, all in the CPU's memory or all on a GPU."""

from __future__ import annotations

from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from halfbyte.arrays import (
    F16,
    F32,
    as_array,
    is_numpy,
    kind_of,
    on_device,
    place_of,
    require_dtype,
)
from halfbyte.batch import Batch, check_disjoint


class Gradients(NamedTuple):
    """The arrays of a list, tuple or dict, without the entries that are None.

    arrays: NumPy's or CuPy's. batch: what says where they lie (`arrays.header`).
    """

    name: str
    keys: list[Any]
    arrays: list[Any]
    batch: Batch
    library: Any
    on_device: bool

    def label(self, i: int) -> str:
        """Name an array as the caller would."""
        return f"{self.name}[{self.keys[i]!r}]"

    def of(self, dtype: np.dtype[Any]) -> Gradients:
        """Those of one dtype."""
        some = [i for i, x in enumerate(self.batch.arrays) if x.dtype == dtype]
        arrays, places = ([x[i] for i in some] for x in (self.arrays, self.batch.arrays))
        return self._replace(keys=[self.keys[i] for i in some], arrays=arrays, batch=Batch(places))

    def check_library(self, function: str, library: Any, *, device: bool) -> None:
        """Raise TypeError unless these are arrays of a library, on a GPU or not."""
        if not len(self.batch):
            return
        if self.library is not library:
            its, need = (x.__name__.rpartition(".")[2] for x in (self.library, library))
            msg = f"{function}: {self.label(0)} is an array of {its}; need one of {need}"
            raise TypeError(msg)
        if self.on_device is not device:
            msg = (
                f"{function}: {self.label(0)} is {place_of(self.arrays[0])}; need all in one place"
            )
            raise TypeError(msg)

    def check_written(self, function: str, read: Gradients | None = None) -> None:
        """Raise ValueError unless these can be written, each without changing another or `read`."""
        for i, x in enumerate(self.batch.arrays):
            if not x.flags.writeable:
                msg = f"{function}: {self.label(i)} is read-only; need a writeable array"
                raise ValueError(msg)
        if read is None:
            check_disjoint(function, self.batch, self.label)
        else:
            check_disjoint(function, self.batch, self.label, read.batch, read.label)


def collected(function: str, name: str, arrays: Any) -> Gradients:
    """Look at float16 and float32 arrays of one library, all in the CPU's memory or on a GPU."""
    if isinstance(arrays, dict):
        items = list(arrays.items())
    elif isinstance(arrays, (list, tuple)):
        items = list(enumerate(arrays))
    elif hasattr(arrays, "__dlpack_device__"):
        items = [(0, arrays)]
    else:
        msg = f"{function}: {name} is a {kind_of(arrays)}; need a list, tuple or dict of arrays"
        raise TypeError(msg)
    keys = [key for key, x in items if x is not None]
    found = [x for _, x in items if x is not None]
    home: Any = np
    places, on_gpu = found, False
    if not all(map(is_numpy, found)):
        found, home = _seen(function, name, keys, found)
        places, on_gpu = found, on_device(found[0])
    if on_gpu:
        from halfbyte.cuda import runtime

        places = list(map(runtime.header, found))
    gradients = Gradients(name, keys, found, Batch(places), home, on_gpu)
    for i, x in enumerate(places):
        if x.dtype != F32 and x.dtype != F16:
            require_dtype(function, gradients.label(i), x, (F32, F16))
    return gradients


def _seen(function: str, name: str, keys: list[Any], found: list[Any]) -> tuple[list[Any], Any]:
    """Look at arrays of one library as NumPy's or CuPy's, and return that library."""
    labels = [f"{name}[{key!r}]" for key in keys]
    first, home = as_array(function, labels[0], found[0])
    if first is found[0] and on_device(first) and all(type(x) is type(first) for x in found):
        from halfbyte.cuda import runtime

        # All CuPy's: none is asked for its library.
        return list(map(runtime.array, repeat(function), labels, found)), home
    seen = [first]
    for label, x in zip(labels[1:], found[1:], strict=True):
        view, its_home = as_array(function, label, x)
        need = "arrays of one library" if its_home is not home else None
        if on_device(view) is not on_device(first):
            need = need or "all in one place"
        if need:
            msg = f"{function}: {labels[0]} is a {kind_of(found[0])} {place_of(first)} and {label} "
            raise TypeError(msg + f"is a {kind_of(x)} {place_of(view)}; need {need}")
        seen.append(view)
    return seen, home
