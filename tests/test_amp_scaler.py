# SPDX-License-Identifier: Apache-2.0
"""GradScaler raises and lowers its scale by rule 13, to the ends, and multiplies by it."""

from collections import namedtuple

import numpy as np
import pytest

from assertions import assert_same_bits
from halfbyte import GradScaler
from halfbyte_reference.inputs import LAYOUTS, floats, halves
from scalers import FLT_MAX, TINY, foreign, iterate, tracker
from strategies import laid_out

# ------------------------------------------------------------------------------ the rule


def test_scale_is_65536_at_first():
    assert GradScaler().get_scale() == 65536.0


def test_default_scale_doubles_after_2000_good_iterations_and_halves_after_a_bad_one():
    scaler = GradScaler()
    scaler.load_state_dict(scaler.state_dict() | {"_growth_tracker": 1999})
    iterate(scaler, 1.0)
    assert scaler.get_scale() == 131072.0
    iterate(scaler, np.inf)
    assert scaler.get_scale() == 65536.0


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_bad_gradient_lowers_the_scale_and_starts_the_counter_again(bad):
    scaler = GradScaler(8.0, growth_interval=3)
    iterate(scaler, 1.0)
    iterate(scaler, bad)
    assert (scaler.get_scale(), tracker(scaler)) == (4.0, 0)


def test_good_iterations_raise_the_scale_once_an_interval():
    scaler = GradScaler(8.0, growth_interval=3)
    scales = []
    for _ in range(7):
        iterate(scaler, 1.0)
        scales.append(scaler.get_scale())
    assert scales == [8.0, 8.0, 16.0, 16.0, 16.0, 32.0, 32.0]


def test_interval_lowered_below_the_counter_still_grows():
    scaler = GradScaler(8.0, growth_interval=100)
    for _ in range(5):
        iterate(scaler, 1.0)
    scaler.set_growth_interval(3)
    iterate(scaler, 1.0)
    assert (scaler.get_scale(), tracker(scaler)) == (16.0, 0)


def test_counter_loaded_beyond_the_interval_still_grows():
    scaler = GradScaler(8.0)
    scaler.load_state_dict(scaler.state_dict() | {"growth_interval": 3, "_growth_tracker": 5})
    iterate(scaler, 1.0)
    assert (scaler.get_scale(), tracker(scaler)) == (16.0, 0)


@pytest.mark.parametrize("factor", [1.1, 4 / 3, 1 + 2.0**-24 + 2.0**-52, 2.5])
def test_growth_multiplies_in_float64_and_rounds_once(factor):
    scaler = GradScaler(0.1, growth_factor=factor, growth_interval=1)
    iterate(scaler, 1.0)
    assert scaler.get_scale() == float(np.float32(np.float64(np.float32(0.1)) * factor))


@pytest.mark.parametrize("factor", [0.1, 2 / 3, 1 - 2.0**-25 - 2.0**-53, 0.9])
def test_backoff_multiplies_in_float64_and_rounds_once(factor):
    scaler = GradScaler(0.1, backoff_factor=factor)
    iterate(scaler, np.inf)
    assert scaler.get_scale() == float(np.float32(np.float64(np.float32(0.1)) * factor))


def test_several_optimizers_share_the_verdict():
    scaler = GradScaler(8.0)
    assert iterate(scaler, 1.0, np.inf, 1.0) == [True, False, True]
    assert scaler.get_scale() == 4.0


def test_one_update_lowers_the_scale_once():
    scaler = GradScaler(8.0)
    assert iterate(scaler, np.inf, np.nan) == [False, False]
    assert scaler.get_scale() == 4.0


def test_one_update_counts_once():
    scaler = GradScaler()
    iterate(scaler, 1.0, 1.0, 1.0)
    assert tracker(scaler) == 1


def test_verdict_of_an_optimizer_that_was_not_stepped_counts():
    scaler = GradScaler(8.0)
    scaler.unscale_(foreign(np.inf))
    assert iterate(scaler, 1.0) == [True]
    assert scaler.get_scale() == 4.0


