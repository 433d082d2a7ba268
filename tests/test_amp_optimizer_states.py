# SPDX-License-Identifier: Apache-2.0
"""An optimizer that is saved, loaded, pickled or copied in mid-training goes on with its bits."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte
import halfbyte_reference
from assertions import assert_same_bits
from backends import kind_of, without
from gradients import small_shapes
from halfbyte_reference.inputs import floats, halves
from optimizers import (
    FULL,
    NAMES,
    assert_same_training,
    every_kind,
    everything,
    full,
    some_grads,
    started,
    step_both,
    trainings,
)

KEYS = {
    "SGD": {"lr", "momentum", "nesterov", "weight_decay", "state"},
    "Adam": {"lr", "betas", "eps", "weight_decay", "state"},
    "AdamW": {"lr", "betas", "eps", "weight_decay", "state"},
}
ENTRIES = {
    "SGD": {"master", "momentum_buffer"},
    "Adam": {"master", "exp_avg", "exp_avg_sq", "beta_products"},
    "AdamW": {"master", "exp_avg", "exp_avg_sq", "beta_products"},
}


def stepped(optimizer, *seeds):
    """Take a step for each seed."""
    for seed in seeds:
        optimizer.grads = some_grads(optimizer, seed)
        optimizer.step()
    return optimizer


def loaded(optimizer):
    """Return another optimizer that went on from the state, on parameters saved by the caller."""
    params = [p.copy() if p.dtype == np.float32 else np.zeros_like(p) for p in optimizer.params]
    # Other hyperparameters, which loading replaces.
    named = {"momentum": 0.5} if hasattr(optimizer, "momentum") else {}
    another = getattr(optimizer, "another", type(optimizer))(params, lr=7.0, **named)
    another.load_state_dict(optimizer.state_dict())
    return another


REMAKES = {
    "state_dict": loaded,
    "pickled state_dict": lambda optimizer: pickle.loads(pickle.dumps(loaded(optimizer))),
    "pickle": lambda optimizer: pickle.loads(pickle.dumps(optimizer)),
    "deepcopy": copy.deepcopy,
}
# CuPy makes a kernel of its own for a deep copy of the parameters, which the machine has not.
of_cupy = {"deepcopy": without("ptx", reason="CuPy's own kernel copies the parameters")}
remakes = pytest.mark.parametrize(
    "remake",
    [pytest.param(make, marks=of_cupy.get(name, ()), id=name) for name, make in REMAKES.items()],
)


# ------------------------------------------------------------------------------ going on


@every_kind
@remakes
def test_optimizer_that_was_remade_goes_on_with_the_same_bits(name, remake, backend):
    with backend.forced():
        optimizer = stepped(full(name, library=backend), 1, 2)
        again = remake(optimizer)
        assert everything(stepped(again, 3, 4)) == everything(stepped(optimizer, 3, 4))


@every_kind
@given(data=st.data())
def test_training_may_be_remade_before_every_step(name, data, backend):
    training = data.draw(trainings(name, small_shapes))
    ours, reference = started(training, training.params, backend)
    # A pickle of CuPy's arrays is in C order, and takes a kernel of its own to get there.
    possible = REMAKES if kind_of(backend) == "cpu" else {"state_dict": loaded}
    with backend.forced():
        for number in range(len(training.steps)):
            ours = data.draw(st.sampled_from(list(possible.values())))(ours)
            step_both(training, number, ours, reference, backend)


@every_kind
@remakes
def test_original_and_remade_share_no_memory(name, remake):
    optimizer = stepped(full(name), 1)
    again = remake(optimizer)
    before = everything(optimizer)
    stepped(again, 2)
    assert everything(optimizer) == before


@without("ptx", "cuda", reason="the model is in the CPU's memory")
@every_kind
@pytest.mark.parametrize(
    "remake", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
def test_model_and_optimizer_remade_together_share_the_parameters(name, remake, backend):
    model = {"w": halves((3, 5), 1), "b": floats(33, 2)}
    optimizer = getattr(halfbyte, name)(list(model.values()), **FULL[name])
    model, optimizer = remake((model, optimizer))
    assert [p is x for p, x in zip(optimizer.params, model.values(), strict=True)] == [True, True]
    before = model["b"].copy()
    with backend.forced():
        stepped(optimizer, 3)
    assert not np.array_equal(model["b"], before)
    assert optimizer.master[1] is model["b"]


@every_kind
def test_gradients_are_pickled_too(name):
    optimizer = full(name)
    optimizer.grads = [None, floats(33, 1)]
    again = pickle.loads(pickle.dumps(optimizer))
    assert again.grads[0] is None
    assert_same_bits(again.grads[1], floats(33, 1))


def test_momentum_set_to_0_and_back_starts_a_new_buffer(backend):
    params = [floats(9, 1)]
    ours = backend.SGD(params, 0.1, momentum=0.9)
    reference = halfbyte_reference.SGD(params, 0.1, momentum=0.9)
    with backend.forced():
        for seed, momentum in enumerate((0.9, 0.0, 0.9)):
            ours.momentum = reference.momentum = momentum
            ours.grads = [-np.zeros(9, np.float32) if seed == 2 else floats(9, [2, seed])]
            ours.step()
            reference.step(ours.grads)
            assert_same_training(ours, reference, f"{backend}, momentum {momentum}")


# ------------------------------------------------------------------------------ what there is


@every_kind
def test_state_has_the_hyperparameters_and_each_parameters_arrays(name):
    state = full(name).state_dict()
    assert set(state) == KEYS[name]
    assert [set(entry) for entry in state["state"]] == [ENTRIES[name]] * 2
    assert {key: state[key] for key in FULL[name]} == FULL[name]


@every_kind
def test_state_has_masters_of_halves_only(name, backend):
    optimizer = stepped(full(name, library=backend), 1)
    state = optimizer.state_dict()["state"]
    assert_same_bits(state[0]["master"], optimizer.master[0])
    assert state[1]["master"] is None


@every_kind
def test_state_is_a_copy(name):
    optimizer = stepped(full(name), 1)
    before = everything(optimizer)
    for entry in optimizer.state_dict()["state"]:
        for array in entry.values():
            if array is not None:
                array[...] = 7
    assert everything(optimizer) == before


@every_kind
def test_loaded_state_is_a_copy(name):
    state, optimizer = stepped(full(name), 1).state_dict(), full(name)
    optimizer.load_state_dict(state)
    before = everything(optimizer)
    for entry in state["state"]:
        for array in entry.values():
            if array is not None:
                array[...] = 7
    assert everything(optimizer) == before


@every_kind
def test_loading_makes_halves_of_masters_and_leaves_floats(name, backend):
    state = stepped(full(name, library=backend), 1).state_dict()
    optimizer = full(name, seed=2, library=backend)
    floats_before = optimizer.params[1].copy()
    optimizer.load_state_dict(state)
    assert_same_bits(optimizer.params[0], state["state"][0]["master"].astype(np.float16))
    assert_same_bits(optimizer.params[1], floats_before)


def test_sgd_without_momentum_has_no_buffers():
    optimizer = halfbyte.SGD([floats(9, 1)], 0.1)
    assert stepped(optimizer, 1).state_dict()["state"][0]["momentum_buffer"] is None


def test_first_buffer_is_the_gradient_and_its_sign(backend):
    optimizer = backend.SGD([floats(3, 1)], 0.1, momentum=0.9)
    optimizer.grads = [np.float32([1.5, -0.0, 0.0])]
    with backend.forced():
        optimizer.step()
    got = optimizer.state_dict()["state"][0]["momentum_buffer"]
    assert_same_bits(got, np.float32([1.5, -0.0, 0.0]), backend)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_products_of_betas_are_those_of_the_steps_with_a_gradient(name, backend):
    optimizer = full(name, library=backend)
    with backend.forced():
        for grads in (some_grads(optimizer, 1), [None, floats(33, 2)], some_grads(optimizer, 3)):
            optimizer.grads = grads
            optimizer.step()
    first, second = (entry["beta_products"] for entry in optimizer.state_dict()["state"])
    assert_same_bits(first, np.float64([0.9 * 0.9, 0.99 * 0.99]), backend)
    assert_same_bits(second, np.float64([0.9 * 0.9 * 0.9, 0.99 * 0.99 * 0.99]), backend)


@every_kind
def test_new_optimizer_has_a_master_of_each_half_and_no_gradients(name):
    optimizer = full(name)
    assert isinstance(optimizer.params, tuple)
    assert isinstance(optimizer.master, tuple)
    assert optimizer.grads == [None, None]
    assert_same_bits(optimizer.master[0], halves((3, 5), [1, 0]).astype(np.float32))
    assert optimizer.master[1] is optimizer.params[1]


@every_kind
def test_parameters_are_the_callers_objects(name):
    params = [halves(3, 1), floats((2, 0), 2)]
    optimizer = getattr(halfbyte, name)(params, **FULL[name])
    assert [p is x for p, x in zip(optimizer.params, params, strict=True)] == [True, True]


@every_kind
def test_zero_grad_makes_a_new_list(name):
    optimizer = full(name)
    optimizer.grads = held = some_grads(optimizer, 1)
    optimizer.zero_grad()
    assert optimizer.grads == [None, None]
    assert held[1] is not None


@every_kind
@pytest.mark.parametrize("attribute", ["params", "master"])
def test_parameters_and_masters_cannot_be_replaced(name, attribute):
    with pytest.raises(AttributeError):
        setattr(full(name), attribute, ())


@without("ptx", "cuda", reason="tensors are in the CPU's memory")
@every_kind
def test_optimizer_of_tensors_goes_on_from_its_state(name, backend, torch):
    optimizer = full(name)
    tensors = [torch.from_numpy(p.copy()) for p in optimizer.params]
    ours = getattr(halfbyte, name)(tensors, **FULL[name])
    with backend.forced():
        for seed in (2, 3):
            again = getattr(halfbyte, name)(tensors, **FULL[name])
            again.load_state_dict(ours.state_dict())
            again.grads = [torch.from_numpy(g) for g in some_grads(optimizer, seed)]
            again.step()
            ours = again
        stepped(optimizer, 2, 3)
    for tensor, p in zip(tensors, optimizer.params, strict=True):
        assert_same_bits(tensor.numpy(), p, backend)


@pytest.mark.parametrize(("count", "text"), [(1, "(1 parameter, "), (2, "(2 parameters, ")])
def test_text_counts_the_parameters(count, text):
    assert text in repr(halfbyte.AdamW([np.ones(3, np.float32) for _ in range(count)]))


@pytest.mark.parametrize("name", NAMES)
def test_text_names_the_optimizer_and_its_hyperparameters(name):
    text = repr(full(name))
    assert text.startswith(f"{name}(")
    assert f"lr={FULL[name]['lr']}" in text
