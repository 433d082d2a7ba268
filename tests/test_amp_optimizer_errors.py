# SPDX-License-Identifier: Apache-2.0
"""What an optimizer cannot take is refused and changes nothing."""

import numpy as np
import pytest

import halfbyte
from assertions import refuses
from halfbyte import GradScaler
from halfbyte_reference.inputs import floats
from optimizers import FULL, NAMES, every_kind, everything, full, in_training

NUMBERS = [(name, number) for name in NAMES for number in FULL[name] if number not in
           ("betas", "nesterov")]  # fmt: skip
every_number = pytest.mark.parametrize(("name", "number"), NUMBERS)
adams = pytest.mark.parametrize("name", ["Adam", "AdamW"])


def make(name, params, **hyperparameters):
    """Return a new optimizer; SGD needs a learning rate."""
    return getattr(halfbyte, name)(params, **{"lr": 0.1} | hyperparameters)


# ------------------------------------------------------------------------------ parameters


@every_kind
@pytest.mark.parametrize("container", [list, tuple])
def test_no_parameters_are_refused(name, container):
    with refuses(ValueError, name, "params"):
        make(name, container())


@every_kind
@pytest.mark.parametrize(
    "params", [None, "ab", 1.0, floats(3, 1), {"w": floats(3, 1)}, iter([floats(3, 1)])],
    ids=lambda x: type(x).__name__,
)  # fmt: skip
def test_parameters_in_no_list_are_refused(name, params):
    with refuses(TypeError, name, "params", type(params).__name__):
        make(name, params)


@every_kind
@pytest.mark.parametrize("dtype", ["float64", "int8", "int32", "bool", "complex64", ">f4"])
def test_parameter_of_another_dtype_is_refused(name, dtype):
    with refuses(TypeError, name, "params[1]", dtype, "float32", "float16"):
        make(name, [floats(3, 1), np.zeros(3, dtype)])


@every_kind
@pytest.mark.parametrize("entry", [None, 1.0, [1.0], np.float32(1)], ids=repr)
def test_parameter_that_is_no_array_is_refused(name, entry):
    with refuses(TypeError, name, "params"):
        make(name, [floats(3, 1), entry])


@every_kind
def test_parameter_of_another_library_is_refused(name, torch):
    with refuses(TypeError, name, "params[1]", "torch", "numpy"):
        make(name, [floats(3, 1), torch.zeros(3)])


@every_kind
def test_read_only_parameter_is_refused(name):
    p = floats(3, 1)
    p.flags.writeable = False
    with refuses(ValueError, name, "params[1]", "read-only"):
        make(name, [floats(3, 1), p])


@every_kind
def test_parameter_that_overlaps_itself_is_refused(name):
    p = np.lib.stride_tricks.as_strided(np.zeros(3, np.float32), (3, 2), (4, 4))
    with refuses(ValueError, name, "params[1]"):
        make(name, [floats(3, 1), p])


@every_kind
def test_parameters_that_share_bytes_are_refused(name):
    memory = floats(9, 1)
    with refuses(ValueError, name, "params[0]", "params[2]"):
        make(name, [memory[:5], floats(3, 1), memory[4:]])


# ------------------------------------------------------------------------------ hyperparameters


@every_number
@pytest.mark.parametrize(
    "value", [-1, -1e-300, np.nan, np.inf, -np.inf, 10**400], ids=lambda x: str(x)[:9]
)
def test_hyperparameter_out_of_range_is_refused(name, number, value):
    with refuses(ValueError, name, number):
        make(name, [floats(3, 1)], **{number: value})


@every_number
@pytest.mark.parametrize("value", ["0.1", None, True, 1j, [0.1], np.zeros(3)], ids=repr)
def test_hyperparameter_that_is_no_number_is_refused(name, number, value):
    with refuses(TypeError, name, number):
        make(name, [floats(3, 1)], **{number: value})


