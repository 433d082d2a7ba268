# SPDX-License-Identifier: Apache-2.0
"""GradScaler unscales for optimizers of ours and of others and steps them, or leaves all alone."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

import halfbyte
from assertions import assert_same_bits, refuses
from halfbyte import GradScaler
from halfbyte_reference import to_f32
from halfbyte_reference.inputs import floats, halves
from scalers import Foreign, foreign, iterate, ours

MAKE = {"float16": halves, "float32": floats}

params_of = pytest.mark.parametrize("param", MAKE)
grads_of = pytest.mark.parametrize("grad", MAKE)


# ---------------------------------------------------------------------------------- ours


def ready(make, param, grad, library=halfbyte):
    """Return one of our optimizers and its gradients, two parameters of odd sizes."""
    optimizer = make([MAKE[param]((3, 7), 1), MAKE[param](33, 2)], library)
    optimizer.grads = [MAKE[grad]((3, 7), 3), MAKE[grad](33, 4)]
    return optimizer


@ours
@params_of
@grads_of
def test_fused_step_has_the_bits_of_unscale_and_step(make, param, grad, backend):
    scaler = backend.GradScaler(3.0)
    one, two = (ready(make, param, grad, backend) for _ in range(2))
    with backend.forced():
        assert scaler.step(one) is True
        scaler.unscale_(two)
        assert scaler.step(two) is True
    assert_same_bits(one.params[0], two.params[0], backend)
    assert_same_bits(one.params[1], two.params[1], backend)


@ours
@grads_of
def test_step_is_that_of_unscaled_gradients(make, grad, backend):
    scaler = backend.GradScaler(3.0)
    one, two = (ready(make, "float32", grad, backend) for _ in range(2))
    two.grads = [np.float32(g) * np.float32(1 / 3) for g in two.grads]
    with backend.forced():
        scaler.step(one)
        two.step()
    assert_same_bits(one.params[0], two.params[0], backend)
    assert_same_bits(one.params[1], two.params[1], backend)


@ours
@params_of
@grads_of
@pytest.mark.parametrize("unscale_first", [True, False])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_bad_gradient_skips_the_step_and_changes_nothing(
    make, param, grad, unscale_first, bad, backend
):
    scaler, optimizer = backend.GradScaler(3.0), ready(make, param, grad, backend)
    optimizer.grads[1][32] = bad
    before = pickle.dumps((optimizer.params, optimizer.master, optimizer.state_dict()))
    with backend.forced():
        if unscale_first:
            scaler.unscale_(optimizer)
        assert scaler.step(optimizer) is False
    assert pickle.dumps((optimizer.params, optimizer.master, optimizer.state_dict())) == before


@ours
@grads_of
@pytest.mark.parametrize("bad", [1.0, np.nan])
def test_fused_step_leaves_the_gradients_as_they_are(make, grad, bad, backend):
    scaler, optimizer = backend.GradScaler(3.0), ready(make, "float16", grad, backend)
    optimizer.grads[1][32] = bad
    grads, before = list(optimizer.grads), copy.deepcopy(optimizer.grads)
    scaler.step(optimizer)
    assert [a is b for a, b in zip(optimizer.grads, grads, strict=True)] == [True, True]
    assert_same_bits(grads[0], before[0])
    assert_same_bits(grads[1], before[1])


@ours
def test_unscale_writes_float32_gradients_in_place(make, backend):
    scaler, optimizer = backend.GradScaler(3.0), ready(make, "float16", "float32", backend)
    gradient = optimizer.grads[0]
    want = gradient * np.float32(1 / 3)
    scaler.unscale_(optimizer)
    assert optimizer.grads[0] is gradient
    assert_same_bits(gradient, want)


@ours
def test_unscale_replaces_float16_gradients_by_float32_ones(make, backend):
    scaler, optimizer = backend.GradScaler(3.0), ready(make, "float16", "float16", backend)
    gradient = optimizer.grads[0]
    before = gradient.copy()
    scaler.unscale_(optimizer)
    assert_same_bits(optimizer.grads[0], to_f32(before) * np.float32(1 / 3))
    assert_same_bits(gradient, before)


@ours
def test_gradients_of_a_skipped_step_are_unscaled_all_the_same(make, backend):
    scaler, optimizer = backend.GradScaler(2.0), ready(make, "float32", "float32", backend)
    optimizer.grads = [None, np.float32([1, np.inf, *[3] * 31])]
    scaler.unscale_(optimizer)
    assert optimizer.grads[0] is None
    assert_same_bits(optimizer.grads[1], np.float32([0.5, np.inf, *[1.5] * 31]))


@ours
@pytest.mark.parametrize("call", ["unscale_", "step"])
def test_refused_gradients_count_for_nothing(make, call, backend):
    scaler, optimizer = backend.GradScaler(8.0), ready(make, "float32", "float32", backend)
    good, optimizer.grads = optimizer.grads, [np.ones((3, 7), np.float32), np.ones(3, np.float32)]
    with pytest.raises(ValueError, match=r"grads\[1\]"):
        getattr(scaler, call)(optimizer)
    assert_same_bits(optimizer.grads[0], np.ones((3, 7), np.float32))
    with refuses(RuntimeError, "GradScaler.update"):
        scaler.update()
    optimizer.grads = good
    assert scaler.step(optimizer)


# ------------------------------------------------------------------------------- others


@pytest.mark.parametrize("kind", [list, tuple, lambda grads: dict(enumerate(grads))])
def test_others_step_with_unscaled_gradients(kind, backend):
    grads = [np.float32([8, 16]), None, np.float32([[-8]])]
    optimizer = Foreign(kind(grads))
    assert backend.GradScaler(8.0).step(optimizer) is True
    assert len(optimizer.steps) == 1
    assert_same_bits(grads[0], np.float32([1, 2]))
    assert_same_bits(grads[2], np.float32([[-1]]))


def test_others_do_not_step_with_a_bad_gradient(backend):
    optimizer = foreign(1.0, np.nan)
    assert backend.GradScaler().step(optimizer) is False
    assert optimizer.steps == []


def test_gradients_are_found_in_groups_of_parameters():
    parts = [SimpleNamespace(grad=g) for g in (np.float32([8]), None, np.float32([16]))]
    groups = [{"params": parts[:2]}, {"params": parts[2:]}]
    optimizer = SimpleNamespace(param_groups=groups, step=lambda: None)
    assert GradScaler(8.0).step(optimizer) is True
    assert_same_bits(parts[0].grad, np.float32([1]))
    assert_same_bits(parts[2].grad, np.float32([2]))


@pytest.mark.parametrize("enabled", [True, False])
def test_arguments_of_step_pass_through(enabled):
    optimizer = foreign(1.0)
    assert GradScaler(enabled=enabled).step(optimizer, 1, closure=2) is True
    assert optimizer.steps == [((1,), {"closure": 2})]


@pytest.mark.parametrize("enabled", [True, False])
def test_error_of_a_step_passes_through(enabled):
    class Stuck(Foreign):
        def step(self):
            msg = "stuck"
            raise KeyError(msg)

    with pytest.raises(KeyError, match="stuck"):
        GradScaler(enabled=enabled).step(Stuck([np.ones(1, np.float32)]))


def test_step_again_after_an_error_unscales_no_second_time(backend):
    class Stuck(Foreign):
        def step(self, stuck):
            if stuck:
                msg = "stuck"
                raise KeyError(msg)

    scaler, optimizer = backend.GradScaler(8.0), Stuck([np.float32([8])])
    with pytest.raises(KeyError, match="stuck"):
        scaler.step(optimizer, stuck=True)
    assert scaler.step(optimizer, stuck=False)
    assert_same_bits(optimizer.grads[0], np.float32([1]))


# ------------------------------------------------------------------------------ disabled


def test_disabled_scaler_multiplies_by_nothing():
    scaler = GradScaler(8.0, enabled=False)
    x = [np.float16([1]), None, 3.0]
    scaled = scaler.scale(x)
    assert (scaled[0] is x[0], scaled[1:]) == (True, [None, 3.0])
    assert (scaler.get_scale(), scaler.is_enabled()) == (1.0, False)


@pytest.mark.parametrize("value", [1.0, np.inf])
def test_disabled_scaler_steps_whatever_the_gradients(value):
    scaler, optimizer = GradScaler(8.0, enabled=False), foreign(value)
    assert scaler.step(optimizer) is True
    assert len(optimizer.steps) == 1
    assert_same_bits(optimizer.grads[0], np.float32([value]))


@ours
def test_disabled_scaler_steps_ours_as_they_step_alone(make):
    one, two = (ready(make, "float16", "float16") for _ in range(2))
    assert GradScaler(8.0, enabled=False).step(one) is True
    two.step()
    assert_same_bits(one.params[0], two.params[0])
    assert_same_bits(one.params[1], two.params[1])


def test_disabled_scaler_knows_no_order():
    scaler, optimizer = GradScaler(enabled=False), foreign(4.0)
    scaler.update()
    scaler.unscale_(optimizer)
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.step(optimizer)
    scaler.unscale_(optimizer)
    scaler.update(4.0)
    assert_same_bits(optimizer.grads[0], np.float32([4.0]))
    assert (len(optimizer.steps), scaler.get_scale()) == (2, 1.0)


@pytest.mark.parametrize("state", [{}, {"scale": -1}, GradScaler(3.0).state_dict()], ids=str)
def test_disabled_scaler_has_no_state(state):
    scaler = GradScaler(enabled=False)
    scaler.load_state_dict(state)
    assert scaler.state_dict() == {}
    assert iterate(scaler, np.inf) == [True]
