# SPDX-License-Identifier: Apache-2.0
"""The story: train, quantize, train again, seed by seed; then how fast, and where FP16 fails."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import halfbyte
from bench.pipeline import checks, embeddings, peers, qat, schemes, timing, workers
from bench.pipeline.arithmetic import Half, Single
from bench.pipeline.data import Split, split
from bench.pipeline.layers import moved
from bench.pipeline.networks import MLP
from bench.pipeline.progress import Progress
from bench.pipeline.quantized import Halves, Quantized, quantized
from bench.pipeline.recipes import FULL, RECIPES, Effort
from bench.pipeline.schemes import Scheme
from bench.pipeline.table import Embedded, Row
from bench.pipeline.training import GROWTH, Trace, accuracy, score, train

FP32, SCALED, UNSCALED = "FP32", "trained in FP16, loss scaled", "trained in FP16, loss not scaled"
LONGER = "FP32, trained as much longer"
CHECKED = 100  # test images whose logits are compared with the reference's, bit by bit
WEIGHTS = tuple(2.0**-power for power in (0, 8, 12, 16, 20))  # of the loss
LEAST_EPS = 1e-15
LATER = 1000  # seed of the second training's batches, beyond those of the first


@dataclass
class Regime:
    """What becomes of the MLP where its loss is multiplied by a small number."""

    rows: dict[str, Row] = field(default_factory=dict)  # FP32, SCALED, UNSCALED
    flushed: dict[str, list[float]] = field(default_factory=dict)

    def add(self, other: Regime) -> None:
        for name, row in other.rows.items():
            self.rows.setdefault(name, Row(row.network, name)).add(row)
            self.flushed.setdefault(name, []).extend(other.flushed[name])


@dataclass
class Found:
    """All that was found so far."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    traces: dict[tuple[str, str], list[Trace]] = field(default_factory=dict)
    regimes: dict[float, Regime] = field(default_factory=dict)  # by what the loss is multiplied by
    embedded: list[Embedded] = field(default_factory=list)
    library: str = "numpy"  # what computes in FP32
    complete: bool = False

    def row(self, network: str, scheme: str) -> Row:
        return self.rows.setdefault((network, scheme), Row(network, scheme))

    def add(self, other: Found) -> None:
        """Another seed's."""
        for key, row in other.rows.items():
            self.row(*key).add(row)
        for key, traces in other.traces.items():
            self.traces.setdefault(key, []).extend(traces)


def tell(effort: Effort, progress: Progress, found: Found) -> None:
    """Fill `found`; what is there when this is interrupted is worth printing."""
    found.library = effort.device.library
    seeds = [(kind, effort, seed) for seed in range(effort.seeds) for kind in RECIPES]
    progress.phase("train, quantize, train again", len(seeds))
    for (kind, _, seed), one in zip(seeds, workers.each(_seed, seeds, effort), strict=True):
        found.add(one)
        progress.step(f"seed {seed + 1} of {effort.seeds}: {kind.name}")

    losses = [(weight, effort, seed) for weight in WEIGHTS for seed in range(effort.regimes)]
    progress.phase("small losses", len(losses))
    for (weight, *_), regime in zip(losses, workers.each(_regime, losses, effort), strict=True):
        found.regimes.setdefault(weight, Regime()).add(regime)
        progress.step(f"loss times {weight:.2g}")

    progress.phase("measure speed", len(RECIPES))
    for kind in RECIPES:
        progress.step(f"speed: {kind.name}")
        _speed(kind, effort, found)

    progress.phase("real weights", embeddings.steps(quick=effort.quick, device=effort.device))
    embeddings.run(effort.quick, progress, found.embedded, effort.device)
    found.complete = True


def _seed(kind: Any, effort: Effort, seed: int) -> Found:
    """One network with one seed's data and first weights: trained, quantized, trained again."""
    found, parts, recipe = Found(), split(seed, effort.device), RECIPES[kind]
    network = _trained(kind, effort, seed, FP32, found)
    for name in (SCALED, *([UNSCALED] if recipe.unscaled else [])):
        _trained(kind, effort, seed, name, found)
    if recipe.again:
        settings = {"seed": LATER + seed, "epochs": max(1, round(recipe.again * effort.epochs))}
        more = qat.longer(network, parts.train, **settings)
        found.row(kind.name, LONGER).accuracy.append(accuracy(more, Single(), parts.test))
    for scheme in recipe.schemes:
        made = quantized(network, scheme, parts.calibration.x)
        _scored(made, scheme.name, parts, found)
        if recipe.again and scheme in schemes.FEW_BITS:
            for method in qat.METHODS:
                again = qat.trained_again(made, parts.train, method=method, **settings)
                _scored(again, again_name(scheme, method), parts, found)
    theirs = peers.torch_of(network, int8=True)
    if theirs:
        row = found.row(kind.name, peers.INT8[kind])
        row.accuracy.append(score(theirs(parts.test.x), parts.test))
    return found


