# SPDX-License-Identifier: Apache-2.0
"""Optimizers that are not halfbyte's: where their gradients are, and unscaling these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from halfbyte.amp.collected import collected
from halfbyte.amp.gradients import MASTER_WEIGHTS, unscale_by
from halfbyte.arrays import F16, kind_of

if TYPE_CHECKING:
    from halfbyte.amp.scale import Scale


def check_step(function: str, optimizer: Any) -> None:
    """Raise TypeError unless this has a method `step`."""
    if not callable(getattr(optimizer, "step", None)):
        msg = f"{function}: optimizer is a {kind_of(optimizer)}; need an object with step()"
        raise TypeError(msg)


def unscale(function: str, optimizer: Any, scale: Scale) -> Any:
    """Divide an optimizer's gradients by the scale in place. Returns whether all are finite."""
    gradients = collected(function, "grads", _gradients(function, optimizer))
    for i, g in enumerate(gradients.batch.arrays):
        if g.dtype == F16:  # what its users meet first
            msg = f"{function}: {gradients.label(i)} is float16; need float32: {MASTER_WEIGHTS}"
            raise TypeError(msg)
    gradients.check_written(function)
    return unscale_by(function, gradients, gradients.batch, scale)


def _gradients(function: str, optimizer: Any) -> Any:
    grads = getattr(optimizer, "grads", None)
    if isinstance(grads, (list, tuple, dict)):
        return grads
    groups = getattr(optimizer, "param_groups", None)
    if isinstance(groups, (list, tuple)):
        try:
            return [p.grad for group in groups for p in group["params"]]
        except (AttributeError, KeyError, TypeError) as error:
            msg = f"{function}: optimizer has param_groups without parameters that have grad: "
            raise TypeError(msg + repr(error)) from error
    msg = f"{function}: optimizer is a {kind_of(optimizer)}; need grads or param_groups"
    raise TypeError(msg)
