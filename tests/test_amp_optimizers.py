# SPDX-License-Identifier: Apache-2.0
"""SGD, Adam and AdamW have the reference's bits, step after step, fused with unscaling or not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference
from assertions import assert_only_elements_change, assert_same_bits
from backends import threads, without
from gradients import small_shapes
from halfbyte.cpu import amp as amp_host
from halfbyte_reference.amp import unscale
from halfbyte_reference.inputs import LAYOUTS, far_rows, floats, halves, strided
from optimizers import (
    FULL,
    assert_same_training,
    every_kind,
    everything,
    full,
    some_grads,
    started,
    step_both,
    trainings,
)
from strategies import thread_counts

loss_scales = st.sampled_from((1024.0, 3.0, 0.1, 65536.0, 2.0**-20, 2.0**100))
writeable = pytest.mark.parametrize("layout", [x for x in LAYOUTS if x != "broadcast"])


of_the_cpu = without("ptx", "cuda", reason="it is the CPU's")


def train(training, ours, reference, where):
    """Take all steps with both, and claim equal bits after each."""
    for number in range(len(training.steps)):
        step_both(training, number, ours, reference, where)


# ------------------------------------------------------------------------------ the reference


@every_kind
@given(data=st.data())
def test_steps_have_the_bits_of_the_reference(name, data, backend):
    training = data.draw(trainings(name))
    with backend.forced():
        train(training, *started(training, training.params, backend), backend)


def test_decay_is_rounded_once(backend):
    # float32(0.09) taken from 1 and rounded again is another number.
    optimizer = backend.AdamW([np.ones(1, np.float32)], lr=0.1, weight_decay=0.9)
    optimizer.grads = [np.zeros(1, np.float32)]
    with backend.forced():
        optimizer.step()
    assert_same_bits(optimizer.params[0], np.float32([1 - 0.1 * 0.9]), backend)


@of_the_cpu
@every_kind
@given(data=st.data(), count=thread_counts)
def test_thread_count_changes_no_bit(name, data, count, backend):
    training = data.draw(trainings(name, steps=(1, 2)))
    with backend.forced(), threads(count), pytest.MonkeyPatch.context() as patch:
        # Threads that cost nothing, or the arrays here would stay on the calling one.
        patch.setattr(amp_host, "_THREADED", 1)
        train(training, *started(training, training.params, backend), backend)


@of_the_cpu
@every_kind
@pytest.mark.parametrize("count", [1, 2, 3])
def test_large_parameters_have_the_bits_of_the_reference_on_threads(name, count, backend):
    params = [halves(2**18 + 70_001, 1), floats((3, 70_000), 2, "wide")]
    reference = getattr(halfbyte_reference, name)(params, **FULL[name])
    ours = getattr(backend, name)(params, **FULL[name])
    grads = [floats(params[0].shape, 3), halves(params[1].shape, 4)]
    ours.grads = grads
    with backend.forced(), threads(count):
        ours.step()
    reference.step(grads)
    assert_same_training(ours, reference, backend)


@of_the_cpu
@every_kind
def test_rows_may_lie_more_than_two_gib_apart(name, backend):
    p, g = floats((3, 70), 1), floats((3, 70), 2)
    ours = getattr(backend, name)([far_rows(p)], **FULL[name])
    reference = getattr(halfbyte_reference, name)([p], **FULL[name])
    ours.grads = [far_rows(g)]
    with backend.forced():
        ours.step()
    reference.step([g])
    assert_same_training(ours, reference, backend)


@every_kind
@writeable
@pytest.mark.parametrize("make", [floats, halves])
def test_bytes_between_elements_of_a_parameter_stay(name, make, layout, backend):
    p = strided(make((33, 35), 1), layout)
    optimizer = getattr(backend, name)([p], **FULL[name])
    optimizer.grads = [floats((33, 35), 2)]
    with backend.forced():
        assert_only_elements_change(p, optimizer.step)


@every_kind
def test_step_leaves_gradients_as_they_are(name, backend):
    optimizer = full(name, library=backend)
    grads = [halves((3, 5), 1), floats(33, 2)]
    optimizer.grads = held = list(grads)
    with backend.forced():
        optimizer.step()
    assert optimizer.grads is held
    assert [g is before for g, before in zip(held, grads, strict=True)] == [True, True]
    assert_same_bits(grads[0], halves((3, 5), 1), backend)
    assert_same_bits(grads[1], floats(33, 2), backend)


@every_kind
def test_parameter_without_a_gradient_is_not_written(name, backend):
    # Its own values, which the rounded master no longer is, show it.
    optimizer = full(name, library=backend)
    optimizer.params[0][...] = 7
    before = everything(optimizer)
    optimizer.grads = [None, None]
    with backend.forced():
        optimizer.step()
    assert everything(optimizer) == before


@every_kind
def test_first_gradient_may_come_later(name, backend):
    optimizer = full(name, library=backend)
    reference = getattr(halfbyte_reference, name)(optimizer.params, **FULL[name])
    first, then = some_grads(optimizer, 2), some_grads(optimizer, 3)
    with backend.forced():
        for grads in ([None, first[1]], then):
            optimizer.grads = grads
            optimizer.step()
            reference.step(grads)
    assert_same_training(optimizer, reference, backend)


@every_kind
@pytest.mark.parametrize("container", [list, tuple])
def test_gradients_may_be_a_list_or_a_tuple(name, container, backend):
    optimizer, other = full(name, library=backend), full(name, library=backend)
    with backend.forced():
        for x in (optimizer, other):
            x.grads = some_grads(x, 2)
        other.grads = container(other.grads)
        optimizer.step()
        other.step()
    assert everything(optimizer) == everything(other)


# ------------------------------------------------------------------------------ with a scaler


@every_kind
@given(data=st.data(), scale=loss_scales)
def test_fused_step_has_the_bits_of_the_reference_on_unscaled_gradients(name, data, scale, backend):
    training = data.draw(trainings(name, small_shapes, ("normal",)))
    ours, reference = started(training, training.params, backend)
    scaler = backend.GradScaler(scale)
    with backend.forced():
        for number in range(len(training.steps)):
            ours.grads = training.grads(number, scale)
            unscaled = [g if g is None else unscale(g, scale) for g in ours.grads]
            good = all(g is None or np.isfinite(g).all() for g in unscaled)
            assert scaler.step(ours) == good
            if good:
                reference.step(unscaled)
            assert_same_training(ours, reference, f"{backend}, step {number}")
            scaler.update(scale)


@every_kind
@given(data=st.data(), scale=loss_scales)
def test_fused_step_has_the_bits_of_unscaling_first(name, data, scale, backend):
    training = data.draw(trainings(name, steps=(1, 1)))
    fused, _ = started(training, training.params, backend)
    split, _ = started(training, training.params, backend)
    scaler = backend.GradScaler(scale)
    fused.grads, split.grads = training.grads(0, scale), training.grads(0, scale)
    # What unscale_ replaces in place must not be read-only.
    split.grads = [g if g is None else g.copy() for g in split.grads]
    with backend.forced():
        stepped = scaler.step(fused)
        scaler.unscale_(split)
        assert scaler.step(split) == stepped
    assert everything(fused) == everything(split)


@every_kind
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("split", [False, True])
def test_skipped_step_changes_nothing(name, bad, split, backend):
    optimizer, scaler = full(name, library=backend), backend.GradScaler(4.0)
    optimizer.grads = some_grads(optimizer, 2)
    with backend.forced():
        optimizer.step()
        before = everything(optimizer)
        optimizer.grads = some_grads(optimizer, 3)
        optimizer.grads[1][32] = bad
        if split:
            scaler.unscale_(optimizer)
        assert scaler.step(optimizer) is False
    assert everything(optimizer) == before


@every_kind
def test_fused_step_leaves_gradients_scaled(name, backend):
    optimizer, scaler = full(name, library=backend), backend.GradScaler(4.0)
    grads = [halves((3, 5), 1), floats(33, 2)]
    optimizer.grads = held = list(grads)
    with backend.forced():
        assert scaler.step(optimizer) is True
    assert optimizer.grads is held
    assert [g is before for g, before in zip(held, grads, strict=True)] == [True, True]
    assert_same_bits(grads[0], halves((3, 5), 1), backend)
    assert_same_bits(grads[1], floats(33, 2), backend)


@every_kind
def test_unscale_replaces_halves_and_divides_floats_in_place(name, backend):
    optimizer, scaler = full(name, library=backend), backend.GradScaler(4.0)
    half, single = halves((3, 5), 1), floats(33, 2)
    optimizer.grads = [half, single]
    with backend.forced():
        scaler.unscale_(optimizer)
    assert_same_bits(optimizer.grads[0], unscale(halves((3, 5), 1), 4.0), backend)
    assert_same_bits(optimizer.grads[1], unscale(floats(33, 2), 4.0), backend)
    assert optimizer.grads[1] is single
    assert_same_bits(half, halves((3, 5), 1), backend)
