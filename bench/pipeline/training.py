# SPDX-License-Identifier: Apache-2.0
"""The training loop: cross-entropy, AdamW on FP32 masters, a scaled loss; and its trace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import halfbyte
from bench.pipeline.data import CLASSES, Part
from bench.pipeline.devices import Array, on_host
from bench.pipeline.layers import number, softmax

BATCH = 64
RATE = np.float32(2e-3)
GROWTH = 20  # good steps until the scale is doubled: trainings here have a few hundred


@dataclass
class Trace:
    scales: list[float] = field(default_factory=list)  # the loss scale of each step
    skipped: int = 0  # steps
    flushed: float = 0.0  # share of the gradients' elements that are not 0, and are in FP16


def train(
    network: Any,
    how: Any,
    part: Part,
    *,
    seed: int,
    epochs: int,
    scaler: halfbyte.GradScaler | None = None,
    weight: float = 1.0,
    rate: float = float(RATE),
    eps: float = 1e-8,
) -> Trace:
    """Train a network in place. weight: what the loss is multiplied by before it is scaled.

    On a GPU no step waits for it: what a trace tells is asked for at the end.
    """
    how.prepare(network.layers)
    params = [array for layer in network.layers for array in (layer.w, layer.b)]
    optimizer = halfbyte.AdamW(params, lr=rate, eps=eps, weight_decay=0.01)
    scaler = scaler or halfbyte.GradScaler(enabled=False)
    generator = np.random.default_rng(seed)
    wanted = np.asarray(np.eye(CLASSES, dtype=np.float32), like=part.x)
    one = np.asarray(np.ones(1, np.float32), like=part.x)
    scales, steps = [], []
    for epoch in range(epochs):
        optimizer.lr = rate * (1 - epoch / epochs)
        order = np.asarray(generator.permutation(len(part)), like=part.x)
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            p = softmax(number(network.forward(part.x[chosen], how)))
            dy = (p - wanted[part.y[chosen]]) * np.float32(weight / BATCH)
            scales.append(scaler.scale(one))  # which is the scale
            network.backward(scaler.scale(dy), how)
            optimizer.grads = [grad for layer in network.layers for grad in layer.grads]
            steps.append(scaler.step(optimizer))
            scaler.update()
            how.stepped()
    skipped = int(np.count_nonzero(~on_host(np.stack(steps))))
    return Trace(on_host(np.concatenate(scales)).tolist(), skipped, how.flushed_share)


def accuracy(network: Any, how: Any, part: Part) -> float:
    """Per cent of the images that are recognized."""
    return score(network.forward(part.x, how), part)


def score(logits: Array, part: Part) -> float:
    right = number(logits).argmax(axis=-1) == part.y  # NaN: class 0
    return 100 * float(right.mean())
