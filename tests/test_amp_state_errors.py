# SPDX-License-Identifier: Apache-2.0
"""A damaged state of an optimizer is refused and changes nothing."""

import numpy as np
import pytest

import halfbyte
from assertions import refuses
from halfbyte_reference.inputs import floats, halves
from optimizers import every_kind, everything, full, in_training


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


MOMENT = {"SGD": "momentum_buffer", "Adam": "exp_avg_sq", "AdamW": "exp_avg_sq"}

# What is changed in a state whose first parameter is a half of shape (3, 5), the second not, of 33.
STATES = {
    "missing key": (lambda s: s.pop("lr"), ValueError, "lr"),
    "missing state": (lambda s: s.pop("state"), ValueError, "state"),
    "unknown key": (lambda s: s.update(amsgrad=True), ValueError, "amsgrad"),
    "negative lr": (lambda s: s.update(lr=-1.0), ValueError, "lr"),
    "lr that is text": (lambda s: s.update(lr="x"), TypeError, "lr"),
    "negative weight decay": (lambda s: s.update(weight_decay=-1), ValueError, "weight_decay"),
    "a parameter less": (lambda s: s["state"].pop(), ValueError, "state"),
    "a parameter more": (lambda s: s["state"].append(s["state"][0]), ValueError, "state"),
    "entries in a dict": (lambda s: s.update(state={}), TypeError, "state"),
}
ENTRIES = {
    "no dict": (1, lambda entry, moment: None, TypeError, "NoneType"),
    "missing moment": (1, without, ValueError, "state"),
    "missing master": (1, lambda entry, moment: without(entry, "master"), ValueError, "master"),
    "unknown array": (1, lambda entry, moment: entry | {"max": None}, ValueError, "max"),
    "no master": (0, lambda entry, moment: entry | {"master": None}, TypeError, "master"),
    "needless master": (1, lambda entry, moment: entry | {"master": X}, TypeError, "master"),
    "half master": (0, lambda entry, moment: entry | {"master": HALF}, TypeError, "float16"),
    "another shape": (1, lambda entry, moment: entry | {moment: X[1:]}, ValueError, "(32,)"),
    "broadcastable": (1, lambda entry, moment: entry | {moment: X[:1]}, ValueError, "(1,)"),
    "another dtype": (
        1,
        lambda entry, moment: entry | {moment: np.zeros(33)},
        TypeError,
        "float64",
    ),
    "no moment": (1, lambda entry, moment: entry | {moment: None}, TypeError, "state"),
    "list": (1, lambda entry, moment: entry | {moment: [0.0] * 33}, TypeError, "list"),
}
X, HALF = floats(33, 1), halves((3, 5), 1)


def assert_refused(name, state, kind, word):
    """Claim that an optimizer with another learning rate, in training, does not take the state."""
    optimizer, _, _ = in_training(name)
    optimizer.lr = 0.5
    before = everything(optimizer)
    with refuses(kind, f"{name}.load_state_dict", word):
        optimizer.load_state_dict(state)
    assert everything(optimizer) == before


@every_kind
@pytest.mark.parametrize("state", [None, [], "ab", 1.0], ids=lambda x: type(x).__name__)
def test_state_that_is_no_dict_is_refused(name, state):
    assert_refused(name, state, TypeError, type(state).__name__)


@every_kind
@pytest.mark.parametrize("damage", STATES)
def test_damaged_state_is_refused(name, damage):
    spoil, kind, word = STATES[damage]
    state = in_training(name)[0].state_dict()
    spoil(state)
    assert_refused(name, state, kind, word)


@every_kind
@pytest.mark.parametrize("damage", ENTRIES)
def test_damaged_entry_of_a_state_is_refused(name, damage):
    number, spoiled, kind, word = ENTRIES[damage]
    state = in_training(name)[0].state_dict()
    state["state"][number] = spoiled(state["state"][number], MOMENT[name])
    assert_refused(name, state, kind, word)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize(
    ("products", "kind"),
    [(np.ones(3), ValueError), (np.ones(2, np.float32), TypeError), (None, TypeError),
     ([1.0, 1.0], TypeError)], ids=str,
)  # fmt: skip
def test_products_of_betas_of_another_form_are_refused(name, products, kind):
    state = in_training(name)[0].state_dict()
    state["state"][0]["beta_products"] = products
    assert_refused(name, state, kind, "beta_products")


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_betas_out_of_range_are_refused(name):
    state = in_training(name)[0].state_dict() | {"betas": (0.9, 1.0)}
    assert_refused(name, state, ValueError, "betas")


def test_state_with_nesterov_and_without_momentum_is_refused():
    state = halfbyte.SGD([HALF.copy(), X.copy()], 0.1).state_dict() | {"nesterov": True}
    assert_refused("SGD", state, ValueError, "nesterov")


def test_buffers_without_momentum_are_refused():
    state = in_training("SGD")[0].state_dict() | {"momentum": 0.0, "nesterov": False}
    assert_refused("SGD", state, TypeError, "momentum_buffer")


@every_kind
def test_state_of_other_parameters_is_refused(name):
    other = type(full(name))([X.copy(), HALF.copy()], 0.1)
    state = in_training(name)[0].state_dict() | {"state": other.state_dict()["state"]}
    with pytest.raises(
        (TypeError, ValueError), match=rf"^{name}.load_state_dict: state\['state'\]\[0\]"
    ):
        full(name).load_state_dict(state)
