# SPDX-License-Identifier: Apache-2.0
"""The loss scale and the count of good iterations: numbers, or on a GPU where updates change them.

They move to the GPU when gradients are there. From then on nothing but asking for them waits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from halfbyte.amp.numbers import rounded
from halfbyte.devices import check_current


class Rule(NamedTuple):
    """How a scale is adapted."""

    growth: float
    backoff: float
    interval: int
    least: float
    largest: float


class Scale:
    """A scale in float32, and how many good iterations there were since it changed."""

    def __init__(self, value: float, tracker: int = 0) -> None:
        self._value, self._tracker = value, tracker
        self._state: Any = None  # of a GPU; what the numbers are then

    def read(self) -> tuple[float, int]:
        """Return both; waits for a GPU."""
        if self._state is None:
            return self._value, self._tracker
        from halfbyte.cuda import amp_scale

        return amp_scale.read(self._state)

    @property
    def value(self) -> float:
        """The scale; waits for a GPU."""
        return self.read()[0]

    def on_device(self, function: str) -> Any:
        """Move to the current GPU, and return what `cuda.amp_scale` takes.

        ValueError: it has moved to another one.
        """
        if self._state is None:
            from halfbyte.cuda import amp_scale

            self._state = amp_scale.upload(self._value, self._tracker)
        check_current(function, "the scale", self._state)
        return self._state

    def update(self, function: str, rule: Rule, *, bad: bool) -> None:
        """Adapt the scale to gradients. bad: whether one in the CPU's memory was not finite."""
        if self._state is not None:
            from halfbyte.cuda import amp_scale

            amp_scale.update(self.on_device(function), rule, bad=bad)
        elif bad:
            self._tracker = 0
            self._value = max(rounded(self._value * rule.backoff), rule.least)
        else:
            self._tracker += 1
            if self._tracker >= rule.interval:
                self._tracker = 0
                grown = rounded(self._value * rule.growth)
                if grown <= rule.largest:
                    self._value = grown

    def set(self, function: str, value: float) -> None:
        """Set the scale, and forget what was found in gradients on a GPU."""
        if self._state is None:
            self._value = value
        else:
            from halfbyte.cuda import amp_scale

            amp_scale.set_scale(self.on_device(function), value)

    def load(self, function: str, value: float, tracker: int) -> None:
        """Set both."""
        if self._state is None:
            self._value, self._tracker = value, tracker
        else:
            from halfbyte.cuda import amp_scale

            amp_scale.load(self.on_device(function), value, tracker)
