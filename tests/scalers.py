# SPDX-License-Identifier: Apache-2.0
"""Optimizers of ours and of others, and iterations whose gradients are fine or are not."""

from dataclasses import dataclass, field

import numpy as np
import pytest

import halfbyte

FLT_MAX = float(np.finfo(np.float32).max)
TINY = 2.0**-126

OURS = {
    "SGD": lambda params, library=halfbyte: library.SGD(params, 0.1, momentum=0.9),
    "AdamW": lambda params, library=halfbyte: library.AdamW(params, 0.1),
    "Adam": lambda params, library=halfbyte: library.Adam(params, 0.1, weight_decay=0.1),
}
ours = pytest.mark.parametrize("make", OURS.values(), ids=OURS)


@dataclass(slots=True)
class Foreign:
    """Somebody's optimizer: no hash, no weak references, and `==` on arrays fails.

    `steps` holds, for each step, its arguments.
    """

    grads: object
    steps: list = field(default_factory=list)

    def step(self, *args, **kwargs):
        self.steps.append((args, kwargs))
        return "not whether it stepped"


def foreign(*values):
    """Return an optimizer with a float32 gradient of one element for each value."""
    return Foreign([np.float32([value]) for value in values])


def iterate(scaler, *values):
    """Run an iteration with one optimizer for each value, its gradient; return what stepped."""
    stepped = [scaler.step(foreign(value)) for value in values]
    scaler.update()
    return stepped


def tracker(scaler):
    """Return how many good iterations there were since the scale last changed."""
    return scaler.state_dict()["_growth_tracker"]
