# SPDX-License-Identifier: Apache-2.0
"""Training a network by FP16 products can stop anywhere and go on with the same bits."""

import copy
import pickle

import numpy as np
import pytest

import halfbyte
from assertions import assert_same_bits
from halfbyte import GradScaler
from halfbyte_reference.inputs import floats, halves
from scalers import ours


def train(model, optimizer, scaler, steps):
    """Fit x -> relu(x W) V by FP16 products, and return the losses and scales seen."""
    seen = []
    for step in steps:
        x, y = halves((16, 9), [7, step]), floats((16, 3), [8, step])
        hidden = halfbyte.gemm_f16(x, model["w"], activation="relu", out_dtype=np.float16)
        error = halfbyte.gemm_f16(hidden, model["v"], bias=model["b"]) - y
        d = scaler.scale((error / np.float32(16)).astype(np.float16))
        dhidden = halfbyte.gemm_f16(d, model["v"].T, out_dtype=np.float16)
        dhidden = np.where(hidden > 0, dhidden, np.float16(0))
        dw = halfbyte.gemm_f16(x.T, dhidden, out_dtype=np.float16)
        dv, db = halfbyte.gemm_f16(hidden.T, d), halfbyte.gemm_f16(np.ones((1, 16), np.float16), d)
        optimizer.grads = [dw, dv, db[0]]
        stepped = scaler.step(optimizer)
        scaler.update()
        seen.append((float(np.square(error).sum()), stepped, scaler.get_scale()))
    return seen


def beginning(make):
    """Return a network, an optimizer of its arrays, and a scaler that often goes too far."""
    small = np.float16(0.25)
    model = {"w": small * halves((9, 33), 1), "v": small * halves((33, 3), 2), "b": floats(3, 3)}
    return model, make(list(model.values())), GradScaler(growth_interval=3)


def loaded(model, optimizer, scaler, make):
    """Go on from copies of the parameters and the two state_dicts."""
    model = copy.deepcopy(model)
    again, scaler_again = make(list(model.values())), GradScaler()
    again.load_state_dict(optimizer.state_dict())
    scaler_again.load_state_dict(scaler.state_dict())
    return model, again, scaler_again


REMAKE = {
    "pickle": lambda *parts, make: pickle.loads(pickle.dumps(parts)),
    "deepcopy": lambda *parts, make: copy.deepcopy(parts),
    "state_dict": loaded,
}
remakes = pytest.mark.parametrize("remake", REMAKE.values(), ids=REMAKE)


@ours
@remakes
@pytest.mark.parametrize("stop", [1, 4, 11])
def test_training_that_stopped_goes_on_with_the_same_bits(make, remake, stop, backend):
    with backend.forced():
        whole = beginning(make)
        seen = train(*whole, range(30))
        parts = beginning(make)
        seen_in_parts = train(*parts, range(stop))
        parts = remake(*parts, make=make)
        seen_in_parts += train(*parts, range(stop, 30))
    assert {stepped for _, stepped, _ in seen} == {True, False}
    assert seen_in_parts == seen
    assert_same_bits(parts[0]["w"], whole[0]["w"], backend)
    assert_same_bits(parts[0]["v"], whole[0]["v"], backend)
    assert_same_bits(parts[0]["b"], whole[0]["b"], backend)


@ours
@pytest.mark.parametrize("name", ["pickle", "deepcopy"])
def test_remade_optimizer_steps_the_arrays_of_the_remade_model(make, name):
    model, optimizer, _ = REMAKE[name](*beginning(make), make=make)
    assert [a is b for a, b in zip(optimizer.params, model.values(), strict=True)] == [True] * 3
    assert optimizer.master[2] is model["b"]