# ------------------------------------------------------------------------------ the ends


@pytest.mark.parametrize("factor", [2.0, 1.0001, 1e300])
def test_growth_at_the_largest_number_leaves_the_scale_and_starts_the_counter_again(factor):
    scaler = GradScaler(FLT_MAX, growth_factor=factor, growth_interval=2)
    iterate(scaler, 1.0)
    iterate(scaler, 1.0)
    assert (scaler.get_scale(), tracker(scaler)) == (FLT_MAX, 0)


def test_growth_reaches_max_scale():
    scaler = GradScaler(8.0, growth_interval=1, max_scale=16.0)
    iterate(scaler, 1.0)
    assert scaler.get_scale() == 16.0


def test_growth_beyond_max_scale_leaves_the_scale_and_starts_the_counter_again():
    scaler = GradScaler(9.0, growth_interval=2, max_scale=16.0)
    iterate(scaler, 1.0)
    iterate(scaler, 1.0)
    assert (scaler.get_scale(), tracker(scaler)) == (9.0, 0)


def test_backoff_stops_at_min_scale():
    scaler = GradScaler(3.0, backoff_factor=0.25, min_scale=1.0)
    iterate(scaler, np.inf)
    assert scaler.get_scale() == 1.0


def test_at_min_scale_tells_that_backoff_can_do_no_more():
    scaler = GradScaler(2.0, min_scale=1.0, growth_interval=1)
    seen = [scaler.at_min_scale]
    for value in (np.inf, np.inf, 1.0):
        iterate(scaler, value)
        seen.append(scaler.at_min_scale)
    assert seen == [False, True, True, False]


def test_bad_gradients_for_ever_end_at_the_smallest_scale():
    scaler = GradScaler()
    for _ in range(200):
        iterate(scaler, np.inf)
    assert (scaler.get_scale(), scaler.at_min_scale) == (TINY, True)


def test_smallest_scale_unscales_without_overflow():
    scaler = GradScaler(TINY)
    optimizer = foreign(TINY, 2.0**-149, -2.0)
    assert scaler.step(optimizer)
    assert_same_bits(np.concatenate(optimizer.grads), np.float32([1, 2.0**-23, -(2.0**127)]))


def test_largest_scale_unscales_without_underflow():
    scaler = GradScaler(FLT_MAX)
    optimizer = foreign(FLT_MAX, 1.0)
    assert scaler.step(optimizer)
    # 1 / FLT_MAX = 2^-128 / (1 - 2^-24) rounds to the subnormal number 2^-128.
    assert_same_bits(np.concatenate(optimizer.grads), np.float32([1 - 2.0**-24, 2.0**-128]))


def test_init_scale_is_rounded_once_to_float32():
    assert GradScaler(init_scale=0.1).get_scale() == float(np.float32(0.1))


def test_scale_that_rounds_to_the_largest_number_is_one():
    assert GradScaler(init_scale=3.4028235e38).get_scale() == FLT_MAX


@pytest.mark.parametrize("make", [int, np.float32, np.float64, np.float16, np.array, np.int64])
def test_scale_is_any_real_number(make):
    assert GradScaler(init_scale=make(3)).get_scale() == 3.0


# ------------------------------------------------------------------------- a new scale


@pytest.mark.parametrize("scale", [3, 0.1, np.float32(0.1), np.array(TINY), FLT_MAX], ids=repr)
def test_update_takes_a_new_scale_without_a_check(scale):
    scaler = GradScaler()
    scaler.update(scale)
    assert scaler.get_scale() == float(np.float32(scale))


def test_update_to_a_new_scale_keeps_the_counter():
    scaler = GradScaler()
    iterate(scaler, 1.0)
    scaler.update(new_scale=2.0)
    assert tracker(scaler) == 1


