# SPDX-License-Identifier: Apache-2.0
"""Optimizers of every kind, what Hypothesis draws for them, and what they are compared by."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import strategies as st

import halfbyte
import halfbyte_reference
from assertions import assert_same_bits
from gradients import lengths, small_shapes
from halfbyte_reference import to_f16
from halfbyte_reference.amp import times
from halfbyte_reference.inputs import floats, halves, strided
from strategies import finite_kinds, laid_out, layouts, out_layouts, seeds

NAMES = ("SGD", "Adam", "AdamW")

# One of each kind, with everything it can do.
FULL = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "Adam": {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.01},
    "AdamW": {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.01},
}

every_kind = pytest.mark.parametrize("name", NAMES)


def _mostly(ordinary, odd):
    """Draw what shows each operation, or now and then what is nothing or rounds to 0 or 1."""
    return st.one_of(*[st.sampled_from(ordinary)] * 4, st.sampled_from(odd))


_rates = _mostly((0.1, 1 / 3, 1e-3, 0.7), (0.0, 1e-60, 3.0))
_decays = _mostly((0.01, 1 / 3, 0.0, 0.9), (1e-60, 4.0))
_momenta = _mostly((0.9, 0.5, 1 / 3, 1.5), (0.0, 1.0, 1e-60))
_betas = _mostly((0.9, 0.999, 0.5, 1 / 3), (0.0, 1e-60, 1 - 2.0**-30, 1 - 2.0**-53))
_epsilons = _mostly((1e-8, 1e-3, 1.0), (0.0, 1e-60))
_shapes = st.one_of(small_shapes, small_shapes, small_shapes, lengths.map(lambda n: (n,)))

# Others than normal ones overflow, or vanish beside what they are added to.
_KINDS = ("normal", "normal", "normal", "wide", "nasty")


@st.composite
def _of_sgd(draw):
    momentum = draw(_momenta)
    return {
        "lr": draw(_rates),
        "momentum": momentum,
        "nesterov": momentum > 0 and draw(st.booleans()),
        "weight_decay": draw(_decays),
    }


_of_adam = st.fixed_dictionaries(
    {
        "lr": _rates,
        "betas": st.tuples(_betas, _betas),
        "eps": _epsilons,
        "weight_decay": _decays,
    }
)
HYPERPARAMETERS = {"SGD": _of_sgd(), "Adam": _of_adam, "AdamW": _of_adam}


@dataclass(frozen=True)
class Parameter:
    """One parameter."""

    shape: tuple
    half: bool
    layout: str
    kind: str


@dataclass(frozen=True)
class Step:
    """Hyperparameters, and each parameter's gradient: is it a half, how is it laid out; or None."""

    hyperparameters: dict
    grads: list
    kind: str


@dataclass(frozen=True)
class Training:
    """Parameters and the steps they take."""

    name: str
    parameters: list
    steps: list
    seed: int

    @property
    def params(self):
        """New parameters."""
        return [
            strided((halves if p.half else floats)(p.shape, [self.seed, i], p.kind), p.layout)
            for i, p in enumerate(self.parameters)
        ]

    def grads(self, number, scale=1.0):
        """Gradients of a step, times a loss scale."""
        step = self.steps[number]
        return [
            None if form is None else self._gradient(number, i, *form, step.kind, scale)
            for i, form in enumerate(step.grads)
        ]

    def _gradient(self, number, i, half, layout, kind, scale):
        shape, seed = self.parameters[i].shape, [self.seed, 1000 + number, i]
        if kind == "normal":
            g = times(floats(shape, seed), np.float32(scale))
            return laid_out(to_f16(g) if half else g, layout)
        return laid_out((halves if half else floats)(shape, seed, kind), layout)


@st.composite
def trainings(draw, name, shapes=_shapes, kinds=_KINDS, steps=(2, 3)):
    """Draw a training of one kind of optimizer; `steps`: how many it has, at least and at most."""
    parameters = draw(
        st.lists(
            st.builds(
                Parameter, shape=shapes, half=st.booleans(), layout=out_layouts, kind=finite_kinds
            ),
            min_size=1,
            max_size=3,
        )
    )
    form = st.one_of(*[st.tuples(st.booleans(), layouts)] * 5, st.none())
    count = len(parameters)
    step = st.builds(
        Step,
        hyperparameters=HYPERPARAMETERS[name],
        grads=st.lists(form, min_size=count, max_size=count),
        kind=st.sampled_from(kinds),
    )
    drawn = draw(st.lists(step, min_size=steps[0], max_size=steps[1]))
    return Training(name, parameters, drawn, draw(seeds))


def set_hyperparameters(optimizer, hyperparameters):
    """Set them all, in an order in which each is allowed."""
    if "nesterov" in hyperparameters:
        optimizer.nesterov = False
    for name, value in sorted(hyperparameters.items()):  # momentum before nesterov
        setattr(optimizer, name, value)


def started(training, params, library=halfbyte):
    """Return an optimizer of ours and one of the reference, before the first step."""
    hyperparameters = training.steps[0].hyperparameters
    ours = getattr(library, training.name)(params, **hyperparameters)
    reference = getattr(halfbyte_reference, training.name)(params, **hyperparameters)
    return ours, reference


def assert_same_training(ours, reference, where):
    """Claim equal bits of parameters, masters and state."""
    for i, want in enumerate(reference.params):
        assert_same_bits(np.asarray(ours.params[i]), want, f"{where}, parameter {i}")
        assert_same_bits(np.asarray(ours.master[i]), reference.master[i], f"{where}, master {i}")
    for i, (got, want) in enumerate(zip(ours.state_dict()["state"], reference.state, strict=True)):
        for key, value in want.items():
            if value is None:
                assert got[key] is None
            else:
                assert_same_bits(got[key], value, f"{where}, {key} {i}")


def step_both(training, number, ours, reference, where):
    """Take a step with both, and claim equal bits after it."""
    for optimizer in (ours, reference):
        set_hyperparameters(optimizer, training.steps[number].hyperparameters)
    ours.grads = training.grads(number)
    ours.step()
    reference.step(training.grads(number))
    assert_same_training(ours, reference, f"{where}, step {number}")


def everything(optimizer):
    """Return every byte of parameters, masters and state, and the hyperparameters."""
    state = optimizer.state_dict()
    arrays = [*optimizer.params, *optimizer.master]
    arrays += [x for entry in state.pop("state") for x in entry.values() if x is not None]
    return [x.tobytes() for x in arrays], state


def full(name, seed=1, library=halfbyte):
    """Return an optimizer with everything it can do, of a half and a float32 parameter."""
    params = [halves((3, 5), [seed, 0]), floats(33, [seed, 1])]
    return getattr(library, name)(params, **FULL[name])


def some_grads(optimizer, seed):
    """Return gradients of its parameters."""
    return [floats(p.shape, [seed, i]) for i, p in enumerate(optimizer.params)]


def in_training(name):
    """Return an optimizer after its first step, gradients of the next, and all it holds."""
    optimizer = full(name)
    optimizer.grads = some_grads(optimizer, 2)
    optimizer.step()
    return optimizer, some_grads(optimizer, 3), everything(optimizer)
