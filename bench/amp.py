# SPDX-License-Identifier: Apache-2.0
"""Unscaling gradients, and steps of optimizers on FP32 masters, against what memory allows."""

from __future__ import annotations

import functools
import importlib
from dataclasses import asdict, replace
from statistics import median
from typing import Any

import numpy as np

from bench import amp_peers, pairs, steps
from bench.rows import Contender, Headline, Job, Result, Row
from bench.steps import Case, Given, Trial

MIB = 2**20
BIG = 64 * MIB  # beyond the caches
SMALL = 200  # arrays: what a call costs
SMALL_BYTES = 4000  # of each: 1,000 elements

# With what part of the memory roof's rate is wanted, (must, dream).
CASES: tuple[tuple[Case, tuple[float, float] | None], ...] = (
    (Case("unscale", BIG, halves=False), (0.85, 0.95)),
    (Case("unscale", BIG), (0.85, 0.95)),
    (Case("SGD", BIG), None),
    (Case("SGD", BIG, scaled=True), None),
    (Case("AdamW", BIG), (0.8, 0.95)),
    (Case("AdamW", BIG, scaled=True), None),
)
OVER_TORCH = (1.2, 1.6)  # of what has a goal, and a float16 copy
# With the microseconds that a call may take, (must, dream).
CALLS: tuple[tuple[Case, tuple[float, float] | None], ...] = (
    (Case("unscale", SMALL * SMALL_BYTES, SMALL, halves=False), (300.0, 100.0)),
    (Case("SGD", SMALL * SMALL_BYTES, SMALL), None),
    (Case("AdamW", SMALL * SMALL_BYTES, SMALL), None),
)


def rows(scale: str, threads: tuple[int, ...]) -> list[Row]:
    chosen, counts = (*CASES, *CALLS), threads
    if scale == "tour":
        chosen, counts = tuple(x for x in chosen if x[1] is not None), threads[:1]
    cases = [case for case, _ in chosen]
    if scale == "quick":
        cases = [_tiny(case) for case in cases]
    return [_row(case, count) for count in counts for case in cases]


def _tiny(case: Case) -> Case:
    if case.tensors == 1:
        return replace(case, nbytes=MIB // 16)
    return replace(case, nbytes=5 * SMALL_BYTES, tensors=5)


def _row(case: Case, threads: int) -> Row:
    streams = case.tensors == 1
    memory = "read+stream" if case.nbytes >= BIG else "copy"
    return Row(
        operation="amp",
        title=case.title,
        params=asdict(case),
        contenders=("halfbyte", "numpy", "torch"),
        baseline="numpy",
        threads=threads,
        unit="GB/s" if streams else "",
        bytes=case.read + case.written,
        written=case.written,
        memory=memory if streams else "",
    )


def _halfbyte(params: dict[str, Any]) -> Job:
    case = Case(**params)
    given = steps.inputs(case)
    trial = (_unscale if case.function == "unscale" else _step)(case, given)
    return steps.job(case, given, trial, exact=True)


def _unscale(case: Case, given: Given) -> Trial:
    halfbyte = importlib.import_module("halfbyte")
    grads = given.gradients
    out = [np.zeros(g.shape, np.float32) for g in grads] if case.halves else None
    unscale = functools.partial(halfbyte.unscale, grads, out=out)
    return Trial([functools.partial(unscale, f) for f in steps.FACTORS], grads, out or grads)


def _step(case: Case, given: Given) -> Trial:
    halfbyte = importlib.import_module("halfbyte")
    optimizer = getattr(halfbyte, case.function)(given.parameters, **steps.OPTIONS[case.function])
    optimizer.grads = given.gradients
    results = [*optimizer.master, *given.parameters]
    if not case.scaled:
        return Trial([optimizer.step], given.gradients, results)
    # The gradients stay scaled, so the scale must not grow.
    scaler = halfbyte.GradScaler(steps.SCALE, growth_interval=2**62)

    def call() -> None:
        scaler.step(optimizer)
        scaler.update()

    reset = functools.partial(scaler.update, steps.SCALE)
    return Trial([call], given.gradients, results, reset)


CONTENDERS = {
    "halfbyte": Contender("halfbyte", _halfbyte),
    "numpy": Contender("numpy", amp_peers.prepare_numpy),
    "torch": Contender("torch", amp_peers.prepare_torch),
}


def headlines(results: list[Result], isa: str) -> list[Headline]:
    found = {
        result.row.title: result
        for result in results
        if result.row.operation == "amp" and result.row.threads == 1
    }
    lines = []
    for case, goals in CASES:
        result = found.get(case.title)
        entry = result.entry("halfbyte") if result else None
        if goals is None and not (entry and entry.seconds):
            continue
        what = f"{case.what}, 64 MiB, one thread"
        fraction = pairs.of_roof(result, entry) if result else None
        lines.append(Headline(f"{what}, of the memory roof", fraction, *(goals or (None, None))))
        if case.function != "unscale":
            speedup = pairs.speedup(result.entry("torch"), entry) if result else None
            wanted = OVER_TORCH if goals else (None, None)
            against = f"{what}, against torch's fused step and a cast"
            lines.append(Headline(against, speedup, *wanted, unit="x"))
    for case, goals in CALLS:
        result = found.get(case.title)
        entry = result.entry("halfbyte") if result else None
        taken = 1e6 * median(entry.seconds.values()) if entry and entry.seconds else None
        if goals is not None or taken is not None:
            what = f"{case.title} elements, one thread, whole call"
            lines.append(Headline(what, taken, *(goals or (None, None)), "us", low_is_good=True))
    return lines
