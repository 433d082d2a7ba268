# SPDX-License-Identifier: Apache-2.0
"""Loss scaling asks CuPy for nothing that takes a kernel of CuPy's, and arguments fit a launch.

CuPy is a fake one here, whose kernels do nothing: what is computed does not matter.
"""

import functools
import sys

import numpy as np
import pytest

import halfbyte
from fake_cupy import FakeCupy
from halfbyte import arrays
from halfbyte.cuda import compile as compiler
from halfbyte.cuda import runtime
from optimizers import FULL, every_kind

MOST_BYTES = 4096  # of the arguments of a kernel, on every GPU
some_or_many = pytest.mark.parametrize("count", [3, 16, 30])


@pytest.fixture
def cupy(monkeypatch):
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setattr(arrays, "_library_of", lambda x: fake)
    monkeypatch.setattr(compiler, "cubin", lambda stem, defines, capability: stem)
    for name in ("_kernel", "_capability"):
        monkeypatch.setattr(runtime, name, functools.cache(getattr(runtime, name).__wrapped__))
    return fake


def ones(cupy, count, dtype):
    """Return arrays of several sizes, one without elements among them."""
    return [cupy.ndarray(np.ones((3, i), dtype), 0) for i in range(count)]


def largest(cupy):
    """Return how many bytes the arguments of a launch took, at most, padded to eight each."""
    return max(sum(-(-len(x) // 8) * 8 for x in packed) for *_, packed, _ in cupy.launches)


@some_or_many
def test_gradients_are_unscaled_and_clipped_without_waiting(count, cupy):
    grads = ones(cupy, count, np.float32)
    found = halfbyte.unscale(grads, 4.0)
    norm = halfbyte.clip_grad_norm(grads, 4.0)
    assert (found.host.dtype, found.host.shape) == (np.bool_, ())
    assert (norm.host.dtype, norm.host.shape) == (np.float64, ())
    assert cupy.waits == 0
    assert largest(cupy) <= MOST_BYTES


@every_kind
@some_or_many
def test_steps_are_launched_without_waiting(name, count, cupy):
    optimizer = getattr(halfbyte, name)(ones(cupy, count, np.float16), **FULL[name])
    scaler = halfbyte.GradScaler()
    scaler.scale([cupy.ndarray(np.ones(3, dtype), 0) for dtype in ("f2", "f4", "f8")])
    optimizer.grads = [None, *ones(cupy, count, np.float32)[1:]]
    assert scaler.step(optimizer).host.dtype == np.bool_
    scaler.update()
    optimizer.grads = ones(cupy, count, np.float16)
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update(2.0)
    optimizer.step()
    assert cupy.waits == 0
    assert largest(cupy) <= MOST_BYTES


@every_kind
def test_table_that_was_sent_is_not_sent_again(name, cupy):
    optimizer = getattr(halfbyte, name)(ones(cupy, 30, np.float32), **FULL[name])
    optimizer.grads = ones(cupy, 30, np.float32)
    optimizer.step()
    before = cupy.uploads
    optimizer.step()
    assert cupy.uploads == before


@every_kind
def test_states_are_saved_and_loaded(name, cupy):
    optimizer = getattr(halfbyte, name)(ones(cupy, 3, np.float16), **FULL[name])
    state = optimizer.state_dict()
    assert all(isinstance(x, cupy.ndarray) for entry in state["state"] for x in entry.values())
    optimizer.load_state_dict(state)


def test_optimizer_on_another_device_than_the_current_one_is_refused(cupy):
    optimizer = halfbyte.SGD(ones(cupy, 3, np.float32), 0.1)
    cupy.current = 1
    with pytest.raises(ValueError, match=r"^SGD.step: params\[0\] is on device 0"):
        optimizer.step()


@pytest.mark.parametrize(
    ("call", "function"),
    [
        (lambda optimizer: optimizer.state_dict(), "SGD.state_dict"),
        (lambda optimizer: optimizer.load_state_dict({}), "SGD.load_state_dict"),
        (lambda optimizer: setattr(optimizer, "momentum", 0.9), "SGD"),
    ],
    ids=["save", "load", "momentum"],
)
def test_nothing_is_changed_from_another_device(call, function, cupy):
    optimizer = halfbyte.SGD(ones(cupy, 3, np.float32), 0.1)
    cupy.current = 1
    with pytest.raises(ValueError, match=rf"^{function}: params\[0\] is on device 0"):
        call(optimizer)
    assert optimizer.momentum == 0


def test_number_on_a_gpu_is_refused_as_asking_for_it_would_wait(cupy):
    scale = cupy.ndarray(np.array(2, np.float32), 0)
    with pytest.raises(TypeError, match=r"^unscale: scale is a \S+ on a GPU; need a number"):
        halfbyte.unscale(ones(cupy, 3, np.float32), scale)


def test_scale_on_another_device_than_the_current_one_is_refused(cupy):
    scaler = halfbyte.GradScaler()
    scaler.scale(cupy.ndarray(np.ones(3, np.float32), 0))
    cupy.current = 1
    with pytest.raises(ValueError, match=r"^GradScaler.scale: the scale is on device 0"):
        scaler.scale(cupy.ndarray(np.ones(3, np.float32), 1))
