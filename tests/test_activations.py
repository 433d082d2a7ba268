# SPDX-License-Identifier: Apache-2.0
"""relu, gelu and silu, as the epilogue of an empty product: activation(bias)."""

import hashlib

import numpy as np
import pytest

from assertions import assert_same_bits, assert_within
from backends import threads
from halfbyte_reference import bounds, gemm_f16, relu
from halfbyte_reference.inputs import every_half, floats, halves

SMOOTH = ("gelu", "silu")

# Of the bits over `range_of_float32`, NaNs left out: one result on every CPU.
DIGESTS = {
    "gelu": "49ae703c963a3149abcdd1f7e8620343e7df766ec1af8f6d6c66356c4f707098",
    "silu": "e4662ee5d18700212f3f1db942cb4ac6b0a03ca12ffa0e917051800cfb8555a2",
}


def activate(backend, name, x, **arguments):
    """Return activation(x) by way of the bias; -0 becomes +0 on the way."""
    a, b = np.zeros((1, 0), np.float16), np.zeros((0, x.size), np.float16)
    return backend.gemm_f16(a, b, bias=x, activation=name, **arguments)[0]


def range_of_float32():
    """Return each exponent's floats, 1024 fractions each, and a fine grid where it bends."""
    coarse = (np.arange(2**19, dtype=np.uint32) << np.uint32(13)).view(np.float32)
    fine = np.linspace(-14, 14, 200_001, dtype=np.float32)
    return np.concatenate([coarse, fine])


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activation_is_within_its_tolerance_over_float32(name, backend):
    x = range_of_float32()
    assert_within(activate(backend, name, x), bounds.activated(x, name), backend)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activation_is_within_its_tolerance_for_every_half(name, backend):
    x = every_half()
    got = activate(backend, name, x, out_dtype=np.float16)
    assert_within(got, bounds.activated(x, name, np.float16), backend)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activation_has_the_same_bits_on_every_cpu(name, backend):
    got = activate(backend, name, range_of_float32())
    numbers = got[~np.isnan(got)].astype("<f4").tobytes()
    assert hashlib.sha256(numbers).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize(("m", "k", "n"), [(1, 5, 300), (7, 300, 65), (65, 64, 63), (97, 513, 129)])
def test_activated_product_is_the_activation_of_the_product(name, m, k, n, backend):
    a, b = halves((m, k), 1), halves((k, n), 2)
    steps = {"alpha": 0.1, "bias": floats(n, 3)}
    want = activate(backend, name, backend.gemm_f16(a, b, **steps).ravel()).reshape(m, n)
    with threads(2):
        got = backend.gemm_f16(a, b, activation=name, **steps)
    assert_same_bits(got, want, backend)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activation_does_not_depend_on_where_an_element_stands(name, backend):
    # The same numbers in vectors, in tails of vectors and alone.
    x = floats(61, 1) * np.float32(3)
    alone = np.concatenate([activate(backend, name, x[i : i + 1]) for i in range(x.size)])
    assert_same_bits(activate(backend, name, x), alone, backend)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activation_of_the_infinities_is_infinity_and_minus_zero(name, backend):
    got = activate(backend, name, np.float32([np.inf, -np.inf]))
    assert_same_bits(got, np.float32([np.inf, -0.0]), backend)


@pytest.mark.parametrize("name", ["relu", *SMOOTH])
def test_activation_of_nan_is_nan(name, backend):
    assert np.isnan(activate(backend, name, np.float32([np.nan]))).all()


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activation_of_zero_is_zero(name, backend):
    assert activate(backend, name, np.zeros(1, np.float32))[0] == 0


def test_relu_has_the_bits_of_the_reference(backend):
    x = range_of_float32()
    want = relu(np.where(x == 0, np.float32(0), x))
    assert_same_bits(activate(backend, "relu", x), want, backend)


def test_relu_turns_minus_zero_into_plus_zero(backend):
    one = np.ones((1, 1), np.float16)
    got = backend.gemm_f16(one * np.float16(0), one, alpha=-1, activation="relu")
    assert_same_bits(got, np.float32([[0.0]]), backend)


def test_relu_comes_before_the_cast(backend):
    one = np.ones((1, 1), np.float16)
    arguments = {"alpha": -(2.0**-30), "activation": "relu", "out_dtype": np.float16}
    assert_same_bits(
        backend.gemm_f16(one, one, **arguments), gemm_f16(one, one, **arguments), backend
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_torch_agrees_within_both_tolerances(name, backend, torch):
    x = range_of_float32()
    x = x[np.isfinite(x)]
    oracle = {"gelu": torch.nn.functional.gelu, "silu": torch.nn.functional.silu}[name]
    want = oracle(torch.from_numpy(x.astype(np.float64))).numpy()
    error = bounds.activation_error(x)
    bounded = bounds.Bounded(want, error, np.zeros(x.shape, bool))
    assert_within(activate(backend, name, x), bounded, backend)
