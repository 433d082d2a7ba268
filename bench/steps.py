# SPDX-License-Identifier: Apache-2.0
"""What `amp` measures: cases, their numbers from a seed, and the check of their results.

Every element is updated on its own, so of a large array some elements are checked: what is compared
is compared exactly. Peers round coefficients and moments in their own ways; their results must be
close, in units of what a step changes, so that nobody is timed who computes something else.

Calls are repeated. Unscaling in place alternates between 2 and 1/2, so that values stay where they
are; the gradients of a step stay the same, and its parameters move by about lr.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bench.rows import Job, Verdict
from halfbyte_reference import amp as reference

SEED = 20240302
SAMPLED = 2**16  # elements of an array that are checked
STEPS = 3  # that are checked together
CHANGE = -2  # of gradients between them; of steps with the same ones, hardly any beta would count
FACTORS = (2.0, 0.5)  # scales to divide by, in turn
SCALE = 1024.0  # of a loss; the gradients of a scaled step contain it
NEAR = 1e-3  # of what the steps change

OPTIONS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 1e-3, "momentum": 0.9},
    "AdamW": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2},
}
MOMENTS = {"SGD": 1, "AdamW": 2}  # arrays of the state

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Case:
    """One call of `unscale`, or one step of an optimizer with float16 parameters."""

    function: str  # "unscale", or an optimizer
    nbytes: int  # of the float32 results, or masters, all arrays together
    tensors: int = 1
    halves: bool = True  # gradients in float16, else in float32
    scaled: bool = False  # a step through GradScaler: gradients are read to check them first

    @property
    def size(self) -> int:
        """Elements of one array."""
        return self.nbytes // 4 // self.tensors

    @property
    def read(self) -> int:
        """Bytes."""
        gradients = self._elements * (2 if self.halves else 4) * (2 if self.scaled else 1)
        return gradients + self._state

    @property
    def written(self) -> int:
        """Bytes."""
        if self.function == "unscale":
            return 4 * self._elements
        return self._state + 2 * self._elements

    @property
    def _state(self) -> int:
        """Bytes of masters and moments."""
        if self.function == "unscale":
            return 0
        return 4 * self._elements * (1 + MOMENTS[self.function])

    @property
    def _elements(self) -> int:
        return self.size * self.tensors

    @property
    def what(self) -> str:
        """A title without the size."""
        if self.function == "unscale":
            return "unscale " + ("float16 to float32" if self.halves else "float32 in place")
        return f"{self.function} step" + (", GradScaler" if self.scaled else "")

    @property
    def title(self) -> str:
        if self.tensors > 1:
            return f"{self.what}, {self.tensors} x {self.size}"
        return f"{self.what}, {self.nbytes / 2**20:g} MiB"


class Given(NamedTuple):
    """What a contender starts from."""

    gradients: Arrays
    parameters: Arrays  # float16; of an optimizer


class Trial(NamedTuple):
    """What a contender does with it."""

    calls: list[Callable[[], Any]]  # `unscale` returns whether something was not finite
    gradients: Arrays  # as it reads them
    results: Arrays  # as it writes them: float32 gradients; or float32 masters, then halves
    reset: Callable[[], Any] = lambda: None  # the loss scale, after a step that was skipped


def inputs(case: Case) -> Given:
    rng = np.random.default_rng(SEED)
    dtype = np.float16 if case.halves else np.float32

    def draw(dtype: type) -> Arrays:
        return [
            rng.standard_normal(case.size, dtype=np.float32).astype(dtype, copy=False)
            for _ in range(case.tensors)
        ]

    return Given(draw(dtype), [] if case.function == "unscale" else draw(np.float16))


def job(case: Case, given: Given, trial: Trial, *, exact: bool) -> Job:
    """`exact`: anything but the reference's bits is wrong."""
    index = sample(case.size)
    start = Given(*([x[index] for x in arrays] for arrays in given))
    return Job(trial.calls, lambda: check(case, start, trial, index, exact=exact))


def check(case: Case, start: Given, trial: Trial, index: np.ndarray, *, exact: bool) -> Verdict:
    """Compare some elements with the reference's; and see that an infinity is noticed."""
    found = trial.calls[0]()
    if case.function != "unscale":
        for _ in range(STEPS - 1):
            for g in trial.gradients:
                g *= CHANGE
            trial.calls[0]()
    got = _chosen(trial.results, index)
    want = expected(case, start)
    same = all(map(_same_bits, got, want))
    close = same or (not exact and all(map(_within, got, want, slack(case, start, want))))
    noticed = True
    if case.function == "unscale":
        noticed = not found and bool(_poisoned(trial, trial.calls[-1]))
    elif case.scaled:
        _poisoned(trial, trial.calls[0])
        trial.reset()
        noticed = all(map(_same_bits, _chosen(trial.results, index), got))
    return Verdict(same_bits=same, acceptable=close and noticed)


def expected(case: Case, start: Given) -> Arrays:
    """The reference's results."""
    if case.function == "unscale":
        return [reference.unscale(g, FACTORS[0]) for g in start.gradients]
    optimizer = getattr(reference, case.function)(start.parameters, **OPTIONS[case.function])
    for taken in range(STEPS):
        gradients = [g * g.dtype.type(CHANGE**taken) for g in start.gradients]
        if case.scaled:
            gradients = [reference.unscale(g, SCALE) for g in gradients]
        optimizer.step(gradients)
    return [*optimizer.master, *optimizer.params]


def slack(case: Case, start: Given, want: Arrays) -> Arrays:
    """How far a peer may be off: some of what a step changes, and its rounding; halves, a step."""
    if case.function == "unscale":
        return [np.spacing(np.abs(x)) for x in want]
    masters, halves = want[: case.tensors], want[case.tensors :]
    allowed = []
    for x, p in zip(masters, start.parameters, strict=True):
        allowed.append(NEAR * np.abs(x - p) + STEPS * np.spacing(np.abs(x)))
    return allowed + [np.spacing(np.abs(x)) for x in halves]


def sample(size: int) -> np.ndarray:
    """Some of so many indices, the first and last among them; all of a few."""
    if size <= SAMPLED:
        return np.arange(size)
    middle = np.random.default_rng(SEED).integers(0, size, SAMPLED - 2)
    return np.unique(np.concatenate([[0, size - 1], middle]))


def _poisoned(trial: Trial, call: Callable[[], Any]) -> Any:
    """What a call returns if the last gradient of all is infinite."""
    last = trial.gradients[-1][-1:]
    value = last.copy()
    last[...] = np.inf
    answer = call()
    last[...] = value
    return answer


def _chosen(arrays: Arrays, index: np.ndarray) -> Arrays:
    return [x[index] for x in arrays]


def _within(got: np.ndarray, want: np.ndarray, slack: np.ndarray) -> bool:
    if got.dtype != want.dtype or got.shape != want.shape:
        return False
    return bool(np.all(np.abs(got.astype(np.float64) - want) <= slack))


def _same_bits(got: np.ndarray, want: np.ndarray) -> bool:
    word = f"u{want.itemsize}"
    return got.dtype == want.dtype and np.array_equal(got.view(word), want.view(word))
