# SPDX-License-Identifier: Apache-2.0
"""GradScaler goes step by step with torch.amp.GradScaler, wherever torch's rule is sound.

Unsound, and so not drawn: an interval below the counter, and scales outside [2^-126, FLT_MAX].
"""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_same_bits
from halfbyte import GradScaler
from scalers import FLT_MAX, TINY
from strategies import seeds

SIZES = (3, 5)  # of each network's two parameters, which have an optimizer each


@dataclass(frozen=True)
class Case:
    """A sequence of iterations, all of it rebuilt from these numbers."""

    scale: float
    growth: float
    backoff: float
    interval: int
    bad: float  # how many iterations of one optimizer are
    length: int
    seed: int

    @property
    def arguments(self):
        """Of both scalers."""
        return {
            "init_scale": self.scale,
            "growth_factor": self.growth,
            "backoff_factor": self.backoff,
            "growth_interval": self.interval,
        }


scales = st.one_of(
    st.sampled_from((65536.0, 1.0, 3.0, FLT_MAX, 2.0**127, TINY, 2.0**-120)),
    st.floats(TINY, FLT_MAX, width=32),
)
cases = st.builds(
    Case,
    scale=scales,
    growth=st.one_of(st.sampled_from((2.0, 2.0**30)), st.floats(1, 10, exclude_min=True)),
    backoff=st.one_of(
        st.sampled_from((0.5, 2.0**-30)), st.floats(0, 1, exclude_min=True, exclude_max=True)
    ),
    interval=st.integers(1, 6),
    bad=st.sampled_from((0.0, 0.05, 0.3, 0.6)),
    length=st.integers(1, 40),
    seed=seeds,
)


class Network:
    """Two parameters, their optimizers, and a scaler of torch's or ours."""

    def __init__(self, torch, scaler):
        self.torch, self.scaler = torch, scaler
        self.params = [torch.zeros(size, requires_grad=True) for size in SIZES]
        self.optimizers = [
            torch.optim.SGD(self.params[:1], lr=0.1, momentum=0.9),
            torch.optim.AdamW(self.params[1:], lr=0.1),
        ]

    def backward(self, inputs):
        """Set the gradients to `inputs` times the scale."""
        for param, x in zip(self.params, inputs, strict=True):
            param.grad = None
            self.scaler.scale((param * self.torch.from_numpy(x)).sum()).backward()

    def step(self, unscales):
        """Step both optimizers, after unscale_ and clipping for those that `unscales` names."""
        for optimizer, param, unscale in zip(self.optimizers, self.params, unscales, strict=True):
            if unscale:
                self.scaler.unscale_(optimizer)
                self.torch.nn.utils.clip_grad_norm_([param], 1.0)
            self.scaler.step(optimizer)
        self.scaler.update()

    def numbers(self):
        """Return everything that the scaler decides."""
        gradients = [param.grad.numpy() for param in self.params]
        return [*(param.detach().numpy() for param in self.params), *gradients]


def assert_same_state(network, oracle, where):
    """Claim the same scale and counter, and the same bits of parameters and gradients."""
    assert network.scaler.state_dict() == oracle.scaler.state_dict(), where
    assert network.scaler.get_scale() == oracle.scaler.get_scale(), where
    for got, want in zip(network.numbers(), oracle.numbers(), strict=True):
        assert_same_bits(got, want, where)


def run(case, networks, steps, change=None):
    """Take the networks through the iterations `steps`; after each they are equal."""
    for step in steps:
        rng = np.random.default_rng([case.seed, step])
        inputs = [rng.uniform(-1, 1, size).astype(np.float32) for size in SIZES]
        lower = networks[1].scaler.get_scale() * networks[1].scaler.get_backoff_factor()
        for x in inputs:
            if rng.random() < case.bad and lower >= TINY:
                x[rng.integers(x.size)] = rng.choice(np.float32([np.inf, -np.inf, np.nan]))
        unscales = rng.random(2) < 0.3
        for network in networks:
            network.backward(inputs)
            network.step(unscales)
            if change is not None:
                change(network.scaler, np.random.default_rng([case.seed, step, 1]))
        assert_same_state(*networks, f"after step {step}")


def pair(torch, case):
    """Return a network with our scaler and one with torch's."""
    return [
        Network(torch, GradScaler(**case.arguments)),
        Network(torch, torch.amp.GradScaler("cpu", **case.arguments)),
    ]


@given(case=cases)
def test_every_step_is_that_of_torch(case, torch):
    run(case, pair(torch, case), range(case.length))


@pytest.mark.parametrize("factors", [(2.0, 0.5), (1.7, 0.6), (1.001, 0.999)])
def test_a_thousand_steps_are_those_of_torch(factors, torch):
    case = Case(0.1, *factors, interval=4, bad=0.1, length=1000, seed=1)
    run(case, pair(torch, case), range(case.length))


def change_settings(scaler, rng):
    """Set something that may be set between iterations, never an interval below the counter."""
    setting = rng.integers(0, 8)
    if setting == 0:
        scaler.set_growth_factor(float(rng.uniform(1.001, 4)))
    elif setting == 1:
        scaler.set_backoff_factor(float(rng.uniform(0.1, 0.999)))
    elif setting == 2:
        scaler.set_growth_interval(scaler.state_dict()["_growth_tracker"] + int(rng.integers(1, 5)))
    elif setting == 3:
        scaler.update(float(np.float32(rng.uniform(0.001, 1e6))))


@given(case=cases)
def test_every_step_is_that_of_torch_while_settings_change(case, torch):
    run(case, pair(torch, case), range(case.length), change_settings)


@given(case=cases, stop=st.integers(0, 20))
def test_states_load_into_each_others_scalers(case, stop, torch):
    networks = pair(torch, case)
    run(case, networks, range(stop))
    ours, theirs = (network.scaler.state_dict() for network in networks)
    networks[0].scaler = GradScaler()
    networks[1].scaler = torch.amp.GradScaler("cpu")
    networks[0].scaler.load_state_dict(theirs)
    networks[1].scaler.load_state_dict(ours)
    run(case, networks, range(stop, stop + case.length))


def test_default_settings_are_those_of_torch(torch):
    assert GradScaler().state_dict() == torch.amp.GradScaler("cpu").state_dict()


def test_disabled_scalers_have_the_same_state(torch):
    theirs = torch.amp.GradScaler("cpu", enabled=False)
    ours = GradScaler(enabled=False)
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert ours.state_dict() == theirs.state_dict()


def test_optimizer_of_torch_with_float16_parameters_is_refused(torch):
    param = torch.ones(3, dtype=torch.float16, requires_grad=True)
    param.grad = torch.ones(3, dtype=torch.float16)
    with pytest.raises(TypeError, match="master weights"):
        GradScaler().step(torch.optim.SGD([param], lr=0.1))
    assert param.tolist() == param.grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("value", "stepped"), [(8.0, True), (np.inf, False)])
def test_our_optimizers_take_tensors_of_torch(value, stepped, torch, backend):
    param = torch.ones(33, dtype=torch.float16)
    optimizer, scaler = backend.AdamW([param], lr=0.5), GradScaler(8.0)
    optimizer.grads = [torch.full((33,), value, dtype=torch.float16)]
    with backend.forced():
        assert scaler.step(optimizer) is stepped
    scaler.update()
    # 1 - 0.5 * (0.01 + 1), rounded to float16; the gradient's size does not matter at first.
    assert param.tolist() == [float(np.float16(0.495)) if stepped else 1.0] * 33
    assert scaler.get_scale() == (8.0 if stepped else 4.0)
