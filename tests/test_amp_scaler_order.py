# SPDX-License-Identifier: Apache-2.0
"""What GradScaler remembers: the order of calls, its state_dict, pickles and copies."""

import copy
import json
import pickle

import numpy as np
import pytest

from assertions import assert_same_bits, refuses
from halfbyte import GradScaler
from scalers import FLT_MAX, TINY, Foreign, foreign, iterate, tracker

ORDERS = {
    "unscale_ twice": ("unscale_", "unscale_"),
    "unscale_ after step": ("step", "unscale_"),
    "step twice": ("step", "step"),
    "step twice after unscale_": ("unscale_", "step", "step"),
    "unscale_ after unscale_ and step": ("unscale_", "step", "unscale_"),
}


@pytest.mark.parametrize("value", [1.0, np.inf])
@pytest.mark.parametrize("calls", ORDERS.values(), ids=ORDERS)
def test_misordered_call_is_refused_and_changes_nothing(calls, value):
    scaler, optimizer = GradScaler(8.0), foreign(value)
    for name in calls[:-1]:
        getattr(scaler, name)(optimizer)
    gradient, steps, state = optimizer.grads[0].copy(), len(optimizer.steps), scaler.state_dict()
    with refuses(RuntimeError, f"GradScaler.{calls[-1]}", "update"):
        getattr(scaler, calls[-1])(optimizer)
    assert_same_bits(optimizer.grads[0], gradient)
    assert (len(optimizer.steps), scaler.state_dict()) == (steps, state)


@pytest.mark.parametrize("calls", ORDERS.values(), ids=ORDERS)
def test_update_starts_the_order_again(calls):
    scaler, optimizer = GradScaler(8.0), foreign(1.0)
    for name in calls[:-1]:
        getattr(scaler, name)(optimizer)
    scaler.update()
    getattr(scaler, calls[-1])(optimizer)


@pytest.mark.parametrize("before", [0, 1])
def test_update_without_a_check_is_refused(before):
    scaler = GradScaler()
    for _ in range(before):
        iterate(scaler, 1.0)
    with refuses(RuntimeError, "GradScaler.update", "step"):
        scaler.update()
    assert tracker(scaler) == before


def test_step_that_the_user_skips_leaves_the_next_iteration_alone():
    scaler, optimizer = GradScaler(8.0), foreign(8.0)
    scaler.unscale_(optimizer)
    scaler.update()
    optimizer.grads = [np.float32([8.0])]
    scaler.unscale_(optimizer)
    assert scaler.step(optimizer)
    assert_same_bits(optimizer.grads[0], np.float32([1.0]))


def test_order_is_each_optimizers_own():
    scaler, first, second = GradScaler(), foreign(1.0), foreign(1.0)
    scaler.unscale_(first)
    scaler.unscale_(second)
    assert scaler.step(first)
    assert scaler.step(second)


def test_optimizer_made_where_another_was_is_another():
    scaler = GradScaler()
    for _ in range(8):
        scaler.unscale_(foreign(1.0))


@pytest.mark.parametrize("grads", [[], [None, None], (), {}, {"w": None}], ids=repr)
def test_gradients_that_are_none_count_as_checked(grads):
    scaler, optimizer = GradScaler(), Foreign(grads)
    assert scaler.step(optimizer)
    scaler.update()
    assert (tracker(scaler), len(optimizer.steps)) == (1, 1)


def test_verdict_of_unscale_holds_whatever_becomes_of_the_gradients():
    scaler, optimizer = GradScaler(), foreign(np.inf)
    scaler.unscale_(optimizer)
    optimizer.grads = [np.zeros(1, np.float32)]
    assert not scaler.step(optimizer)
    assert optimizer.steps == []


# ------------------------------------------------------------------------- state, copies

STATE = {
    "scale": 3.0,
    "growth_factor": 1.5,
    "backoff_factor": 0.25,
    "growth_interval": 7,
    "_growth_tracker": 4,
}


