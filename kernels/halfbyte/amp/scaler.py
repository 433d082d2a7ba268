# SPDX-License-Identifier: Apache-2.0
"""Dynamic loss scaling."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np

from halfbyte.amp import foreign
from halfbyte.amp.losses import scaled
from halfbyte.amp.named import Named
from halfbyte.amp.numbers import (
    checked_integer,
    checked_number,
    checked_scale,
    rounded,
)
from halfbyte.amp.optimizer import Optimizer
from halfbyte.amp.scale import Rule, Scale
from halfbyte.amp.states import check_keys
from halfbyte.arrays import kind_of, on_device
from halfbyte.devices import on_host
from halfbyte.quantized import check_flag
from halfbyte.tensors import library

_LEAST = 2.0**-126  # a smaller scale's reciprocal may be infinite
_LARGEST = float(np.finfo(np.float32).max)
_KEYS = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")


class _Stage(NamedTuple):
    """What happened to an optimizer's gradients since the last update."""

    optimizer: Any  # held, so that its id stays its own
    finite: Any  # a bool, or a flag on a GPU
    stepped: bool


class GradScaler(Named):
    """Scale a loss so that float16 gradients do not vanish, and adapt the scale.

    Steps with a gradient that is infinite or NaN are skipped, and lower the scale; enough good ones
    in a row raise it. Names, defaults and rule are those of ``torch.amp.GradScaler``; what differs:
    growth does not stop where `growth_interval` is set below the count of good steps, the scale
    stays within `min_scale` and `max_scale`, arguments are checked, `step` tells whether it
    stepped, and gradients that are all None count as checked and finite: torch's `step` raises.

    Once it meets gradients or losses on a GPU, the scale is there too, and only asking for it waits
    for the GPU: `get_scale`, `state_dict`, `at_min_scale`, pickling, and the `step` of an optimizer
    that is not halfbyte's.

    Parameters
    ----------
    init_scale : float
        The first scale. Scales are positive, finite, and rounded once to float32.
    growth_factor : float
        Above 1. The scale is multiplied by it after `growth_interval` good steps in a row.
    backoff_factor : float
        Between 0 and 1. The scale is multiplied by it after a step that was skipped.
    growth_interval : int
        At least 1.
    enabled : bool
        If False, every method is a no-op, and `step` steps.
    min_scale, max_scale : float
        The scale is never lowered below `min_scale`, at least 2**-126, nor raised beyond
        `max_scale`.

    Raises
    ------
    TypeError
        Another kind of argument.
    ValueError
        A number out of range.

    Examples
    --------
    >>> w, scaler = np.zeros(2, np.float16), GradScaler(init_scale=8.0)
    >>> optimizer = SGD([w], lr=1.0)
    >>> for dw in ([0.5, 1.0], [np.inf, 1.0]):  # of a loss that was multiplied by the scale
    ...     optimizer.grads = [np.array(dw, np.float16) * np.float16(scaler.get_scale())]
    ...     scaler.unscale_(optimizer)  # needed only for what comes between, like clipping
    ...     norm = clip_grad_norm(optimizer.grads, 10.0)
    ...     print(scaler.step(optimizer), w)
    ...     scaler.update()
    True [-0.5 -1. ]
    False [-0.5 -1. ]
    >>> scaler.get_scale()
    4.0
    """

    _SETTABLE: ClassVar[tuple[str, ...]] = (
        "set_growth_factor()", "set_backoff_factor()", "set_growth_interval()", "update(new_scale)",
    )  # fmt: skip

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
        min_scale: float = _LEAST,
        max_scale: float = _LARGEST,
    ) -> None:
        name = "GradScaler"
        self._min_scale = checked_scale(name, "min_scale", min_scale)
        self._max_scale = checked_scale(name, "max_scale", max_scale)
        if self._min_scale < _LEAST:
            msg = f"{name}: min_scale is {min_scale}; need at least 2**-126"
            raise ValueError(msg)
        if self._min_scale > self._max_scale:
            msg = f"{name}: min_scale is {min_scale} and max_scale is {max_scale}; "
            raise ValueError(msg + "need min_scale <= max_scale")
        self._scale = Scale(self._within(name, "init_scale", init_scale))
        self._growth_factor = _checked_growth(name, "growth_factor", growth_factor)
        self._backoff_factor = _checked_backoff(name, "backoff_factor", backoff_factor)
        self._growth_interval = checked_integer(name, "growth_interval", growth_interval, 1)
        self._enabled = check_flag(name, "enabled", enabled)
        self._stages: dict[int, _Stage] = {}

    # ---- A training step -----------------------------------------------------------------------
    def scale(self, outputs: Any) -> Any:
        """Multiply a loss, or the losses in a list, tuple or dict, by the scale.

        Parameters
        ----------
        outputs : float, floating point array, or list, tuple or dict of these
            Entries that are None stay.

        Returns
        -------
        The same kind, and the same dtype
            float16 is multiplied in float32 and rounded once. A Python number gives a float; an
            array of another library than NumPy and CuPy is multiplied by that library, and waits
            for the scale if that is on a GPU.

        Raises
        ------
        TypeError
            Another kind of object, or integers.
        """
        return scaled(outputs, self._scale) if self._enabled else outputs

    def unscale_(self, optimizer: Any) -> None:
        """Divide an optimizer's gradients by the scale, for what is to see them before `step`.

        Of an optimizer of halfbyte, float16 gradients are replaced by float32 ones. Another one
        needs `grads` (a list, tuple or dict) or ``param_groups`` as torch has them, with float32
        gradients.

        Raises
        ------
        TypeError
            No optimizer, or gradients of another kind or dtype.
        RuntimeError
            The gradients were unscaled, or the optimizer stepped, since the last `update`.
        """
        if not self._enabled:
            return
        name = "GradScaler.unscale_"
        stage = self._stages.get(id(optimizer))
        if stage is not None:
            done = "was stepped" if stage.stepped else "has been unscaled"
            msg = f"{name}: the optimizer {done} since the last update; call update() first"
            raise RuntimeError(msg)
        finite = self._unscaled(name, optimizer)
        self._stages[id(optimizer)] = _Stage(optimizer, finite, stepped=False)

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Step an optimizer unless one of its gradients is infinite or NaN.

        Gradients are unscaled first unless `unscale_` has. An optimizer of halfbyte does that while
        it steps, and leaves its `grads` as they are.

        Parameters
        ----------
        optimizer : SGD, Adam, AdamW, or an object as `unscale_` takes it, with a method `step`
        *args, **kwargs
            For the `step` of an optimizer that is not halfbyte's.

        Returns
        -------
        bool
            Whether it stepped; a bool array of shape () on the GPU, and no waiting for it, where an
            optimizer of halfbyte has its parameters there.

        Raises
        ------
        TypeError
            No optimizer, or gradients of another kind or dtype.
        RuntimeError
            The optimizer was stepped since the last `update`.
        """
        name = "GradScaler.step"
        ours = isinstance(optimizer, Optimizer)
        if ours and (args or kwargs):
            msg = f"{name}: got arguments for a step of {kind_of(optimizer)}, which takes none"
            raise TypeError(msg)
        if not ours:
            foreign.check_step(name, optimizer)
        if not self._enabled:
            optimizer.step(*args, **kwargs)
            return True
        stage = self._stages.get(id(optimizer))
        if stage is not None and stage.stepped:
            msg = f"{name}: the optimizer was stepped since the last update; call update() first"
            raise RuntimeError(msg)
        fused = isinstance(optimizer, Optimizer) and optimizer._steps_by_itself
        if stage is None and fused:
            finite = optimizer._scaled_step(name, self._scale)
        else:
            finite = self._unscaled(name, optimizer) if stage is None else stage.finite
            # If it raises, the gradients are unscaled.
            self._stages[id(optimizer)] = _Stage(optimizer, finite, stepped=False)
            if fused and on_device(finite):
                optimizer._step_if(name, finite)
            else:
                finite = bool(on_host(finite))
                if finite:
                    optimizer.step(*args, **kwargs)
        self._stages[id(optimizer)] = _Stage(optimizer, finite, stepped=True)
        return library.of(optimizer._library, finite) if on_device(finite) else finite

    def update(self, new_scale: Any = None) -> None:
        """Adapt the scale to what was found since the last update, or set it.

        Parameters
        ----------
        new_scale : float, optional
            From `min_scale` to `max_scale`. The count of good steps stays.

        Raises
        ------
        RuntimeError
            Without `new_scale`: no optimizer's gradients were checked since the last update.
        TypeError, ValueError
            `new_scale` is of another kind or out of range.
        """
        if not self._enabled:
            return
        name = "GradScaler.update"
        if new_scale is not None:
            self._scale.set(name, self._within(name, "new_scale", new_scale))
        elif not self._stages:
            msg = f"{name}: no gradients were checked since the last update; call step() first"
            raise RuntimeError(msg)
        else:
            # What was found on a GPU is with the scale there.
            bad = not all(on_device(x.finite) or x.finite for x in self._stages.values())
            factors = self._growth_factor, self._backoff_factor, self._growth_interval
            rule = Rule(*factors, self._min_scale, self._max_scale)
            self._scale.update(name, rule, bad=bad)
        self._stages.clear()

    # ---- Settings ------------------------------------------------------------------------------
    def get_scale(self) -> float:
        """Return the scale; 1 if the scaler is not enabled."""
        return self._scale.value if self._enabled else 1.0

    @property
    def at_min_scale(self) -> bool:
        """Whether the scale cannot go down any more: training may have diverged."""
        return self._enabled and self._scale.value == self._min_scale

    def get_growth_factor(self) -> float:
        """Return what the scale is multiplied by to raise it."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by to raise it: a number above 1."""
        self._growth_factor = _checked_growth(
            "GradScaler.set_growth_factor", "new_factor", new_factor
        )

    def get_backoff_factor(self) -> float:
        """Return what the scale is multiplied by to lower it."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by to lower it: a number between 0 and 1."""
        self._backoff_factor = _checked_backoff(
            "GradScaler.set_backoff_factor", "new_factor", new_factor
        )

    def get_growth_interval(self) -> int:
        """Return how many good steps in a row raise the scale."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set how many good steps in a row raise the scale: an integer from 1 on."""
        name = "GradScaler.set_growth_interval"
        self._growth_interval = checked_integer(name, "new_interval", new_interval, 1)

    def is_enabled(self) -> bool:
        """Return whether the scaler does anything."""
        return self._enabled

    # ---- States --------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes, and torch's does; {} if the scaler is not enabled.

        Scale, factors, interval and the count of good steps, by torch's names.
        """
        if not self._enabled:
            return {}
        scale, tracker = self._scale.read()
        values = (scale, self._growth_factor, self._backoff_factor, self._growth_interval, tracker)
        return dict(zip(_KEYS, values, strict=True))

    def load_state_dict(self, state_dict: Any) -> None:
        """Go on from a state of this class or of torch's GradScaler.

        The scale is clamped to `min_scale` and `max_scale`. A scaler that is not enabled stays.

        Raises
        ------
        TypeError
            Another kind of object or value.
        ValueError
            Missing or unknown keys, or a value out of range. Nothing is changed.
        """
        if not self._enabled:
            return
        name = "GradScaler.load_state_dict"
        label = "state_dict"
        if isinstance(state_dict, dict) and not state_dict:
            label += " (of a scaler that is not enabled?)"
        check_keys(name, label, state_dict, set(_KEYS))
        scale = checked_number(name, "scale", state_dict["scale"])
        if not scale > 0:
            msg = f"{name}: scale is {scale}; need a positive number"
            raise ValueError(msg)
        growth = _checked_growth(name, "growth_factor", state_dict["growth_factor"])
        backoff = _checked_backoff(name, "backoff_factor", state_dict["backoff_factor"])
        interval = checked_integer(name, "growth_interval", state_dict["growth_interval"], 1)
        tracker = checked_integer(name, "_growth_tracker", state_dict["_growth_tracker"], 0)
        clamped = min(max(rounded(scale), self._min_scale), self._max_scale)
        self._scale.load(name, clamped, tracker)
        self._growth_factor, self._backoff_factor = growth, backoff
        self._growth_interval = interval

    def __getstate__(self) -> dict[str, Any]:
        if self._stages:
            msg = "GradScaler: it cannot be pickled or copied between unscale_ or step and update; "
            raise RuntimeError(msg + "call update() first")
        return {**vars(self), "_stages": {}, "_scale": Scale(*self._scale.read())}

    def __repr__(self) -> str:
        return f"GradScaler(scale={self.get_scale()!r}, enabled={self._enabled})"

    def _unscaled(self, function: str, optimizer: Any) -> Any:
        """Unscale an optimizer's gradients. Returns whether all are finite."""
        if isinstance(optimizer, Optimizer):
            return optimizer._unscale(function, self._scale)
        return foreign.unscale(function, optimizer, self._scale)

    def _within(self, function: str, name: str, scale: Any) -> float:
        """Return a scale from min_scale to max_scale, rounded to float32."""
        single = checked_scale(function, name, scale)
        if not self._min_scale <= single <= self._max_scale:
            msg = f"{function}: {name} is {scale}; need min_scale = {self._min_scale} to "
            raise ValueError(msg + f"max_scale = {self._max_scale}")
        return single


def _checked_growth(function: str, name: str, x: Any) -> float:
    factor = checked_number(function, name, x)
    if not 1 < factor < math.inf:
        msg = f"{function}: {name} is {x}; need a finite number > 1"
        raise ValueError(msg)
    return factor


def _checked_backoff(function: str, name: str, x: Any) -> float:
    factor = checked_number(function, name, x)
    if not 0 < factor < 1:
        msg = f"{function}: {name} is {x}; need a number between 0 and 1"
        raise ValueError(msg)
    return factor