def again_name(scheme: Scheme, method: str) -> str:
    return f"{scheme.name[:4]}, trained again, {method}"


def _trained(kind: Any, effort: Effort, seed: int, name: str, found: Found) -> Any:
    network, how, trace = _training(kind, effort, seed, name)
    row = found.row(kind.name, name)
    row.accuracy.append(accuracy(network, how, split(seed, effort.device).test))
    if name == FP32:
        row.nbytes = sum(layer.w.nbytes + layer.b.nbytes for layer in network.layers)
    found.traces[kind.name, name] = [trace]
    return network


def _training(
    kind: Any, effort: Effort, seed: int, name: str, **settings: Any
) -> tuple[Any, Single, Trace]:
    """A network, trained as its name says, the arithmetic of that, and its trace."""
    network, recipe = moved(kind(np.random.default_rng(seed)), effort.device), RECIPES[kind]
    how = Single() if name == FP32 else Half()
    settings |= {"epochs": max(1, round(recipe.epochs * effort.epochs)), "rate": recipe.rate}
    if name == SCALED:
        settings["scaler"] = halfbyte.GradScaler(growth_interval=GROWTH)
    part = split(seed, effort.device).train
    return network, how, train(network, how, part, seed=seed, **settings)


def _scored(made: Quantized | Halves, name: str, parts: Split, found: Found) -> None:
    row = found.row(made.network.name, name)
    row.accuracy.append(score(made(parts.test.x), parts.test))
    row.nbytes = made.nbytes
    row.same_bits, row.of_bound = checks.check(made, parts.test.x[:CHECKED])


def _regime(weight: float, effort: Effort, seed: int) -> Regime:
    """The MLP with a small loss: AdamW does not mind, given a small enough eps; FP16 does."""
    regime = Regime()
    for name in (FP32, SCALED, UNSCALED):
        network, how, trace = _training(MLP, effort, seed, name, weight=weight, eps=LEAST_EPS)
        regime.rows[name] = Row(
            MLP.name, name, [accuracy(network, how, split(seed, effort.device).test)]
        )
        regime.flushed[name] = [trace.flushed]
    return regime


def _speed(kind: Any, effort: Effort, found: Found) -> None:
    """Of networks of the first seed."""
    parts, how, recipe = split(0, effort.device), Single(), RECIPES[kind]
    network, *_ = _training(kind, replace(FULL, device=effort.device), 0, FP32)
    made: dict[str, Any] = {
        scheme.name: quantized(network, scheme, parts.calibration.x) for scheme in recipe.schemes
    }
    few = [scheme for scheme in recipe.schemes if recipe.again and scheme in schemes.FEW_BITS]
    for scheme in few:
        for method in qat.METHODS:  # for one epoch: more of them make no other program
            settings = {"method": method, "seed": LATER, "epochs": 1}
            again = qat.trained_again(made[scheme.name], parts.train, **settings)
            made[again_name(scheme, method)] = again
    torchs = {name: peers.torch_of(network, int8=name == "int8") for name in ("f32", "int8")}
    calls = {name: call for name, call in torchs.items() if call}
    of_torch = [*calls]
    calls |= made | {FP32: lambda x: network.forward(x, how)}
    rounds = timing.QUICK_ROUNDS if effort.quick else timing.ROUNDS
    times = timing.in_turn(calls, parts.test.x, rounds, effort.device)
    fastest = min(of_torch, key=lambda name: times[name][timing.BATCHES[-1]], default="")
    own = {FP32: {}} | {name: times[name] for name in made}
    if "int8" in of_torch:
        own[peers.INT8[kind]] = times["int8"]
    for name, milliseconds in own.items():
        row = found.row(kind.name, name)
        row.numpy, row.milliseconds = times[FP32], milliseconds
        row.torch_kind = fastest if name.startswith("W8A8") else "f32"
        row.torch = times.get(row.torch_kind, {})