@pytest.mark.parametrize("name", ["growth_factor", "backoff_factor", "growth_interval"])
def test_getters_give_what_was_set(name):
    value = {"growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 7}[name]
    scaler = GradScaler()
    getattr(scaler, f"set_{name}")(value)
    assert getattr(scaler, f"get_{name}")() == value
    assert getattr(GradScaler(**{name: value}), f"get_{name}")() == value


def test_state_has_the_keys_of_torch():
    scaler = GradScaler(3.0, 1.5, 0.25, 7)
    assert scaler.state_dict() == STATE | {"_growth_tracker": 0}


def test_state_is_what_was_loaded():
    scaler = GradScaler()
    scaler.load_state_dict(STATE)
    assert scaler.state_dict() == STATE
    assert scaler.get_scale() == 3.0


def test_state_is_a_copy():
    scaler = GradScaler()
    scaler.state_dict()["scale"] = 3.0
    assert scaler.state_dict()["scale"] == 65536.0


def test_loaded_state_is_copied():
    scaler, state = GradScaler(), dict(STATE)
    scaler.load_state_dict(state)
    state["scale"] = 9.0
    iterate(scaler, 1.0)
    assert scaler.get_scale() == 3.0
    assert state == STATE | {"scale": 9.0}


@pytest.mark.parametrize("number", [float, np.float32, np.float64])
def test_state_goes_through_json(number):
    scaler = GradScaler(number(3), number(1.5), number(0.25), 7)
    iterate(scaler, 1.0)
    again = GradScaler()
    again.load_state_dict(json.loads(json.dumps(scaler.state_dict())))
    assert again.state_dict() == scaler.state_dict() == STATE | {"_growth_tracker": 1}


@pytest.mark.parametrize(
    ("loaded", "scale"),
    [(np.inf, 16.0), (1e300, 16.0), (17.0, 16.0), (16.0, 16.0), (2.0, 2.0), (1e-300, 2.0)],
)  # fmt: skip
def test_loaded_scale_is_clamped(loaded, scale):
    scaler = GradScaler(8.0, min_scale=2.0, max_scale=16.0)
    scaler.load_state_dict(STATE | {"scale": loaded})
    assert scaler.get_scale() == scale


@pytest.mark.parametrize(("loaded", "scale"), [(np.inf, FLT_MAX), (2.0**-149, TINY)])
def test_loaded_scale_is_clamped_to_what_can_be_inverted(loaded, scale):
    scaler = GradScaler()
    scaler.load_state_dict(STATE | {"scale": loaded})
    assert scaler.get_scale() == scale


def test_loaded_scale_is_rounded_once_to_float32():
    scaler = GradScaler()
    scaler.load_state_dict(STATE | {"scale": 0.1})
    assert scaler.get_scale() == float(np.float32(0.1))


REMAKE = {
    "pickle": lambda scaler: pickle.loads(pickle.dumps(scaler)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}
remakes = pytest.mark.parametrize("remake", REMAKE.values(), ids=REMAKE)


@remakes
def test_remade_scaler_goes_on_as_the_first(remake):
    scaler = GradScaler(0.1, 1.5, 0.3, 3, min_scale=0.02, max_scale=0.2)
    iterate(scaler, 1.0)
    again = remake(scaler)
    values = [1.0, 1.0, np.inf, np.nan, np.inf, *[1.0] * 20]
    states = [(iterate(scaler, x), scaler.state_dict(), scaler.at_min_scale) for x in values]
    assert states == [(iterate(again, x), again.state_dict(), again.at_min_scale) for x in values]


@remakes
def test_remade_scaler_is_another(remake):
    scaler = GradScaler()
    iterate(remake(scaler), np.inf)
    assert scaler.get_scale() == 65536.0


@remakes
def test_remade_scaler_has_iterations_of_its_own(remake):
    scaler, optimizer = GradScaler(), foreign(1.0)
    remake(scaler).unscale_(optimizer)
    scaler.unscale_(optimizer)


@remakes
@pytest.mark.parametrize("enabled", [True, False])
def test_remade_scaler_is_as_enabled_as_the_first(remake, enabled):
    assert remake(GradScaler(enabled=enabled)).is_enabled() is enabled


@pytest.mark.parametrize("call", ["unscale_", "step"])
def test_pickle_within_an_iteration_is_refused(call):
    scaler, optimizer = GradScaler(), foreign(1.0)
    getattr(scaler, call)(optimizer)
    with pytest.raises(RuntimeError, match=r"update\(\)"):
        pickle.dumps(scaler)
    scaler.update()
    assert pickle.loads(pickle.dumps(scaler)).state_dict() == scaler.state_dict()
