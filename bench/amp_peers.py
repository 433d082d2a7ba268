# SPDX-License-Identifier: Apache-2.0
"""Loss scaling and optimizers elsewhere: in plain NumPy, and what torch has fused.

NumPy has the same arrays as halfbyte: float16 parameters and gradients, float32 masters. torch has
float32 parameters with float32 gradients, and casts the parameters to float16 afterwards; that its
gradients would have to be widened first is not counted. Its GradScaler looks at the gradients in
place, and lets the fused optimizer unscale them, in place too; so its scale is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench import steps
from bench.rows import Job
from bench.steps import OPTIONS, SCALE, Arrays, Case, Given, Trial


def prepare_numpy(params: dict[str, Any]) -> Job:
    return _job(_numpy_unscale, _numpy_step, params)


def prepare_torch(params: dict[str, Any]) -> Job:
    return _job(_torch_unscale, _torch_step, params)


def _job(
    unscale: Callable[[Case, Given], Trial],
    step: Callable[[Case, Given], Trial],
    params: dict[str, Any],
) -> Job:
    case = Case(**params)
    given = steps.inputs(case)
    trial = (unscale if case.function == "unscale" else step)(case, given)
    return steps.job(case, given, trial, exact=False)


# ---- NumPy -------------------------------------------------------------------------------------
def _numpy_unscale(case: Case, given: Given) -> Trial:
    grads = given.gradients
    out = [np.zeros(g.shape, np.float32) for g in grads] if case.halves else grads
    finite = np.zeros(case.size, np.bool_)
    calls = [partial(_multiplied, grads, out, 1 / f, finite) for f in steps.FACTORS]
    return Trial(calls, grads, out)


def _multiplied(grads: Arrays, out: Arrays, inverse: float, finite: np.ndarray) -> bool:
    """Whether any result is infinite or NaN."""
    found = False
    for g, result in zip(grads, out, strict=True):
        np.multiply(g, inverse, out=result, dtype=np.float32)
        found |= not np.isfinite(result, out=finite).all()
    return found


def _numpy_step(case: Case, given: Given) -> Trial:
    gradients, halves = given
    masters = [p.astype(np.float32) for p in halves]
    moments = [[np.zeros_like(p) for p in masters] for _ in range(steps.MOMENTS[case.function])]
    singles = [np.zeros_like(p) for p in masters]
    finite, work = np.zeros(case.size, np.bool_), np.zeros(case.size, np.float32)
    update = {"SGD": _numpy_sgd, "AdamW": _numpy_adamw}[case.function]
    taken = 0

    def call() -> None:
        nonlocal taken
        if not case.scaled:
            for g, single in zip(gradients, singles, strict=True):
                np.copyto(single, g)
        elif _multiplied(gradients, singles, 1 / SCALE, finite):
            return
        taken += 1
        for p, g, half, *state in zip(masters, singles, halves, *moments, strict=True):
            update(taken, p, g, work, *state)
            np.copyto(half, p, casting="same_kind")

    return Trial([call], gradients, masters + halves)


def _numpy_sgd(taken: int, p: np.ndarray, g: np.ndarray, work: np.ndarray, buf: np.ndarray) -> None:
    options = OPTIONS["SGD"]
    buf *= options["momentum"]
    buf += g
    p -= np.multiply(buf, options["lr"], out=work)


def _numpy_adamw(
    taken: int, p: np.ndarray, g: np.ndarray, work: np.ndarray, m: np.ndarray, v: np.ndarray
) -> None:
    options = OPTIONS["AdamW"]
    lr, (b1, b2) = options["lr"], options["betas"]
    p *= 1 - lr * options["weight_decay"]
    m *= b1
    m += np.multiply(g, 1 - b1, out=work)
    v *= b2
    np.square(g, out=work)
    work *= 1 - b2
    v += work
    np.sqrt(v, out=work)
    work /= math.sqrt(1 - b2**taken)
    work += options["eps"]
    np.divide(m, work, out=work)
    work *= lr / (1 - b1**taken)
    p -= work


# ---- torch -------------------------------------------------------------------------------------
def _torch_unscale(case: Case, given: Given) -> Trial:
    import torch

    grads = given.gradients
    out = [np.zeros(g.shape, np.float32) for g in grads] if case.halves else grads
    sources, targets = ([torch.from_numpy(x) for x in arrays] for arrays in (grads, out))

    def call(inverse: Any) -> Any:
        if case.halves:
            torch._foreach_copy_(targets, sources)
        found = torch.zeros(())
        torch._amp_foreach_non_finite_check_and_unscale_(targets, found, inverse)
        return found

    return Trial([partial(call, torch.tensor(1 / f)) for f in steps.FACTORS], grads, out)


def _torch_step(case: Case, given: Given) -> Trial:
    import torch

    masters = [p.astype(np.float32) for p in given.parameters]
    inverse = np.float32(1 / SCALE if case.scaled else 1)
    gradients = [g * inverse for g in given.gradients]
    singles = [torch.from_numpy(p) for p in masters]
    halves = [torch.from_numpy(p) for p in given.parameters]
    for p, g in zip(singles, gradients, strict=True):
        p.grad = torch.from_numpy(g)
    kind = getattr(torch.optim, case.function)
    optimizer = kind(singles, **OPTIONS[case.function], fused=True)
    results = masters + given.parameters

    def step() -> None:
        optimizer.step()
        torch._foreach_copy_(halves, singles)

    if not case.scaled:
        return Trial([step], gradients, results)
    scaler = torch.amp.GradScaler("cpu", 1.0, growth_interval=2**31 - 1)
    scaler.scale(torch.ones(()))  # makes its scale

    def scaled_step() -> None:
        scaler.step(optimizer)
        scaler.update()
        torch._foreach_copy_(halves, singles)

    return Trial([scaled_step], gradients, results, partial(scaler.update, 1.0))
