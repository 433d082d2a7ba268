# SPDX-License-Identifier: Apache-2.0
"""Bad arguments of GradScaler are refused with what they need, and change nothing."""

from types import SimpleNamespace

import numpy as np
import pytest

import halfbyte
from assertions import assert_same_bits, refuses
from halfbyte import GradScaler
from halfbyte_reference.inputs import floats
from scalers import FLT_MAX, TINY, Foreign, foreign, iterate

HUGE = 10**400  # no float
NO_SCALES = [0, 0.0, -0.0, -1.0, np.nan, np.inf, -np.inf, 1e39, HUGE, 1e-46, np.float32(np.inf)]
NO_NUMBERS = ["2", None, 1j, [2.0], np.ones(1), True]
NO_INTEGERS = [2.0, "2", None, np.float32(2), [2]]
NO_GROWTHS = [1.0, 1, 0.5, 0.0, -2.0, np.nan, np.inf, HUGE]
NO_BACKOFFS = [1.0, 0.0, 0, 1, 1.5, -0.5, np.nan, np.inf, -np.inf]
NO_INTERVALS = [0, -1, -(10**30)]

SETTINGS = ("growth_factor", "backoff_factor", "growth_interval")


def short(number):
    """Return a test's name for a number."""
    return "huge" if number is HUGE else repr(number)


enabled_or_not = pytest.mark.parametrize("enabled", [True, False])


# ---------------------------------------------------------------------------- constructor


@enabled_or_not
@pytest.mark.parametrize("name", ["init_scale", "min_scale", "max_scale"])
@pytest.mark.parametrize("scale", NO_SCALES, ids=short)
def test_scale_that_is_not_positive_and_finite(name, scale, enabled):
    with refuses(ValueError, "GradScaler", name):
        GradScaler(**{name: scale}, enabled=enabled)


@enabled_or_not
@pytest.mark.parametrize(
    "name", ["init_scale", "min_scale", "max_scale", "growth_factor", "backoff_factor"]
)
@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_argument_that_is_no_number(name, value, enabled):
    with refuses(TypeError, "GradScaler", name, type(value).__name__):
        GradScaler(**{name: value}, enabled=enabled)


@enabled_or_not
@pytest.mark.parametrize(("low", "high"), [(9.0, FLT_MAX), (TINY, 7.0), (9.0, 7.0)])
def test_init_scale_outside_the_limits(low, high, enabled):
    with refuses(ValueError, "GradScaler"):
        GradScaler(8.0, min_scale=low, max_scale=high, enabled=enabled)


def test_min_scale_above_max_scale():
    with refuses(ValueError, "GradScaler", "min_scale", "max_scale"):
        GradScaler(8.0, min_scale=9.0, max_scale=7.0)


@pytest.mark.parametrize("scale", [2.0**-127, 2.0**-149, TINY * (1 - 2.0**-23)])
def test_min_scale_whose_reciprocal_may_overflow(scale):
    with refuses(ValueError, "GradScaler", "min_scale"):
        GradScaler(min_scale=scale)


@enabled_or_not
@pytest.mark.parametrize("factor", NO_GROWTHS, ids=short)
def test_growth_factor_that_does_not_grow(factor, enabled):
    with refuses(ValueError, "GradScaler", "growth_factor"):
        GradScaler(growth_factor=factor, enabled=enabled)


@enabled_or_not
@pytest.mark.parametrize("factor", NO_BACKOFFS)
def test_backoff_factor_that_is_not_between_0_and_1(factor, enabled):
    with refuses(ValueError, "GradScaler", "backoff_factor"):
        GradScaler(backoff_factor=factor, enabled=enabled)


@enabled_or_not
@pytest.mark.parametrize("interval", NO_INTERVALS)
def test_growth_interval_below_1(interval, enabled):
    with refuses(ValueError, "GradScaler", "growth_interval"):
        GradScaler(growth_interval=interval, enabled=enabled)


@enabled_or_not
@pytest.mark.parametrize("interval", NO_INTEGERS, ids=repr)
def test_growth_interval_that_is_no_integer(interval, enabled):
    with refuses(TypeError, "GradScaler", "growth_interval", type(interval).__name__):
        GradScaler(growth_interval=interval, enabled=enabled)