@every_number
@pytest.mark.parametrize(
    ("value", "kind"), [(-1.0, ValueError), (np.nan, ValueError), ("x", TypeError)]
)
def test_hyperparameter_set_to_what_is_refused_stays(name, number, value, kind):
    optimizer = full(name)
    with pytest.raises(kind, match=rf"^{name}\b.*\b{number}\b"):
        setattr(optimizer, number, value)
    assert getattr(optimizer, number) == FULL[name][number]


@every_kind
@pytest.mark.parametrize("attribute", ["grad", "lrate", "parameters"])
def test_attribute_that_does_not_exist_cannot_be_set(name, attribute):
    optimizer = full(name)
    with refuses(AttributeError, name, attribute, "grads", *FULL[name]):
        setattr(optimizer, attribute, [None, None])
    assert not hasattr(optimizer, attribute)


@every_kind
def test_derived_class_may_have_attributes_of_its_own(name):
    derived = type("Derived", (getattr(halfbyte, name),), {"__module__": __name__})
    optimizer = derived([floats(3, 1)], lr=0.1)
    optimizer.epoch = 3
    assert optimizer.epoch == 3


@every_kind
def test_step_may_be_wrapped(name):
    optimizer, calls = full(name), []
    optimizer.step = lambda: calls.append("step")
    GradScaler(enabled=False).step(optimizer)
    assert calls == ["step"]


@adams
@pytest.mark.parametrize(
    "betas", [(1.0, 0.9), (0.9, 1), (-0.1, 0.9), (0.9, np.nan), (0.9, np.inf), (0.9,), (0.9,) * 3],
    ids=str,
)  # fmt: skip
def test_betas_out_of_range_are_refused(name, betas):
    with refuses(ValueError, name, "betas"):
        make(name, [floats(3, 1)], betas=betas)


@adams
@pytest.mark.parametrize(
    "betas", [0.9, None, "ab", ("0.9", 0.9), (0.9, None), (True, 0.9)], ids=repr
)
def test_betas_that_are_no_two_numbers_are_refused(name, betas):
    with refuses(TypeError, name, "betas"):
        make(name, [floats(3, 1)], betas=betas)


@adams
def test_betas_set_to_what_is_refused_stay(name):
    optimizer = full(name)
    with pytest.raises(ValueError, match=rf"^{name}\b.*\bbetas\b"):
        optimizer.betas = (0.9, 1.0)
    assert optimizer.betas == FULL[name]["betas"]


def test_nesterov_without_momentum_is_refused():
    with refuses(ValueError, "SGD", "nesterov", "momentum"):
        halfbyte.SGD([floats(3, 1)], 0.1, nesterov=True)


@pytest.mark.parametrize("nesterov", [1, None, "yes"], ids=repr)
def test_nesterov_that_is_no_bool_is_refused(nesterov):
    with refuses(TypeError, "SGD", "nesterov", type(nesterov).__name__):
        halfbyte.SGD([floats(3, 1)], 0.1, momentum=0.9, nesterov=nesterov)


def test_nesterov_is_not_set_without_momentum():
    optimizer = halfbyte.SGD([floats(3, 1)], 0.1)
    with pytest.raises(ValueError, match="momentum"):
        optimizer.nesterov = True
    assert optimizer.nesterov is False


def test_momentum_is_not_taken_from_nesterov():
    optimizer = full("SGD")
    with pytest.raises(ValueError, match="nesterov"):
        optimizer.momentum = 0
    assert optimizer.momentum == 0.9


# ------------------------------------------------------------------------------ gradients


@every_kind
@pytest.mark.parametrize(
    "grads", [None, 1.0, floats(2, 1), {}, iter([])], ids=lambda x: type(x).__name__
)
def test_gradients_in_no_list_are_refused(name, grads):
    optimizer, _, before = in_training(name)
    optimizer.grads = grads
    with refuses(TypeError, f"{name}.step", "grads", type(grads).__name__):
        optimizer.step()
    assert everything(optimizer) == before


