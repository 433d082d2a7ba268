# SPDX-License-Identifier: Apache-2.0
"""What loss scaling and optimizers do on a GPU beyond what the CPU's tests claim of both."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

import halfbyte
from assertions import assert_same_bits, refuses
from gradients import many_dimensions
from halfbyte.cuda import runtime
from halfbyte_reference import to_f16, unscale
from halfbyte_reference.inputs import floats, halves
from optimizers import FULL, every_kind, everything, full, some_grads
from scalers import Foreign
from strategies import laid_out

pytestmark = pytest.mark.usefixtures("nvrtc")


def upload(host):
    return runtime.upload(host)  # on a GPU, or what stands in for one


# ------------------------------------------------------------------------------ places


@pytest.mark.parametrize("function", ["unscale", "clip_grad_norm"])
def test_arrays_in_two_places_are_refused(function, device):
    with device.forced(), refuses(TypeError, function, "grads[2]", "one library"):
        getattr(halfbyte, function)([None, upload(floats(3, 1)), floats(3, 2)], 4.0)


def test_out_in_another_place_is_refused(device):
    with device.forced(), refuses(TypeError, "unscale", "out[0]"):
        halfbyte.unscale([upload(halves(3, 1))], 4.0, out=[floats(3, 2)])


@every_kind
def test_parameters_in_two_places_are_refused(name, device):
    with device.forced(), refuses(TypeError, name, "params[1]"):
        getattr(halfbyte, name)([floats(3, 1), upload(floats(3, 2))], 0.1)


@every_kind
def test_gradients_in_another_place_are_refused(name, device):
    with device.forced():
        optimizer = getattr(halfbyte, name)([upload(floats(3, 1))], 0.1)
        optimizer.grads = [floats(3, 2)]
        with refuses(TypeError, f"{name}.step", "grads[0]"):
            optimizer.step()


@every_kind
def test_gradient_that_is_a_master_is_refused(name, device):
    with device.forced():
        optimizer = getattr(halfbyte, name)([upload(halves(3, 1))], 0.1)
        optimizer.grads = [optimizer.master[0]]
        with refuses(ValueError, f"{name}.step", "master[0]", "grads[0]"):
            optimizer.step()


def test_float16_gradients_without_out_are_refused(device):
    with device.forced(), refuses(TypeError, "unscale", "grads[0]", "float16"):
        halfbyte.unscale([upload(halves(3, 1))], 4.0)


def test_results_that_overlap_are_refused(device):
    memory = np.zeros(9, np.float32)
    with refuses(ValueError, "unscale", "out[0]", "out[1]"):
        device.unscale([halves(5, 1), halves(5, 2)], 4.0, out=[memory[:5], memory[4:]])


# ------------------------------------------------------------------------------ lists


@pytest.mark.parametrize("make", [floats, halves])
def test_arrays_of_many_dimensions_are_unscaled(make, device):
    x, out = many_dimensions(make, 1), many_dimensions(floats, 2)
    device.unscale([x], 3.0, out=[out])
    assert_same_bits(out, unscale(x, 3.0), device)


@every_kind
def test_parameter_of_many_dimensions_is_stepped_once(name, device):
    p = many_dimensions(floats, 1)
    reference = getattr(halfbyte, name)([p.copy()], **FULL[name])
    ours = getattr(device, name)([p], **FULL[name])
    for seed in (1, 2):
        ours.grads = reference.grads = [floats(p.shape, [2, seed])]
        ours.step()
        reference.step()
    assert_same_bits(p, reference.params[0], device)


def far(device, values):
    """Put values on the device, the last row over 2^32 bytes after the first."""
    row = (2**32 // (len(values) - 1) // 16 + 16) * 16
    return device.device.spread(values, (row, values.itemsize))


@pytest.mark.parametrize("make", [floats, halves])
def test_rows_may_lie_more_than_four_gib_apart(make, device):
    x = make((3, 70), 1)
    g, out = far(device, x), far(device, floats((3, 70), 2))
    assert not device.unscale([g], 3.0, out=[out])
    assert_same_bits(device.device.gather(out), unscale(x, 3.0), device)


@every_kind
def test_rows_of_parameters_may_lie_more_than_four_gib_apart(name, device):
    reference = getattr(halfbyte, name)([floats((3, 70), 1)], **FULL[name])
    reference.grads = [floats((3, 70), 2)]
    reference.step()
    with device.forced():
        p = far(device, floats((3, 70), 1))
        ours = getattr(halfbyte, name)([p], **FULL[name])
        ours.grads = [far(device, floats((3, 70), 2))]
        ours.step()
    assert_same_bits(device.device.gather(p), reference.params[0], device)


@every_kind
@pytest.mark.parametrize("count", [16, 17])
def test_long_lists_are_stepped_with_new_gradients_and_with_the_same(name, count, device):
    params = [(halves if i % 2 else floats)(1 + 40 * i, [1, i]) for i in range(count)]
    reference = getattr(halfbyte, name)([p.copy() for p in params], **FULL[name])
    ours = getattr(device, name)(params, **FULL[name])
    for seed in (2, 2, 3):
        if seed == 3 or ours.grads[0] is None:
            grads = [None if i == 3 else floats(p.shape, [seed, i]) for i, p in enumerate(params)]
            ours.grads = reference.grads = grads
        ours.step()
        reference.step()
    assert everything(ours) == everything(reference)


# ------------------------------------------------------------------------------ results


def test_verdict_is_on_the_device(device):
    with device.forced():
        found = halfbyte.unscale([upload(np.float32([1, np.inf]))], 2.0)
        assert (found.dtype, found.shape) == (np.bool_, ())
        assert runtime.download(found)


def test_norm_is_on_the_device(device):
    with device.forced():
        norm = halfbyte.clip_grad_norm([upload(np.float32([3, 4]))], 1.0)
        assert_same_bits(runtime.download(norm), np.asarray(5.0))


@every_kind
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("bad", [False, True])
def test_whether_it_stepped_is_on_the_device(name, split, bad, device):
    with device.forced():
        optimizer = getattr(halfbyte, name)([upload(halves(3, 1))], 0.1)
        optimizer.grads = [upload(np.float16([1, 2, np.inf if bad else 3]))]
        scaler = halfbyte.GradScaler(4.0)
        if split:
            scaler.unscale_(optimizer)
        stepped = scaler.step(optimizer)
        assert (stepped.dtype, stepped.shape) == (np.bool_, ())
        assert runtime.download(stepped) == (not bad)


@every_kind
def test_step_without_gradients_is_one(name, device):
    optimizer, scaler = full(name, library=device), device.GradScaler(4.0, growth_interval=1)
    assert scaler.step(optimizer) is True
    scaler.update()
    assert scaler.get_scale() == 8.0


# ------------------------------------------------------------------------------ scale(x)


@pytest.mark.parametrize("layout", ["c", "sliced", "unaligned", "transposed"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("scale", [65536.0, 0.1, 2.0**-126])
def test_loss_has_the_bits_of_the_cpu(scale, dtype, layout, device):
    x = (halves if dtype == np.float16 else floats)((3, 5), 1, "nasty").astype(dtype)
    x = laid_out(x, layout)
    assert_same_bits(device.GradScaler(scale).scale(x), halfbyte.GradScaler(scale).scale(x), device)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (5000,)], ids=str)
def test_loss_may_be_of_any_shape(shape, dtype, device):
    x = np.full(shape, 3, dtype)
    assert_same_bits(device.GradScaler(8.0).scale(x), np.full(shape, 24, dtype), device)


def test_loss_of_integers_is_refused(device):
    with refuses(TypeError, "GradScaler.scale", "int32"):
        device.GradScaler().scale(np.ones(3, np.int32))


# ------------------------------------------------------------------------------ two places


def a_pair(name, device):
    """Return one optimizer on the device and one in the CPU's memory, after a step of each."""
    there, here = full(name, library=device), full(name)
    for optimizer in (there, here):
        optimizer.grads = some_grads(optimizer, 1)
        optimizer.step()
    return there, here