@pytest.mark.parametrize("enabled", [1, 0, None, "yes", 1.0], ids=repr)
def test_enabled_that_is_no_bool(enabled):
    with refuses(TypeError, "GradScaler", "enabled", type(enabled).__name__):
        GradScaler(enabled=enabled)


# --------------------------------------------------------------------------------- setters

BAD_SETTINGS = [
    *(("growth_factor", ValueError, x) for x in (1.0, 0.5, np.nan, np.inf)),
    *(("backoff_factor", ValueError, x) for x in (1.0, 0.0, -0.5, np.nan)),
    *(("growth_interval", ValueError, x) for x in (0, -1)),
    *((name, TypeError, x) for name in SETTINGS for x in ("2", None, [2])),
    ("growth_interval", TypeError, 2.0),
]


@pytest.mark.parametrize(("name", "kind", "value"), BAD_SETTINGS)
def test_setting_out_of_range(name, kind, value):
    scaler = GradScaler()
    before = scaler.state_dict()
    with refuses(kind, f"GradScaler.set_{name}"):
        getattr(scaler, f"set_{name}")(value)
    assert scaler.state_dict() == before


# ---------------------------------------------------------------------------------- update


@pytest.mark.parametrize("scale", [0, -1.0, np.nan, np.inf, 1e39, 3.9, 16.1, np.float32(17)])
def test_new_scale_out_of_range(scale):
    scaler = GradScaler(8.0, min_scale=4.0, max_scale=16.0)
    with refuses(ValueError, "GradScaler.update", "new_scale"):
        scaler.update(scale)
    assert scaler.get_scale() == 8.0


@pytest.mark.parametrize("scale", ["2", 1j, [2.0], np.ones(1), True], ids=repr)
def test_new_scale_that_is_no_number(scale):
    scaler = GradScaler()
    with refuses(TypeError, "GradScaler.update", "new_scale", type(scale).__name__):
        scaler.update(scale)
    assert scaler.get_scale() == 65536.0


def test_refused_new_scale_ends_no_iteration():
    scaler, optimizer = GradScaler(8.0), foreign(np.inf)
    scaler.unscale_(optimizer)
    with refuses(ValueError, "GradScaler.update", "new_scale"):
        scaler.update(-1.0)
    with refuses(RuntimeError, "GradScaler.unscale_", "update"):
        scaler.unscale_(optimizer)
    scaler.update()
    assert scaler.get_scale() == 4.0


# ----------------------------------------------------------------------------------- state

STATE = GradScaler(3.0).state_dict()
BAD_STATES = [
    *(("scale", ValueError, x) for x in (0.0, -1.0, np.nan, -np.inf)),
    *(("growth_factor", ValueError, x) for x in (1.0, np.nan, np.inf)),
    *(("backoff_factor", ValueError, x) for x in (1.0, 0.0, np.nan)),
    *(("growth_interval", ValueError, x) for x in (0, -1)),
    *(("_growth_tracker", ValueError, x) for x in (-1, -(10**30))),
    *((name, TypeError, x) for name in STATE for x in ("2", None, [2])),
    *((name, TypeError, 2.0) for name in ("growth_interval", "_growth_tracker")),
]


@pytest.mark.parametrize(("name", "kind", "value"), BAD_STATES)
def test_state_out_of_range(name, kind, value):
    scaler = GradScaler()
    before = scaler.state_dict()
    with refuses(kind, "GradScaler.load_state_dict", name):
        scaler.load_state_dict(STATE | {name: value})
    assert scaler.state_dict() == before


@pytest.mark.parametrize("name", STATE)
def test_state_with_a_missing_key(name):
    scaler = GradScaler()
    state = {key: value for key, value in STATE.items() if key != name}
    with refuses(ValueError, "GradScaler.load_state_dict", name):
        scaler.load_state_dict(state)
    assert scaler.get_scale() == 65536.0


def test_state_with_an_unknown_key():
    scaler = GradScaler()
    with refuses(ValueError, "GradScaler.load_state_dict", "rate"):
        scaler.load_state_dict(STATE | {"rate": 1.0})
    assert scaler.get_scale() == 65536.0


def test_state_of_a_disabled_scaler():
    with refuses(ValueError, "GradScaler.load_state_dict", "is empty", "not enabled", "scale"):
        GradScaler().load_state_dict(GradScaler(enabled=False).state_dict())


