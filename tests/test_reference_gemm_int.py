# SPDX-License-Identifier: Apache-2.0
"""The integer GEMM of the reference against Python's integers and ONNX's MatMulInteger."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte_reference as reference
from assertions import assert_same_bits
from halfbyte_reference.inputs_quantized import (
    codes,
    extreme_codes,
    saturating,
)
from onnx_nodes import evaluate
from strategies import batches, no_batch, seeds, small_sizes

FORMATS = ((8, True), (8, False), (4, True), (4, False))  # bits, signed
OPERANDS = [(*form, shifted) for form in FORMATS for shifted in (False, True)]
LARGEST = {
    (128, 128): 131071,
    (128, 255): 65793,
    (255, 255): 33025,
    (8, 128): 2097151,
    (15, 128): 1118481,
    (8, 255): 1052688,
    (15, 255): 561433,
    (8, 8): 33554431,
    (15, 15): 9544371,
}

formats = st.sampled_from(FORMATS)
zero_point_forms = st.sampled_from((None, "one", "each"))


def zero_point(form, length, seed, bits, signed):
    """Return no zero point, one for all or one each."""
    if form is None:
        return None
    return codes(() if form == "one" else length, seed, bits, signed).astype(np.int32)


def each(zero_point, length):
    """Return `length` Python integers."""
    return np.broadcast_to(0 if zero_point is None else zero_point, length).tolist()


@st.composite
def products(draw, batch=no_batch):
    """Draw a, b and their zero points."""
    m, k, n, seed = draw(small_sizes), draw(small_sizes), draw(small_sizes), draw(seeds)
    of_a, of_b, (batch_a, batch_b) = draw(formats), draw(formats), draw(batch)
    return (
        codes((*batch_a, m, k), [seed, 0], *of_a),
        codes((*batch_b, k, n), [seed, 1], *of_b),
        zero_point(draw(zero_point_forms), m, [seed, 2], *of_a),
        zero_point(draw(zero_point_forms), n, [seed, 3], *of_b),
    )


def called(a, b, za, zb):
    return reference.gemm_int(a, b, a_zero_point=za, b_zero_point=zb)


@given(case=products())
def test_product_is_that_of_python_integers(case):
    a, b, za, zb = case
    rows = zip(a.tolist(), each(za, a.shape[0]), strict=True)
    columns = list(zip(b.T.tolist(), each(zb, b.shape[1]), strict=True))
    want = [
        [
            sum((x - zx) * (y - zy) for x, y in zip(row, column, strict=True))
            for column, zy in columns
        ]
        for row, zx in rows
    ]
    assert_same_bits(called(*case), np.array(want, np.int32).reshape(len(a), len(b.T)))


@given(case=products(batches))
def test_batched_product_is_the_product_of_each_matrix(case):
    a, b, za, zb = case
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, (*batch, *a.shape[-2:]))
    b = np.broadcast_to(b, (*batch, *b.shape[-2:]))
    want = np.zeros((*batch, a.shape[-2], b.shape[-1]), np.int32)
    for index in np.ndindex(batch):
        want[index] = called(a[index], b[index], za, zb)
    assert_same_bits(called(*case), want)


def from_plain_product(a, b, za, zb):
    """Return sum ab - za sum b - zb sum a + k za zb, every step modulo 2^32."""
    rows = np.int32(each(za, a.shape[0])).reshape(-1, 1).view(np.uint32)
    columns = np.int32(each(zb, b.shape[1])).view(np.uint32)
    row_sums = a.astype(np.int32).sum(1, dtype=np.int32, keepdims=True).view(np.uint32)
    column_sums = b.astype(np.int32).sum(0, dtype=np.int32).view(np.uint32)
    plain = called(a, b, None, None).view(np.uint32)
    corrected = plain - rows * column_sums - columns * row_sums
    return (corrected + np.uint32(a.shape[1]) * rows * columns).view(np.int32)


@given(case=products())
def test_zero_points_may_be_applied_to_a_plain_product(case):
    assert_same_bits(from_plain_product(*case), called(*case))


def test_zero_points_may_be_applied_where_steps_wrap():
    # The product is 2^31 - 1 less 33,022, so subtracting it twice leaves int32.
    a = np.full((1, 33025), 255, np.uint8)
    assert_same_bits(from_plain_product(a, a.T, 255, 255), np.int32([[0]]))


@pytest.mark.parametrize(("differences", "k"), LARGEST.items())
def test_largest_k_is_the_last_that_fits_in_int32(differences, k):
    a, b = differences
    assert reference.largest_k(a, b) == reference.largest_k(b, a) == k
    assert k * a * b < 2**31 <= (k + 1) * a * b


@pytest.mark.parametrize("operand", OPERANDS)
def test_largest_difference_is_that_of_all_codes(operand):
    bits, signed, shifted = operand
    lowest, highest = reference.code_range(bits, signed, False)
    every = range(lowest, highest + 1)
    zero_points = every if shifted else [0]
    assert reference.largest_difference(*operand) == max(
        abs(q - z) for q in every for z in zero_points
    )


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("of_b", [one for one in OPERANDS if one[0] == 8])
@pytest.mark.parametrize("of_a", [one for one in OPERANDS if one[0] == 8])
def test_extreme_codes_at_the_largest_k_are_exact(of_a, of_b, up):
    largest = [reference.largest_difference(*operand) for operand in (of_a, of_b)]
    k = reference.largest_k(*largest)
    a, za = extreme_codes((1, k), *of_a)
    b, zb = extreme_codes((k, 1), *of_b, up=up)
    got = called(a, b, za if of_a[2] else None, zb if of_b[2] else None)
    want = k * (int(a[0, 0]) - za) * (int(b[0, 0]) - zb)
    assert abs(want) == k * largest[0] * largest[1] > 2**31 - 2**17
    assert got.tolist() == [[want]]


@pytest.mark.parametrize("operand", OPERANDS)
def test_extreme_codes_are_as_far_from_their_zero_point_as_can_be(operand):
    for_both = [extreme_codes((), *operand, up=up) for up in (False, True)]
    far = {abs(int(code) - zero_point) for code, zero_point in for_both}
    assert far == {reference.largest_difference(*operand)}


def test_saturating_operands_overflow_int16_in_every_pair():
    a, b = saturating(2, 7, 3)
    product = a[0].astype(int) * b[:, 0].astype(int)
    assert (product < 2**15).all()
    assert (product[1:] + product[:-1] == 33278).all()
    assert_same_bits(reference.gemm_int(a, b), np.full((2, 3), 3 * 33278 + 211 * 71, np.int32))


@pytest.mark.parametrize(("signed", "ends"), [(True, {-128, 0, 127}), (False, {0, 255})])
def test_codes_of_a_small_matrix_reach_both_ends_and_zero(signed, ends):
    assert ends <= set(codes((8, 8), 1, 8, signed).ravel().tolist())


@given(case=products())
def test_product_is_that_of_matmulinteger(case):
    a, b, za, zb = case
    # Its zero points have their operand's dtype. Its evaluator takes one a row as a column only.
    za = np.reshape(each(za, a.shape[0]), (-1, 1)).astype(a.dtype)
    zb = np.array(each(zb, b.shape[1])).astype(b.dtype)
    assert_same_bits(called(*case), evaluate("MatMulInteger", a, b, za, zb))
