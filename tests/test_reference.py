# SPDX-License-Identifier: Apache-2.0
"""The reference, its bounds and its inputs against other formulas for the same things."""

import math
import struct
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference as reference
from assertions import assert_same_bits, assert_within
from halfbyte_reference import bounds
from halfbyte_reference.inputs import LAYOUTS, every_half, floats, halves, memory_of, strided, ties
from strategies import (
    batched_cases,
    epilogues,
    finite_kinds,
    gemm_cases,
    layouts,
    seeds,
    small_sizes,
)

little = gemm_cases(small_sizes, small_sizes, small_sizes, kind=finite_kinds)


def scalar_chain(a, b):
    """Rule out every array operation: scalars, FP64 sums of FP32 numbers, rounded to FP32.

    Rounding the sum of two 24-bit numbers first to 53 bits and then to 24 is rounding it once
    (Figueroa, When is double rounding innocuous?, SIGNUM 30(3), 1995).
    """
    acc = 0.0
    for x, y in zip(a, b, strict=True):
        (acc,) = struct.unpack("<f", struct.pack("<f", acc + float(x) * float(y)))
    return acc


def decimal_gelu(x):
    """x Phi(x) with the series Phi(x) = 1/2 + phi(x) (x + x^3/3 + x^5/15 + ...)."""
    with localcontext(prec=400):
        x = Decimal(float(x))
        term = total = x
        for i in range(1, 2000):
            term *= x * x / (2 * i + 1)
            total += term
        pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640629")
        return float(x * (Decimal("0.5") + (-x * x / 2).exp() / (2 * pi).sqrt() * total))


def decimal_silu(x):
    with localcontext(prec=60):
        x = Decimal(float(x))
        return float(x / (1 + (-x).exp()))


@given(case=little)
def test_chain_is_the_scalar_chain(case):
    want = [[scalar_chain(row, column) for column in case.b.T] for row in case.a]
    want = np.array(want, np.float32).reshape(case.shape)
    assert_same_bits(reference.chain(case.a, case.b), want)


@given(case=batched_cases())
def test_batched_chain_is_the_chain_of_each_matrix(case):
    batch = case.shape[:-2]
    a = np.broadcast_to(case.a, (*batch, *case.a.shape[-2:]))
    b = np.broadcast_to(case.b, (*batch, *case.b.shape[-2:]))
    want = np.zeros(case.shape, np.float32)
    for index in np.ndindex(batch):
        want[index] = reference.chain(a[index], b[index])
    assert_same_bits(reference.chain(case.a, case.b), want)


@given(
    case=gemm_cases(kind=finite_kinds),
    steps=epilogues(st.just("normal"), (None, "relu", "gelu", "silu")),
)
def test_reference_is_within_the_bound_of_fp64(case, steps):
    arguments = steps.arguments(case.shape) | {"alpha": 0.7}
    if "beta" in arguments:
        arguments["beta"] = -1.3
    a, b = np.float64(case.a), np.float64(case.b)
    error = bounds.gemm_cpu(bounds.magnitude(a, b), case.k)
    bounded = bounds.epilogue(a @ b, error, **arguments)
    assert_within(reference.gemm_f16(case.a, case.b, **arguments), bounded)


def test_bound_rejects_a_sum_accumulated_in_halves():
    a, b = halves((20, 300), 1), halves((300, 20), 2)
    error = bounds.gemm_cpu(bounds.magnitude(a, b), 300)
    acc = np.zeros((20, 20), np.float16)
    for p in range(300):
        acc += a[:, p, None] * b[p]
    with pytest.raises(AssertionError):
        assert_within(np.float32(acc), bounds.cast(np.float64(a) @ np.float64(b), error))


def test_bound_rejects_a_lost_product():
    a, b = halves((20, 300), 1), halves((300, 20), 2)
    error = bounds.gemm_cpu(bounds.magnitude(a, b), 300)
    got = reference.chain(a[:, :-1], b[:-1])
    with pytest.raises(AssertionError):
        assert_within(got, bounds.cast(np.float64(a) @ np.float64(b), error))


def test_bound_of_a_single_product_is_one_rounding():
    assert bounds.gemm_cpu(np.float64(1), 1) == pytest.approx(2.0**-24, rel=2.0**-23)


def test_tensor_core_bound_grows_with_the_splits():
    assert bounds.gemm_tensor_core(1.0, 100, 4) == bounds.gamma(104, 2.0**-23)


def test_gamma_is_infinite_where_it_says_nothing():
    assert bounds.gamma(2**24, 2.0**-24) == math.inf


@pytest.mark.parametrize(
    ("value", "allowed"), [(65519.0, False), (65520.0, True), (-65520.0, True)]
)
def test_half_may_be_infinite_from_65520(value, allowed):
    assert bounds.cast(np.float64([value]), np.zeros(1), np.float16).inf_allowed[0] == allowed


@pytest.mark.parametrize(("name", "slope"), [("gelu", 1.13), ("silu", 1.10)])
def test_largest_slope_of_an_activation_is_what_the_bound_uses(name, slope):
    x = np.linspace(-10, 10, 200_001)
    steepest = np.diff(bounds._ACTIVATIONS64[name](x)).max() / (x[1] - x[0])
    assert slope - 0.01 < steepest < slope


@pytest.mark.parametrize("x", [-8.0, -3.3, -1.0, -0.7518, -1e-3, 1e-30, 0.5, 1.4142135, 4.0, 7.9])
def test_gelu_is_its_series_in_decimal(x):
    assert reference.gelu64(np.float32(x)) == pytest.approx(
        decimal_gelu(np.float32(x)), rel=2.0**-45
    )


