# SPDX-License-Identifier: Apache-2.0
"""Gradients of a scaled loss: unscaled, and clipped by their norm."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from halfbyte.amp.numbers import checked_number, checked_scale
from halfbyte.arrays import F16, F32, as_numpy, is_numpy, kind_of, require_dtype
from halfbyte.batch import Batch, check_disjoint
from halfbyte.tensors import library

MASTER_WEIGHTS = (
    "the smallest gradients would be lost in float16: keep float32 master weights, and let the"
    " float32 copies of the gradients be their gradients"
)


class Gradients(NamedTuple):
    """The arrays of a list, tuple or dict, without the entries that are None."""

    name: str
    keys: list[Any]
    batch: Batch
    library: Any

    def label(self, i: int) -> str:
        """Name an array as the caller would."""
        return f"{self.name}[{self.keys[i]!r}]"

    def of(self, dtype: np.dtype[Any]) -> Gradients:
        """Those of one dtype."""
        some = [i for i, x in enumerate(self.batch.arrays) if x.dtype == dtype]
        batch = Batch([self.batch.arrays[i] for i in some])
        return self._replace(keys=[self.keys[i] for i in some], batch=batch)

    def check_library(self, function: str, library: Any) -> None:
        """Raise TypeError unless these are arrays of a library."""
        if len(self.batch) and self.library is not library:
            its, need = (x.__name__.rpartition(".")[2] for x in (self.library, library))
            msg = f"{function}: {self.label(0)} is an array of {its}; need one of {need}"
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


def unscale(grads: Any, scale: Any, *, out: Any = None) -> Any:
    """Divide gradients by the loss scale, and find out whether all of them are finite.

    Parameters
    ----------
    grads : list, tuple or dict of float32 or float16 arrays, or one array
        Any shapes and strides. Entries that are None are skipped.
    scale : float
        What the loss was multiplied by: positive, finite, rounded once to float32. Gradients are
        multiplied by ``float32(1 / scale)``.
    out : list, tuple or dict of float32 arrays, or one array, optional
        For the results, with the length or the keys of `grads` and the shapes of its arrays.
        ``out[i]`` may be ``grads[i]`` itself. By default float32 gradients are replaced in place;
        float16 ones need an `out`.

    Returns
    -------
    bool array, shape ()
        Whether any result is infinite or NaN. Results are written even then.

    Raises
    ------
    TypeError
        Another kind of argument, another dtype, or float16 gradients without `out`.
    ValueError
        A scale that is not positive and finite, or whose reciprocal is 0 or infinite in float32;
        `out` with other keys or shapes; arrays to write that are read-only or share memory.
    """
    name = "unscale"
    gradients = collected(name, "grads", grads)
    inverse = inverse_of(name, "scale", scale)
    targets = _in_place(name, gradients) if out is None else _results(name, gradients, grads, out)
    found = not multiply(gradients.batch, targets, inverse)
    return library.of(gradients.library, np.array(found))


def clip_grad_norm(grads: Any, max_norm: Any, *, scale: Any = 1.0) -> Any:
    """Shrink gradients in place so that their norm, taken over all of them, is at most `max_norm`.

    Parameters
    ----------
    grads : list, tuple or dict of float32 or float16 arrays, or one array
        Any shapes and strides. Entries that are None are skipped.
    max_norm : float
        At least 0; infinity changes nothing.
    scale : float
        The loss scale, if the gradients still contain it: ``grads / scale`` is measured, and the
        gradients stay scaled. After `unscale`, or ``GradScaler.unscale_``: 1.

    Returns
    -------
    float64 array, shape ()
        The Euclidean norm of ``grads / scale`` before clipping, computed in float64. Where it is
        infinite or NaN, nothing is changed.

    Raises
    ------
    TypeError
        Another kind of argument, or another dtype.
    ValueError
        A number out of range; arrays that are read-only or share memory.

    Notes
    -----
    A gradient becomes ``g * float32(min(1, max_norm / (norm + 1e-6)))``, in float32, rounded to its
    own dtype. The norm is within ``(n + 8) * 2**-52`` of the exact one of n elements, relatively.
    """
    name = "clip_grad_norm"
    gradients = collected(name, "grads", grads)
    largest = checked_number(name, "max_norm", max_norm)
    if not largest >= 0:
        msg = f"{name}: max_norm is {max_norm}; need a number >= 0"
        raise ValueError(msg)
    scale = checked_scale(name, "scale", scale)
    gradients.check_written(name)
    norm = _norm(gradients.batch) / scale
    factor = np.float32(min(1.0, largest / (norm + 1e-6))) if math.isfinite(norm) else 1.0
    if factor != 1:
        multiply(gradients.batch, gradients.batch, np.float32(factor))
    return library.of(gradients.library, np.array(norm, np.float64))


# ---- Arguments ---------------------------------------------------------------------------------
def collected(function: str, name: str, arrays: Any) -> Gradients:
    """Look at float16 and float32 arrays of one library as NumPy arrays."""
    if isinstance(arrays, dict):
        items = list(arrays.items())
    elif isinstance(arrays, (list, tuple)):
        items = list(enumerate(arrays))
    elif hasattr(arrays, "__dlpack__"):
        items = [(0, arrays)]
    else:
        msg = f"{function}: {name} is a {kind_of(arrays)}; need a list, tuple or dict of arrays"
        raise TypeError(msg)
    keys = [key for key, x in items if x is not None]
    found = [x for _, x in items if x is not None]
    home: Any = np
    if not all(map(is_numpy, found)):
        seen = [
            as_numpy(function, f"{name}[{key!r}]", x) for key, x in zip(keys, found, strict=True)
        ]
        home = seen[0][1]
        for key, x, (_, its_home) in zip(keys, found, seen, strict=True):
            if its_home is not home:
                first = f"{name}[{keys[0]!r}] is a {kind_of(found[0])}"
                msg = f"{function}: {first} and {name}[{key!r}] is a {kind_of(x)}; "
                raise TypeError(msg + "need arrays of one library")
        found = [x for x, _ in seen]
    gradients = Gradients(name, keys, Batch(found), home)
    for i, x in enumerate(found):
        if x.dtype != F32 and x.dtype != F16:
            require_dtype(function, gradients.label(i), x, (F32, F16))
    return gradients


def inverse_of(function: str, name: str, scale: Any) -> np.float32:
    """Return float32(1 / float32(scale)): what undoes the scaling."""
    single = checked_scale(function, name, scale)
    with np.errstate(over="ignore", under="ignore"):
        inverse = np.float32(1.0 / single)
    if not (inverse > 0 and np.isfinite(inverse)):
        msg = f"{function}: {name} is {single}, and 1 / {name} is {inverse} in float32; "
        raise ValueError(msg + "need one that is neither 0 nor infinite")
    return inverse


def multiply(sources: Batch, targets: Batch, factor: np.float32) -> bool:
    """Write sources * factor to targets. Returns whether all results are finite."""
    from halfbyte.cpu import amp as cpu

    return cpu.multiply(sources, targets, factor)


def _norm(batch: Batch) -> float:
    from halfbyte.cpu import amp as cpu

    return math.sqrt(cpu.sum_of_squares(batch))


def _in_place(function: str, gradients: Gradients) -> Batch:
    for i, x in enumerate(gradients.batch.arrays):
        if x.dtype != F32:
            msg = f"{function}: {gradients.label(i)} is float16; need out, float32 arrays: "
            raise TypeError(msg + MASTER_WEIGHTS)
    gradients.check_written(function)
    return gradients.batch


def _results(function: str, gradients: Gradients, grads: Any, out: Any) -> Batch:
    """Return the arrays of `out` that belong to the gradients."""
    chosen = _matching(function, gradients, grads, out)
    for key, x in chosen.items():
        if x is None:
            msg = f"{function}: out[{key!r}] is None; need a float32 array"
            raise TypeError(msg)
    results = collected(function, "out", chosen)
    results.check_library(function, gradients.library)
    for i, (x, g) in enumerate(zip(results.batch.arrays, gradients.batch.arrays, strict=True)):
        if x.dtype != F32:
            require_dtype(function, results.label(i), x, (F32,))
        if x.shape != g.shape:
            msg = f"{function}: {results.label(i)} has shape {x.shape}; need {g.shape}"
            raise ValueError(msg)
        if not x.flags.writeable:
            msg = f"{function}: {results.label(i)} is read-only; need a writeable array"
            raise ValueError(msg)
    check_disjoint(
        function, results.batch, results.label, gradients.batch, gradients.label, itself=True
    )
    return results.batch


def _matching(function: str, gradients: Gradients, grads: Any, out: Any) -> dict[Any, Any]:
    """Return the entries of `out` at the gradients' keys."""
    if isinstance(grads, dict):
        if not isinstance(out, dict):
            msg = f"{function}: out is a {kind_of(out)} and grads is a dict; need a dict"
            raise TypeError(msg)
        if out.keys() != grads.keys():
            msg = f"{function}: out has keys {list(out)}; need {list(grads)}, those of grads"
            raise ValueError(msg)
    elif isinstance(grads, (list, tuple)):
        if not isinstance(out, (list, tuple)):
            msg = f"{function}: out is a {kind_of(out)} and grads is a {kind_of(grads)}; "
            raise TypeError(msg + "need a list or tuple")
        if len(out) != len(grads):
            msg = f"{function}: out has {len(out)} entries; need {len(grads)}, as grads has"
            raise ValueError(msg)
    elif isinstance(out, (list, tuple, dict)):
        msg = f"{function}: out is a {kind_of(out)} and grads is an array; need an array"
        raise TypeError(msg)
    else:
        return {0: out}
    return {key: out[key] for key in gradients.keys}
