# SPDX-License-Identifier: Apache-2.0
"""Gradients of a scaled loss: unscaled, and clipped by their norm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.amp.collected import Gradients, collected
from halfbyte.amp.numbers import checked_number, checked_scale
from halfbyte.arrays import F32, kind_of, require_dtype
from halfbyte.batch import Batch, check_disjoint
from halfbyte.tensors import library

if TYPE_CHECKING:
    from halfbyte.amp.scale import Scale

MASTER_WEIGHTS = (
    "the smallest gradients would be lost in float16: keep float32 master weights, and let the"
    " float32 copies of the gradients be their gradients"
)


def unscale(grads: Any, scale: Any, *, out: Any = None) -> Any:
    """Divide gradients by the loss scale, and find out whether all of them are finite.

    Parameters
    ----------
    grads : list, tuple or dict of float32 or float16 arrays, or one array
        Any shapes and strides, all in the CPU's memory or all on the current GPU. Entries that are
        None are skipped.
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
        Whether any result is infinite or NaN, where the gradients are: on a GPU nothing waits for
        it. Results are written even then.

    Raises
    ------
    TypeError
        Another kind of argument, another dtype, or float16 gradients without `out`.
    ValueError
        A scale that is not positive and finite, or whose reciprocal is 0 or infinite in float32;
        `out` with other keys or shapes; arrays to write that are read-only or share memory.

    Examples
    --------
    >>> grads = [np.array([8.0, np.inf], np.float32), None]
    >>> found_inf = unscale(grads, 4.0)
    >>> grads
    [array([ 2., inf], dtype=float32), None]
    >>> bool(found_inf)
    True
    """
    name = "unscale"
    gradients = collected(name, "grads", grads)
    inverse = inverse_of(name, "scale", scale)
    targets = _in_place(name, gradients) if out is None else _results(name, gradients, grads, out)
    if gradients.on_device:
        from halfbyte.cuda import amp as cuda

        found = cuda.unscale(gradients.batch, targets, inverse)
    else:
        found = np.array(not multiply(gradients.batch, targets, inverse))
    return library.of(gradients.library, found)


def clip_grad_norm(grads: Any, max_norm: Any, *, scale: Any = 1.0) -> Any:
    """Shrink gradients in place so that their norm, taken over all of them, is at most `max_norm`.

    Parameters
    ----------
    grads : list, tuple or dict of float32 or float16 arrays, or one array
        Any shapes and strides, all in the CPU's memory or all on the current GPU. Entries that are
        None are skipped.
    max_norm : float
        At least 0; infinity changes nothing.
    scale : float
        The loss scale, if the gradients still contain it: ``grads / scale`` is measured, and the
        gradients stay scaled. After `unscale`, or ``GradScaler.unscale_``: 1.

    Returns
    -------
    float64 array, shape ()
        The Euclidean norm of ``grads / scale`` before clipping, computed in float64, where the
        gradients are. Where it is infinite or NaN, nothing is changed.

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

    Examples
    --------
    >>> grads = [np.array([3.0, 4.0], np.float32)]
    >>> print(clip_grad_norm(grads, 2.5))
    5.0
    >>> print(grads[0].round(3))
    [1.5 2. ]
    """
    name = "clip_grad_norm"
    gradients = collected(name, "grads", grads)
    largest = checked_number(name, "max_norm", max_norm)
    if not largest >= 0:
        msg = f"{name}: max_norm is {max_norm}; need a number >= 0"
        raise ValueError(msg)
    scale = checked_scale(name, "scale", scale)
    gradients.check_written(name)
    if gradients.on_device:
        from halfbyte.cuda import amp as cuda

        return library.of(gradients.library, cuda.clip(gradients.batch, largest, scale))
    norm = _norm(gradients.batch) / scale
    factor = np.float32(min(1.0, largest / (norm + 1e-6))) if math.isfinite(norm) else 1.0
    if factor != 1:
        multiply(gradients.batch, gradients.batch, np.float32(factor))
    return library.of(gradients.library, np.array(norm, np.float64))


# ---- Arguments ---------------------------------------------------------------------------------
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


def unscale_by(function: str, gradients: Gradients, targets: Batch, scale: Scale) -> Any:
    """Write gradients over the scale. Returns whether all are finite: a bool, or a GPU's flag."""
    if gradients.on_device:
        from halfbyte.cuda import amp_scale

        return amp_scale.unscale(gradients.batch, targets, scale.on_device(function))
    return multiply(gradients.batch, targets, inverse_of(function, "scale", scale.value))


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
    results.check_library(function, gradients.library, device=gradients.on_device)
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
