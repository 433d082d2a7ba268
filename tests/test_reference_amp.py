# SPDX-License-Identifier: Apache-2.0
"""The reference of loss scaling against rational arithmetic, exact sums and its own bounds."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_same_bits, assert_within
from halfbyte_reference import SGD, Adam, AdamW, bounds, clip_grad_norm, unscale
from halfbyte_reference.amp import found_inf
from halfbyte_reference.inputs import every_half, floats, halves
from halfbyte_reference.running import Running, coefficient, either
from rational import rational, single
from strategies import seeds

STEPS = 3
small = st.sampled_from((0.0, 0.1, 1 / 3, 0.5, 1.0))
betas = st.tuples(st.sampled_from((0.0, 0.9, 0.5, 1 / 3)), st.sampled_from((0.0, 0.999, 0.75)))
rates = st.sampled_from((1e-3, 0.1, 1.0, 0.0))


# Scalars in rational arithmetic: every operation rounded to FP32 on integers.
def add(x, y):
    return single(Fraction(x) + Fraction(y))


def subtract(x, y):
    return single(Fraction(x) - Fraction(y))


def multiply(x, y):
    return single(Fraction(x) * Fraction(y))


def divide(x, y):
    return single(Fraction(x) / Fraction(y))


def root(x):
    """Round the root to 2^-200 first, which is no tie of FP32 unless it is exact."""
    return single(Fraction(math.isqrt(int(Fraction(x) * 2**400)), 2**200))


def scalar_adam(p, gradients, lr, betas, eps, weight_decay, decoupled):
    (b1, b2), m, v, product1, product2 = betas, 0.0, 0.0, 1.0, 1.0
    for g in gradients:
        product1, product2 = product1 * b1, product2 * b2
        step = single(rational(lr / (1 - product1)))
        r = single(rational(math.sqrt(1 - product2)))
        if weight_decay and decoupled:
            p = multiply(p, single(rational(1 - lr * weight_decay)))
        elif weight_decay:
            g = add(g, multiply(single(rational(weight_decay)), p))
        w1, w2 = single(rational(1 - b1)), single(rational(1 - b2))
        m = add(multiply(single(rational(b1)), m), multiply(w1, g))
        v = add(multiply(single(rational(b2)), v), multiply(multiply(w2, g), g))
        denominator = add(divide(root(v), r), single(rational(eps)))
        p = subtract(p, multiply(step, divide(m, denominator)))
    return p, m, v


def scalar_sgd(p, gradients, lr, momentum, nesterov, weight_decay):
    buf, lr, momentum = None, single(rational(lr)), single(rational(momentum))
    for g in gradients:
        if weight_decay:
            g = add(g, multiply(single(rational(weight_decay)), p))
        buf = g if buf is None else add(multiply(momentum, buf), g)
        p = subtract(p, multiply(lr, add(g, multiply(momentum, buf)) if nesterov else buf))
    return p, buf


def stepped(optimizer, gradients):
    for g in gradients:
        optimizer.step([g])
    return optimizer


def numbers(x):
    return [float(value) for value in x.reshape(-1)]


# ------------------------------------------------------------------------------ gradients


@given(seed=seeds, scale=st.sampled_from((65536.0, 3.0, 0.1, 1e-3, 7e30)))
def test_unscale_is_one_rounded_product(seed, scale):
    g = floats(5, seed)
    inv = single(rational(1 / single(rational(scale))))
    assert numbers(unscale(g, scale)) == [multiply(x, inv) for x in numbers(g)]


def test_unscale_of_halves_is_that_of_the_floats_they_are():
    g = every_half()
    assert_same_bits(unscale(g, 3.0), unscale(g.astype(np.float32), 3.0))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("position", range(6))
def test_one_bad_number_is_found(position, bad):
    arrays = [np.ones((2, 2), np.float32), np.zeros(0, np.float32), np.ones(2, np.float32)]
    assert not found_inf(arrays)
    arrays[0 if position < 4 else 2].flat[position % 4] = bad
    assert found_inf(arrays)


@given(seed=seeds, scale=st.sampled_from((1.0, 1024.0, 3.0, 1e-30, 1e30)))
def test_norm_is_the_root_of_the_exact_sum_of_squares(seed, scale):
    # A square of an FP32 number is exact in FP64, and fsum rounds its exact sum once.
    arrays = [floats(9, [seed, 0]) * np.float32(1e-3), halves((2, 5), [seed, 1])]
    norm, _ = clip_grad_norm(arrays, 1.0, scale)
    squares = [x * x for array in arrays for x in numbers(array)]
    want = np.asarray(math.sqrt(math.fsum(squares)) / float(np.float32(scale)))
    assert_within(norm, bounds.Bounded(want, bounds.grad_norm(want, 19), np.zeros((), bool)))


def test_norm_of_no_gradients_is_zero():
    norm, clipped = clip_grad_norm([], 1.0)
    assert_same_bits(norm, np.zeros(()))
    assert clipped == []


def test_gradients_are_divided_by_how_much_too_long_they_are():
    norm, (clipped,) = clip_grad_norm([np.float32([3, -4])], 1.0)
    assert_same_bits(norm, np.asarray(5.0))
    factor = single(rational(1 / (5 + 1e-6)))
    assert numbers(clipped) == [single(3 * rational(factor)), -single(4 * rational(factor))]


def test_clipped_halves_are_rounded_twice():
    _, (clipped,) = clip_grad_norm([np.float16([3, -4])], 1.0)
    _, (single_precision,) = clip_grad_norm([np.float32([3, -4])], 1.0)
    assert_same_bits(clipped, single_precision.astype(np.float16))


@pytest.mark.parametrize("max_norm", [5.00001, 6.0, 1e300, math.inf])
def test_short_gradients_stay(max_norm):
    g = np.float32([3, -4, -0.0])
    assert_same_bits(clip_grad_norm([g], max_norm)[1][0], g)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_gradients_that_are_not_finite_stay(bad):
    g = np.float32([3, bad])
    norm, (clipped,) = clip_grad_norm([g], 1.0)
    assert_same_bits(norm, np.asarray(bad))
    assert_same_bits(clipped, g)


# ------------------------------------------------------------------------------ optimizers


@given(seed=seeds, lr=rates, betas=betas, eps=st.sampled_from((1e-8, 0.1, 0.0)), wd=small,
       make=st.sampled_from((Adam, AdamW)))  # fmt: skip
def test_adam_is_the_scalar_formula(seed, lr, betas, eps, wd, make):
    p, *gradients = floats((STEPS + 1, 2), seed)
    got = stepped(make([p], lr, betas, eps, wd), gradients)
    columns = zip(p, *gradients, strict=True)
    want = [scalar_adam(float(x), map(float, gs), lr, betas, eps, wd, make is AdamW)
            for x, *gs in columns]  # fmt: skip
    state = got.state[0]
    parts = (got.master[0], state["exp_avg"], state["exp_avg_sq"])
    assert list(zip(*map(numbers, parts), strict=True)) == want


@given(seed=seeds, lr=rates, momentum=small, nesterov=st.booleans(), wd=small)
def test_sgd_is_the_scalar_formula(seed, lr, momentum, nesterov, wd):
    p, *gradients = floats((STEPS + 1, 3), seed)
    got = stepped(SGD([p], lr, momentum, nesterov and momentum > 0, wd), gradients)
    columns = zip(p, *gradients, strict=True)
    want = [scalar_sgd(float(x), map(float, gs), lr, momentum, nesterov and momentum > 0, wd)
            for x, *gs in columns]  # fmt: skip
    assert numbers(got.master[0]) == [x for x, _ in want]
    if momentum:
        assert numbers(got.state[0]["momentum_buffer"]) == [buf for _, buf in want]


def test_first_buffer_is_the_gradient_and_its_sign():
    optimizer = stepped(SGD([np.ones(3, np.float32)], 0.1, 0.9), [np.float32([1.5, -0.0, 0.0])])
    assert_same_bits(optimizer.state[0]["momentum_buffer"], np.float32([1.5, -0.0, 0.0]))


def test_products_of_betas_stand_still_without_a_gradient():
    optimizer = Adam([np.ones(1, np.float32)] * 2)
    optimizer.step([np.ones(1, np.float32), None])
    optimizer.betas = (0.5, 0.25)
    optimizer.step([np.ones(1, np.float32), np.ones(1, np.float32)])
    assert_same_bits(optimizer.state[0]["beta_products"], np.float64([0.9 * 0.5, 0.999 * 0.25]))
    assert_same_bits(optimizer.state[1]["beta_products"], np.float64([0.5, 0.25]))


@pytest.mark.parametrize("make", [Adam, AdamW, lambda params: SGD(params, 1e-3, 0.9)])
def test_halves_are_rounded_masters(make):
    p = halves(9, 1)
    optimizer = stepped(make([p]), [floats(9, 2), halves(9, 3)])
    assert_same_bits(optimizer.params[0], optimizer.master[0].astype(np.float16))
    assert_same_bits(optimizer.master[0], stepped(make([p.astype(np.float32)]),
                     [floats(9, 2), halves(9, 3)]).params[0])  # fmt: skip


# ------------------------------------------------------------------------------ bounds


def operations(x, y, z, c, root):
    """Every operation that errors run through."""
    total = (x * y + z) * c - z
    return total / (root(z * z + c) + c) - root(y * y) * x


def exact_root(x):
    return Fraction(math.isqrt(int(x * 2**600)), 2**300)


@given(seed=seeds, power=st.sampled_from((-150, -40, -10, 0, 10, 20)))
def test_running_errors_bound_those_of_float32(seed, power):
    x, y, z, c = (single(rational(v * 2.0**power)) for v in floats(4, seed).tolist())
    c = abs(c) / 3 + 2.0**-60
    got = operations(*np.float32([x, y, z, c]), np.sqrt)
    running = operations(Running(x), Running(y), Running(z), coefficient(c), Running.sqrt)
    want = operations(*map(Fraction, (x, y, z, c)), exact_root)
    assert abs(Fraction(float(got)) - want) <= Fraction(float(running.error))


def test_running_errors_are_no_larger_than_a_few_roundings():
    one = Running(np.ones(3))
    result = (one * one + one) / one
    assert (result.error < 4 * 2 * bounds.U32).all()


def test_divisor_that_may_be_zero_has_no_bound():
    with pytest.raises(ValueError, match="may be 0"):
        Running(1.0) / Running(0.5, 0.5)


def test_largest_error_counts():
    assert either(Running(1.0, 0.25), Running(1.0, 0.5)).error == 0.5


@given(seed=seeds, lr=rates, betas=betas, eps=st.sampled_from((1e-8, 0.1)), wd=small,
       make=st.sampled_from((Adam, AdamW)))  # fmt: skip
def test_adam_lies_within_its_running_error(seed, lr, betas, eps, wd, make):
    p, *gradients = floats((STEPS + 1, 20), seed)
    got, error = make([p], lr, betas, eps, wd), bounds.AdamError(p, make is AdamW)
    for g in gradients:
        got.step([g])
        error.step(g, lr, betas, eps, wd)
    want = bounds.Bounded(error.p.value, error.p.error, np.zeros(p.shape, bool))
    assert_within(got.master[0], want)


@given(seed=seeds, lr=rates, momentum=small, nesterov=st.booleans(), wd=small)
def test_sgd_lies_within_its_running_error(seed, lr, momentum, nesterov, wd):
    p, *gradients = floats((STEPS + 1, 20), seed)
    nesterov = nesterov and momentum > 0
    got, error = SGD([p], lr, momentum, nesterov, wd), bounds.SgdError(p)
    for g in gradients:
        got.step([g])
        error.step(g, lr, momentum, nesterov, wd)
    want = bounds.Bounded(error.p.value, error.p.error, np.zeros(p.shape, bool))
    assert_within(got.master[0], want)


@pytest.mark.parametrize(
    ("norm", "max_norm", "want"),
    [
        (1.0, 2.0, [1.0]),
        (2.0 - 1e-6, 1.0, [0.5 - 2.0**-25, 0.5, 0.5 + 2.0**-24]),
        (1.0, 0.0, [0.0, 2.0**-149]),
    ],
)
def test_factors_are_those_within_one_ulp(norm, max_norm, want):
    assert [float(x) for x in bounds.clip_factors(norm, max_norm, 10)] == want


def test_no_factor_but_one_is_left_for_short_gradients():
    assert bounds.clip_factors(1.0, 1.0 + 2e-6, 10) == [1]
