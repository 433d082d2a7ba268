# SPDX-License-Identifier: Apache-2.0
"""Whatever is called in whatever order, GradScaler does what a model of ten lines does."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import halfbyte
from backends import kind_of
from scalers import FLT_MAX, TINY, Foreign

OPTIMIZERS = ("AdamW", "SGD", "foreign")
GRADIENTS = {
    "good": 1.0,
    "none": None,
    "infinite": np.inf,
    "minus infinite": -np.inf,
    "nan": np.nan,
    "largest": FLT_MAX,  # or float16's: infinite where the scale is below 1
}

names = st.sampled_from(OPTIMIZERS)
gradients = st.one_of(st.just("good"), st.just("good"), st.sampled_from(tuple(GRADIENTS)))
limits = st.sampled_from(((TINY, FLT_MAX), (2.0**-3, 2.0**24), (1.0, 3.0), (7.0, 7.0)))
scales = st.one_of(
    st.sampled_from((65536.0, 1.0, TINY, FLT_MAX, 2.0**127, 3 * TINY, 2.0**24, 7.0)),
    st.floats(TINY, FLT_MAX, width=32),
)
growth_factors = st.sampled_from((2.0, 1.5, 1.1, 1 + 2.0**-40, 2.0**20, 1e300))
backoff_factors = st.sampled_from((0.5, 0.75, 0.9, 1 - 2.0**-40, 2.0**-20, 1e-300))
intervals = st.sampled_from((1, 2, 3, 5, 40))


class Rule:
    """Rule 13."""

    def __init__(self, scale, growth, backoff, interval, low, high):
        self.scale, self.growth, self.backoff, self.interval = scale, growth, backoff, interval
        self.low, self.high, self.tracker = low, high, 0

    def update(self, found):
        self.tracker = 0 if found else self.tracker + 1
        with np.errstate(over="ignore", under="ignore"):
            lower, higher = (float(np.float32(self.scale * x)) for x in (self.backoff, self.growth))
        if found:
            self.scale = max(lower, self.low)
        elif self.tracker >= self.interval:
            self.scale, self.tracker = higher if higher <= self.high else self.scale, 0


class Scaling(RuleBasedStateMachine):
    """A scaler and three optimizers, beside the model and what each of them has done."""

    library = halfbyte

    @initialize(
        scale=scales,
        growth=growth_factors,
        backoff=backoff_factors,
        interval=intervals,
        limits=limits,
    )
    def begin(self, scale, growth, backoff, interval, limits):
        self.limits = dict(zip(("min_scale", "max_scale"), limits, strict=True))
        scale = float(np.clip(scale, *limits))
        self.scaler = self.library.GradScaler(scale, growth, backoff, interval, **self.limits)
        self.model = Rule(scale, growth, backoff, interval, *limits)
        self.optimizers = {
            # A step halves the products of beta, whatever the gradient.
            "AdamW": self.library.AdamW([np.ones(3, np.float16)], betas=(0.5, 0.5)),
            "SGD": self.library.SGD([np.zeros(3, np.float32)], lr=1.0),
            "foreign": Foreign([None]),
        }
        self.steps = dict.fromkeys(OPTIMIZERS, 0)
        self.found, self.stepped = {}, set()

    # ---------------------------------------------------------------- iterations

    def give(self, name, kind):
        """Hand the optimizer new gradients, and say what rule 12 finds in them."""
        if GRADIENTS[kind] is None:
            self.optimizers[name].grads = [None]
            return False
        dtype = np.float16 if name == "AdamW" else np.float32
        # SGD subtracts what the scale is unscaled to: 1, or nearly.
        gradient = np.full(3, self.model.scale if name == "SGD" else 1, dtype)
        gradient[1] = np.finfo(dtype).max if kind == "largest" else GRADIENTS[kind]
        self.optimizers[name].grads = [gradient]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            unscaled = np.float32(gradient) * np.float32(1 / self.model.scale)
        return not np.isfinite(unscaled).all()

    @rule(name=names, kind=gradients)
    def unscale(self, name, kind):
        if name in self.found:
            with pytest.raises(RuntimeError, match=r"update\(\)"):
                self.scaler.unscale_(self.optimizers[name])
        else:
            self.found[name] = self.give(name, kind)
            self.scaler.unscale_(self.optimizers[name])

    @rule(name=names, kind=gradients)
    def step(self, name, kind):
        optimizer = self.optimizers[name]
        if name in self.stepped:
            with pytest.raises(RuntimeError, match=r"update\(\)"):
                self.scaler.step(optimizer)
            return
        if name not in self.found:
            self.found[name] = self.give(name, kind)
        self.stepped.add(name)
        assert self.scaler.step(optimizer) is not self.found[name]
        # Ours leave a parameter without a gradient alone; what others do is theirs.
        if not self.found[name] and (name == "foreign" or optimizer.grads[0] is not None):
            self.steps[name] += 1

    @rule()
    def update(self):
        if self.found:
            self.model.update(any(self.found.values()))
            self.found, self.stepped = {}, set()
            self.scaler.update()
        else:
            with pytest.raises(RuntimeError, match=r"step\(\)"):
                self.scaler.update()

    @rule(scale=scales)
    def update_to_a_new_scale(self, scale):
        self.model.scale = float(np.clip(scale, self.model.low, self.model.high))
        self.found, self.stepped = {}, set()
        self.scaler.update(self.model.scale)

    @precondition(lambda self: not self.found)
    @rule(name=names, count=st.integers(1, 8))
    def iterate(self, name, count):
        for _ in range(count):
            self.step(name, "good")
            self.update()
            self.scaler_is_as_the_model()

    # ------------------------------------------------------------------ settings

    @rule(factor=growth_factors)
    def set_growth_factor(self, factor):
        self.scaler.set_growth_factor(factor)
        self.model.growth = factor

    @rule(factor=backoff_factors)
    def set_backoff_factor(self, factor):
        self.scaler.set_backoff_factor(factor)
        self.model.backoff = factor

    @rule(interval=intervals)
    def set_growth_interval(self, interval):
        self.scaler.set_growth_interval(interval)
        self.model.interval = interval

    # --------------------------------------------------------------- new scalers

    @rule()
    def load_the_state_into_a_new_scaler(self):
        state = self.scaler.state_dict()
        self.scaler = self.library.GradScaler(self.model.low, **self.limits)
        self.scaler.load_state_dict(state)
        self.found, self.stepped = {}, set()

    @rule()
    def pickle(self):
        if self.found:
            with pytest.raises(RuntimeError, match=r"update\(\)"):
                pickle.dumps(self.scaler)
        else:
            self.scaler = pickle.loads(pickle.dumps(self.scaler))

    @precondition(lambda self: not self.found)
    @rule()
    def deepcopy(self):
        self.scaler = copy.deepcopy(self.scaler)

    # ---------------------------------------------------------------- what holds

    @invariant()
    def scaler_is_as_the_model(self):
        model = self.model
        assert self.scaler.state_dict() == {
            "scale": model.scale,
            "growth_factor": model.growth,
            "backoff_factor": model.backoff,
            "growth_interval": model.interval,
            "_growth_tracker": model.tracker,
        }
        assert self.scaler.get_scale() == model.scale
        assert self.scaler.at_min_scale is (model.scale == model.low)

    @invariant()
    def optimizers_stepped_when_they_should(self):
        products = self.optimizers["AdamW"].state_dict()["state"][0]["beta_products"]
        assert (products == 0.5 ** self.steps["AdamW"]).all()
        assert np.rint(self.optimizers["SGD"].params[0][2]) == -self.steps["SGD"]
        assert len(self.optimizers["foreign"].steps) == self.steps["foreign"]


def test_scaler_does_what_the_model_does(backend):
    class OnBackend(Scaling):
        library = backend

    few = {"max_examples": 3, "stateful_step_count": 30} if kind_of(backend) == "ptx" else {}
    with backend.forced():
        run_state_machine_as_test(OnBackend, settings=settings(settings.default, **few))
