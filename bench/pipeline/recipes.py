# SPDX-License-Identifier: Apache-2.0
"""How each network is trained, and what is made of it; how much of all that a run does."""

from __future__ import annotations

from dataclasses import dataclass

from bench.pipeline import schemes
from bench.pipeline.devices import CPU, Device
from bench.pipeline.networks import MLP, Convolution, Transformer
from bench.pipeline.schemes import Scheme


@dataclass(frozen=True)
class Recipe:
    epochs: int
    rate: float
    schemes: tuple[Scheme, ...]
    again: int = 0  # epochs of quantization-aware training
    unscaled: bool = True  # also trained in FP16 without a loss scale


@dataclass(frozen=True)
class Effort:
    seeds: int
    epochs: float  # of a recipe's
    regimes: int  # seeds of the search for the loss at which unscaled FP16 fails
    quick: bool = False
    workers: int = 0  # processes, one seed's network each; 0: one a core
    device: Device = CPU


FULL, QUICK = Effort(10, 1.0, 4), Effort(2, 0.5, 2, quick=True)
RECIPES = {
    MLP: Recipe(25, 2e-3, schemes.MLP_SCHEMES, again=8),
    Convolution: Recipe(25, 2e-3, schemes.CONVOLUTION_SCHEMES, unscaled=False),
    Transformer: Recipe(16, 3e-3, schemes.TRANSFORMER_SCHEMES, again=6),
}