@every_kind
def test_state_of_a_device_is_that_of_the_cpu(name, device):
    there, here = a_pair(name, device)
    assert everything(there) == everything(here)


@every_kind
def test_state_goes_from_a_device_to_the_cpu(name, device):
    there, here = a_pair(name, device)
    with device.forced():
        state = there._optimizer.state_dict()
        here.load_state_dict(state)
    assert everything(there) == everything(here)


@every_kind
def test_state_on_a_device_is_a_copy(name, device):
    there, _ = a_pair(name, device)
    before = everything(there)
    with device.forced():
        state = there._optimizer.state_dict()["state"]
        for x in (x for entry in state for x in entry.values() if x is not None):
            runtime.assign(x, runtime.zeros(x.shape, x.dtype))
    assert everything(there) == before


@pytest.mark.parametrize("bad", ["there", "here", "neither"])
def test_verdicts_of_two_places_join(bad, device):
    scaler = device.GradScaler(8.0, growth_interval=1)
    there, here = full("SGD", library=device), full("SGD")
    for place, optimizer in (("there", there), ("here", here)):
        value = np.inf if place == bad else 1
        optimizer.grads = [None, np.full(33, value, np.float32)]
    assert scaler.step(there) is (bad != "there")
    with device.forced():
        assert scaler._scaler.step(here) is (bad != "here")
    scaler.update()
    assert scaler.get_scale() == (16.0 if bad == "neither" else 4.0)