@pytest.mark.parametrize("state", [None, 3, [1.0], "scale"], ids=repr)
def test_state_that_is_no_dict(state):
    with refuses(TypeError, "GradScaler.load_state_dict", type(state).__name__):
        GradScaler().load_state_dict(state)


# ----------------------------------------------------------------------------------- scale

NO_OUTPUTS = [
    *(np.ones(2, dtype) for dtype in ("int32", "int64", "uint8", "bool", "complex64", "object")),
    *("1", 1j, {1.0}, len),
]


@pytest.mark.parametrize(
    "kind", [lambda x: x, lambda x: [1.0, x], lambda x: {"loss": x}], ids=["alone", "list", "dict"]
)
@pytest.mark.parametrize("x", NO_OUTPUTS, ids=lambda x: str(getattr(x, "dtype", type(x).__name__)))
def test_output_that_is_no_number_of_floating_point(x, kind):
    with refuses(TypeError, "GradScaler.scale", str(getattr(x, "dtype", type(x).__name__))):
        GradScaler().scale(kind(x))


def test_masked_array():
    with refuses(TypeError, "GradScaler.scale", "MaskedArray"):
        GradScaler().scale(np.ma.masked_array(np.ones(2, np.float32)))


def test_array_of_swapped_bytes():
    swapped = np.ones(2, np.dtype(np.float32).newbyteorder("S"))
    with refuses(TypeError, "GradScaler.scale", swapped.dtype.str):
        GradScaler().scale(swapped)


@pytest.mark.parametrize("sign", [1, -1])
def test_output_beyond_every_float(sign):
    with refuses(ValueError, "GradScaler.scale", "outputs"):
        GradScaler().scale(sign * HUGE)


# -------------------------------------------------------------------------------- attributes


@pytest.mark.parametrize("attribute", ["growth_factor", "growth", "loss_scale"])
def test_attribute_that_does_not_exist(attribute):
    scaler = GradScaler()
    with refuses(AttributeError, "GradScaler", attribute, "set_growth_factor()", "update"):
        setattr(scaler, attribute, 3.0)
    assert not hasattr(scaler, attribute)


# -------------------------------------------------------------------------------- optimizers


@pytest.mark.parametrize("call", ["unscale_", "step"])
@pytest.mark.parametrize("name", ["list", "tuple", "dict"])
def test_float16_gradients_of_others(call, name):
    grads = [np.ones(3, np.float32), np.ones(3, np.float16)]
    kept = {"list": grads, "tuple": tuple(grads), "dict": {0: grads[0], 1: grads[1]}}[name]
    scaler, optimizer = GradScaler(), Foreign(kept)
    with refuses(TypeError, f"GradScaler.{call}", "float16", "master weights", "grads[1]"):
        getattr(scaler, call)(optimizer)
    assert_same_bits(grads[0], np.ones(3, np.float32))
    assert optimizer.steps == []
    assert iterate(scaler, 1.0) == [True]


@pytest.mark.parametrize("dtype", ["float64", "int32", "complex64"])
def test_gradients_of_others_of_another_dtype(dtype):
    with refuses(TypeError, "GradScaler.step", "grads[0]", dtype):
        GradScaler().step(Foreign([np.ones(3, dtype)]))


@pytest.mark.parametrize(
    "optimizer",
    [None, 3, SimpleNamespace(), SimpleNamespace(step=lambda: None), SimpleNamespace(grads=[])],
    ids=["None", "int", "nothing", "only step", "only grads"],
)
def test_object_that_is_no_optimizer(optimizer):
    with refuses(TypeError, "GradScaler.step", type(optimizer).__name__):
        GradScaler().step(optimizer)


@pytest.mark.parametrize("grads", [3, "ab", np.ones(3, np.float32), None], ids=repr)
def test_gradients_that_are_no_container(grads):
    with refuses(TypeError, "GradScaler.step", "grads"):
        GradScaler().step(Foreign(grads))


@enabled_or_not
def test_our_steps_take_no_arguments(enabled):
    params = [floats(3, 1)]
    optimizer, before = halfbyte.SGD(params, 0.1), params[0].copy()
    optimizer.grads = [np.ones(3, np.float32)]
    scaler = GradScaler(enabled=enabled)
    with pytest.raises(TypeError, match="arguments"):
        scaler.step(optimizer, 1)
    assert_same_bits(params[0], before)
    assert scaler.step(optimizer)