def test_update_to_a_new_scale_forgets_what_was_found_and_called():
    scaler, optimizer = GradScaler(8.0), foreign(np.inf)
    scaler.step(optimizer)
    scaler.update(2.0)
    optimizer.grads = [np.float32([2.0])]
    assert scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0


# ------------------------------------------------------------------------------ scale(x)


@pytest.mark.parametrize("x", [3.0, 3, 0, -0.25, np.inf, 1e308], ids=repr)
def test_number_becomes_a_python_float(x):
    scaled = GradScaler(0.1).scale(x)
    assert type(scaled) is float
    assert scaled == float(x) * float(np.float32(0.1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_scalar_keeps_its_type(dtype):
    scaled = GradScaler(8.0).scale(dtype(3))
    assert type(scaled) is dtype
    assert scaled == 24


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale", [65536.0, 0.1, TINY])
def test_float16_array_is_multiplied_in_float32_and_rounded_once(scale, layout):
    x = laid_out(halves((3, 5), 1, "nasty"), layout)
    with np.errstate(all="ignore"):
        want = (x.astype(np.float32) * np.float32(scale)).astype(np.float16)
    assert_same_bits(GradScaler(scale).scale(x), want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [65536.0, 0.1, TINY])
def test_array_is_multiplied_in_its_own_dtype(scale, dtype):
    x = floats((3, 5), 1, "nasty").astype(dtype)
    with np.errstate(all="ignore"):
        want = x * dtype(np.float32(scale))
    assert_same_bits(GradScaler(scale).scale(x), want)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)], ids=str)
def test_array_of_few_elements_stays_an_array(shape):
    scaled = GradScaler(8.0).scale(np.ones(shape, np.float32))
    assert_same_bits(scaled, np.full(shape, 8, np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_overflow_gives_an_infinity_without_a_warning(dtype):
    top = np.finfo(dtype).max
    scaled = GradScaler().scale(np.array([top, -top, 0], dtype))
    assert_same_bits(scaled, np.array([np.inf, -np.inf, 0], dtype))


def test_overflow_of_a_scalar_gives_an_infinity_without_a_warning():
    assert GradScaler().scale(np.float16(65504)) == np.inf


def test_scaling_leaves_the_array_alone():
    x = floats((3, 5), 1)
    before = x.copy()
    assert not np.shares_memory(GradScaler(8.0).scale(x), x)
    assert_same_bits(x, before)


@pytest.mark.parametrize("kind", [list, tuple])
def test_list_and_tuple_come_back_as_they_were(kind):
    x = np.float16([1, 2])
    scaled = GradScaler(8.0).scale(kind([x, None, 3, np.float32(2)]))
    assert type(scaled) is kind
    assert_same_bits(scaled[0], np.float16([8, 16]))
    assert scaled[1:] == kind([None, 24.0, np.float32(16)])


def test_dict_comes_back_with_its_keys():
    scaled = GradScaler(8.0).scale({"a": 1.0, "b": None, 3: np.float32(2)})
    assert scaled == {"a": 8.0, "b": None, 3: np.float32(16)}


def test_named_tuple_comes_back_with_its_names():
    losses = namedtuple("losses", ("first", "second"))
    assert GradScaler(8.0).scale(losses(1.0, None))._asdict() == {"first": 8.0, "second": None}


@pytest.mark.parametrize("empty", [[], (), {}, [None]], ids=repr)
def test_container_without_numbers_comes_back(empty):
    assert GradScaler().scale(empty) == empty


def test_torch_keeps_its_graph(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    losses = GradScaler(8.0).scale([(x * x).sum(), x.sum()])
    (losses[0] + losses[1]).backward()
    assert x.grad.tolist() == [24.0, 40.0]


def test_torch_keeps_its_dtype(torch):
    scaled = GradScaler(8.0).scale(torch.ones(3, dtype=torch.float16))
    assert (scaled.dtype, scaled.tolist()) == (torch.float16, [8.0, 8.0, 8.0])