@every_kind
@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_gradients_is_refused(name, count):
    optimizer, grads, before = in_training(name)
    optimizer.grads = [*grads, None][:count]
    with refuses(ValueError, f"{name}.step", "grads", str(count), "2"):
        optimizer.step()
    assert everything(optimizer) == before


@every_kind
@pytest.mark.parametrize("dtype", ["float64", "int32", "bool", ">f4"])
def test_gradient_of_another_dtype_is_refused(name, dtype):
    optimizer, grads, before = in_training(name)
    optimizer.grads = [grads[0], np.zeros(33, dtype)]
    with refuses(TypeError, f"{name}.step", "grads[1]", dtype, "float32", "float16"):
        optimizer.step()
    assert everything(optimizer) == before


@every_kind
@pytest.mark.parametrize("entry", [1.0, [1.0] * 33, "ab"], ids=lambda x: type(x).__name__)
def test_gradient_that_is_no_array_is_refused(name, entry):
    optimizer, grads, before = in_training(name)
    optimizer.grads = [grads[0], entry]
    with refuses(TypeError, f"{name}.step", "grads[1]", type(entry).__name__):
        optimizer.step()
    assert everything(optimizer) == before


@every_kind
@pytest.mark.parametrize("shape", [(32,), (33, 1), (1, 33), (), (0,)], ids=str)
def test_gradient_of_another_shape_is_refused(name, shape):
    optimizer, grads, before = in_training(name)
    optimizer.grads = [grads[0], np.zeros(shape, np.float32)]
    with refuses(ValueError, f"{name}.step", "grads[1]", str(shape), "(33,)"):
        optimizer.step()
    assert everything(optimizer) == before


@every_kind
def test_gradient_of_another_library_is_refused(name, torch):
    optimizer, grads, before = in_training(name)
    optimizer.grads = [grads[0], torch.zeros(33)]
    with refuses(TypeError, f"{name}.step", "grads[1]", "torch", "numpy"):
        optimizer.step()
    assert everything(optimizer) == before


@every_kind
@pytest.mark.parametrize("number", [0, 1])
def test_gradient_that_is_a_parameter_or_a_master_is_refused(name, number):
    optimizer, grads, before = in_training(name)
    grads[number] = optimizer.master[number]
    optimizer.grads = grads
    with refuses(ValueError, f"{name}.step", f"grads[{number}]"):
        optimizer.step()
    assert everything(optimizer) == before


@every_kind
def test_gradient_that_shares_bytes_with_another_parameter_is_refused(name):
    memory = floats(12, 1)
    optimizer = make(name, [memory[:5], floats(7, 2)])
    before = everything(optimizer)
    optimizer.grads = [floats(5, 3), memory[4:11]]
    with refuses(ValueError, f"{name}.step", "grads[1]", "params[0]"):
        optimizer.step()
    assert everything(optimizer) == before


@every_kind
@pytest.mark.parametrize("number", [0, 1])
def test_parameter_that_became_read_only_is_refused(name, number):
    optimizer, grads, before = in_training(name)
    optimizer.params[number].flags.writeable = False
    optimizer.grads = grads
    with refuses(ValueError, f"{name}.step", f"params[{number}]", "read-only"):
        optimizer.step()
    assert everything(optimizer) == before


@every_kind
def test_one_gradient_may_serve_two_parameters(name):
    optimizer = make(name, [floats(5, 1), floats(5, 2)])
    optimizer.grads = [floats(5, 3)] * 2
    optimizer.step()


@every_kind
@pytest.mark.parametrize("method", ["unscale_", "step"])
def test_scaler_refuses_what_step_refuses(name, method):
    optimizer, grads, before = in_training(name)
    optimizer.grads = [grads[0], grads[1][:32]]
    first = grads[0].copy()
    with pytest.raises(ValueError, match=r"grads\[1\]"):
        getattr(halfbyte.GradScaler(4.0), method)(optimizer)
    assert everything(optimizer) == before
    assert grads[0].tobytes() == first.tobytes()