@pytest.mark.parametrize("x", [-80.0, -3.3, -1.0, -1e-3, 1e-30, 0.5, 2.4, 20.0, 88.0])
def test_silu_is_its_formula_in_decimal(x):
    assert reference.silu64(np.float32(x)) == pytest.approx(
        decimal_silu(np.float32(x)), rel=2.0**-50
    )


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_smooth_activation_at_the_infinities_is_infinity_and_minus_zero(name):
    got = reference.ACTIVATIONS[name](np.float32([np.inf, -np.inf]))
    assert_same_bits(got, np.float32([np.inf, -0.0]))


def test_relu_keeps_what_is_positive_or_nan():
    x = np.float32([-np.inf, -1, -0.0, 0.0, 1e-45, 1, np.inf, np.nan])
    assert_same_bits(reference.relu(x), np.float32([0, 0, 0, 0, 1e-45, 1, np.inf, np.nan]))


def test_to_f32_is_the_formula_of_the_format():
    bits = np.arange(2**16)
    sign, exponent, fraction = bits >> 15, bits >> 10 & 31, bits & 1023
    normal = np.ldexp(1.0 + fraction / 1024, exponent - 15)
    value = np.where(exponent == 0, np.ldexp(fraction / 1024, -14), normal)
    value = np.where(exponent == 31, np.where(fraction == 0, np.inf, np.nan), value)
    want = np.copysign(value, 0.5 - sign).astype(np.float32)
    assert_same_bits(reference.to_f32(every_half()), want)


def test_to_f16_is_the_nearest_half_with_an_even_tie():
    # On integers: add half of what is cut off, less one where the kept part is even, and cut.
    x = ties()
    x = x[np.abs(x) < 65520]
    bits = x.view(np.uint32) & np.uint32(0x7FFFFFFF)
    normal = (bits + 0xFFF + (bits >> 13 & 1) - (112 << 23)) >> 13
    # Below 2^-14 a half is a multiple of 2^-24, and so is this sum, rounded by FP32 addition.
    small = (np.abs(x) + np.float32(0.5)).view(np.uint32) - np.float32(0.5).view(np.uint32)
    want = np.where(bits < 113 << 23, small, normal) | np.signbit(x).astype(np.uint32) << 15
    assert_same_bits(reference.to_f16(x), want.astype(np.uint16).view(np.float16))


def test_ties_are_five_floats_for_each_pair_of_halves():
    assert len(np.unique(ties().view(np.uint32))) == 2 * 5 * 0x7C00


@given(rows=st.sampled_from(((), (3,), (2, 3), (0,))), seed=seeds)
def test_layer_is_the_product_of_its_rows(rows, seed):
    x, w = halves((*rows, 9), [seed, 0]), halves((5, 9), [seed, 1])
    got = reference.linear(x, w).reshape(-1, 5)
    assert_same_bits(got, reference.gemm_f16(x.reshape(-1, 9), w.T))


@given(
    shape=st.lists(st.integers(0, 5), max_size=3).map(tuple),
    seed=seeds,
    layout=layouts,
    make=st.sampled_from((halves, floats)),
)
def test_layout_changes_no_value(shape, seed, layout, make):
    array = make(shape, seed, "bits")
    assert strided(array, layout).tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("layout", "strides"),
    [
        ("c", (10, 2)),
        ("transposed", (2, 6)),
        ("sliced", (44, 4)),
        ("negative", (-10, -2)),
        ("padded", (16, 2)),
        ("field", (15, 3)),
    ],
)
def test_layout_has_the_strides_it_promises(layout, strides):
    assert strided(halves((3, 5), 1), layout).strides == strides


@pytest.mark.parametrize(("layout", "offset"), [("offset", 2), ("unaligned", 1)])
def test_layout_starts_where_it_promises(layout, offset):
    assert strided(halves((3, 5), 1), layout).ctypes.data % 64 == offset


def test_repeated_rows_have_a_stride_of_zero():
    array = np.tile(halves((1, 5), 1), (3, 1))
    assert strided(array, "broadcast").strides == (0, 2)


@pytest.mark.parametrize("layout", ["sliced", "padded", "field"])
def test_bytes_between_elements_are_poisoned(layout):
    view = strided(np.zeros((3, 5), np.float16), layout)
    memory = memory_of(view).reshape(-1).view(np.uint8)
    assert set(np.unique(memory)) == {0, 255}


@pytest.mark.parametrize("make", [halves, floats])
def test_nasty_inputs_are_mostly_finite(make):
    x = make((100, 100), 5, "nasty")
    assert 0 < np.count_nonzero(~np.isfinite(x)) < 10


def test_every_layout_has_been_named_once():
    assert len(set(LAYOUTS)) == len(LAYOUTS)


def test_same_bits_tells_minus_zero_from_zero():
    with pytest.raises(AssertionError, match=r"\(1,\).*0x80000000.*0x00000000"):
        assert_same_bits(np.float32([1, -0.0]), np.float32([1, 0.0]))


def test_same_bits_takes_any_nan_for_any_other():
    payload = np.uint16([0x7E00, 0xFE01, 0x7D00]).view(np.float16)
    assert_same_bits(payload, np.full(3, np.nan, np.float16))


def test_same_bits_tells_nan_from_infinity():
    with pytest.raises(AssertionError):
        assert_same_bits(np.float16([np.nan]), np.float16([np.inf]))