def in_iteration(device, value=1.0):
    """Return a scaler on the device and an optimizer whose gradients it has unscaled."""
    scaler, optimizer = device.GradScaler(8.0, growth_interval=3), full("SGD", library=device)
    optimizer.grads = [None, np.full(33, value, np.float32)]
    scaler.unscale_(optimizer)
    return scaler, optimizer


def test_state_loaded_within_an_iteration_keeps_what_was_found(device):
    scaler, _ = in_iteration(device, np.inf)
    scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0, "_growth_tracker": 1})
    assert (scaler.get_scale(), scaler.state_dict()["_growth_tracker"]) == (2.0, 1)
    scaler.update()
    assert (scaler.get_scale(), scaler.state_dict()["_growth_tracker"]) == (1.0, 0)


def test_new_scale_forgets_what_was_found_and_keeps_the_counter(device):
    scaler, optimizer = in_iteration(device)
    scaler.update()
    optimizer.grads = [None, np.full(33, np.inf, np.float32)]
    scaler.step(optimizer)
    scaler.update(2.0)
    assert (scaler.get_scale(), scaler.state_dict()["_growth_tracker"]) == (2.0, 1)
    optimizer.grads = [None, np.full(33, 2, np.float32)]
    assert scaler.step(optimizer)
    scaler.update()
    assert (scaler.get_scale(), scaler.state_dict()["_growth_tracker"]) == (2.0, 2)


def test_scaler_on_a_device_is_pickled_and_goes_on(device):
    scaler, optimizer = in_iteration(device)
    scaler.update()
    again = pickle.loads(pickle.dumps(scaler))
    assert again.state_dict() == scaler.state_dict()
    for _ in range(2):
        optimizer.grads = [None, np.ones(33, np.float32)]
        again.step(optimizer)
        again.update()
    assert (again.get_scale(), scaler.get_scale()) == (16.0, 8.0)


def test_step_of_a_subclass_is_called_or_not(device):
    class Counting(halfbyte.SGD):
        steps = 0

        def step(self):
            self.steps += 1
            super().step()

    with device.forced():
        optimizer, scaler = Counting([upload(floats(3, 1))], 0.1), halfbyte.GradScaler(8.0)
        for value, stepped in ((1, True), (np.inf, False)):
            optimizer.grads = [upload(np.full(3, value, np.float32))]
            assert scaler.step(optimizer) is stepped
            scaler.update()
    assert optimizer.steps == 1


def test_gradients_of_others_are_found_in_groups_of_parameters(device):
    with device.forced():
        grads = [upload(np.float32([8, 16])), None, upload(np.float32([[-8]]))]
        parts = [SimpleNamespace(grad=g) for g in grads]
        groups = [{"params": parts[:2]}, {"params": parts[2:]}]
        optimizer = SimpleNamespace(param_groups=groups, step=lambda: None)
        assert halfbyte.GradScaler(8.0).step(optimizer) is True
        assert_same_bits(runtime.download(grads[0]), np.float32([1, 2]))


def test_float16_gradients_of_others_are_refused(device):
    with refuses(TypeError, "GradScaler.step", "grads[0]", "float16"):
        device.GradScaler(8.0).step(Foreign([np.float16([8])]))


# ------------------------------------------------------------------------------ small numbers


@every_kind
def test_numbers_below_the_normal_ones_are_kept_in_every_place(name, device):
    tiny = floats((4, 40), 1) * np.float32(2.0**-140)
    params = [tiny.copy(), to_f16(floats(50, 2) * np.float32(2.0**-20)), tiny[:, ::2].copy()]
    grads = [tiny[::-1].copy(), halves(50, 3) * np.float16(2.0**-14), tiny[:, 1::2].copy()]
    reference = getattr(halfbyte, name)([p.copy() for p in params], **FULL[name])
    ours = getattr(device, name)(params, **FULL[name])
    scaler, scaler_here = device.GradScaler(3.0), halfbyte.GradScaler(3.0)
    for _ in range(2):
        ours.grads = reference.grads = grads
        assert scaler.step(ours) is scaler_here.step(reference) is True
        for x in (scaler, scaler_here):
            x.update()
    assert everything(ours) == everything(reference)


def test_smallest_scale_and_its_reciprocal_are_kept(device):
    top = float(np.finfo(np.float32).max)
    scaler, optimizer = device.GradScaler(top), full("SGD", library=device)
    g = np.float32([top, 1.0, 2.0**-20] * 11)
    optimizer.grads = [None, g]
    scaler.unscale_(optimizer)
    assert_same_bits(g, unscale(np.float32([top, 1.0, 2.0**-20] * 11), top), device)
