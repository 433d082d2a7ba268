# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's digits: 1,797 images of 8 x 8 pixels, divided anew for each seed."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from bench.pipeline.devices import CPU, Array, Device

CLASSES = 10
SIDE = 8
TRAINED, CALIBRATED = 897, 200  # the other 700 are tested
INK = np.float32(16)  # the darkest pixel


@dataclass(frozen=True)
class Part:
    x: Array  # float32, (number, 64), in 0 .. 1
    y: Array  # int, (number,)

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Split:
    """Three parts that share no image."""

    train: Part
    calibration: Part
    test: Part


@functools.cache
def digits() -> Part:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return Part(x.astype(np.float32) / INK, y)


def split(seed: int, device: Device = CPU) -> Split:
    whole = digits()
    order = np.random.default_rng(seed).permutation(len(whole))
    parts = np.split(order, [TRAINED, TRAINED + CALIBRATED])
    move = device.asarray
    return Split(*(Part(move(whole.x[part]), move(whole.y[part])) for part in parts))
