# SPDX-License-Identifier: Apache-2.0
"""Every cell of (instruction set, formats, zero points, rows, prepacked), and its worst case.

Other libraries are wrong in one cell or another: pairs of products that saturate, one row alone,
zero points of one operand only.
"""

import functools
import itertools

import numpy as np
import pytest

from assertions import assert_same_bits
from halfbyte import gemm_int
from halfbyte_reference import gemm_int as exact
from halfbyte_reference import largest_difference, largest_k
from halfbyte_reference.inputs_quantized import codes, extreme_codes, saturating
from integer_cases import (
    BYTE_PAIRS,
    BYTES,
    NIBBLE_PAIRS,
    NIBBLES,
    SMALL,
    SPREADS,
    argument,
    operand,
    zero_point,
)

M, K, N = 97, 77, 131
ZERO_POINTS = [(None, None), ("one", None), (None, "each"), ("each", "one"), ("each", "each")]
OPERANDS = [(*of, shifted) for of in BYTES for shifted in (False, True)]

every_formats = pytest.mark.parametrize(
    "formats", BYTE_PAIRS + NIBBLE_PAIRS, ids=lambda of: "-".join(map(name, of))
)
prepacked_or_not = pytest.mark.parametrize("packed", [False, True], ids=["plain", "prepacked"])
few_and_many_rows = pytest.mark.parametrize("rows", [1, 3, 8, M])


def name(of):
    bits, signed, *shifted = of
    return f"{'s' if signed else 'u'}{bits}{'z' if shifted == [True] else ''}"


@functools.cache
def cell(formats, zero_points):
    """Return both operands, their zero points, and the exact product of all M rows."""
    of_a, of_b = formats
    a, b = codes((M, K), 1, *of_a), codes((K, N), 2, *of_b)
    form_a, form_b = zero_points
    za, zb = zero_point(form_a, M, [3], *of_a), zero_point(form_b, N, [4], *of_b)
    return a, b, za, zb, exact(a, b, a_zero_point=za, b_zero_point=zb)


def given_b(backend, b, of_b, packed):
    """Return b as the argument, prepacked if it is to be."""
    b = argument(b, *of_b)
    return backend.prepack(b) if packed else b


@prepacked_or_not
@few_and_many_rows
@pytest.mark.parametrize("zero_points", ZERO_POINTS, ids=lambda z: f"{z[0]}-{z[1]}")
@every_formats
def test_cell_is_exact(formats, zero_points, rows, packed, integer_backend):
    a, b, za, zb, want = cell(formats, zero_points)
    za = za[:rows] if zero_points[0] == "each" else za
    got = integer_backend.gemm_int(
        argument(a[:rows], *formats[0]),
        given_b(integer_backend, b, formats[1], packed),
        a_zero_point=za,
        b_zero_point=zb,
    )
    assert_same_bits(got, want[:rows], integer_backend)


# ---- pairs of products that no int16 holds -------------------------------------------------------
@prepacked_or_not
@pytest.mark.parametrize("k", [1, 2, 3, 4, 31, 64, 200])
@few_and_many_rows
def test_pairs_of_products_beyond_int16_do_not_saturate(rows, k, packed, integer_backend):
    a, b = saturating(rows, k, 70)
    got = integer_backend.gemm_int(a, given_b(integer_backend, b, (8, True), packed))
    assert_same_bits(got, exact(a, b), integer_backend)


@prepacked_or_not
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("formats", BYTE_PAIRS, ids=lambda of: "-".join(map(name, of)))
def test_extreme_rows_times_small_and_larger_weights_are_exact(
    formats, largest, spread, packed, integer_backend
):
    a, _ = extreme_codes((5, K), *formats[0], shifted=True, up=largest)
    b = operand((K, 3 * 64 + 5), [1], *formats[1], spread)
    got = integer_backend.gemm_int(a, given_b(integer_backend, b, formats[1], packed))
    assert_same_bits(got, exact(a, b), integer_backend)


@prepacked_or_not
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("a_signed", [True, False])
def test_weights_that_are_all_at_the_edge_of_small_ones_or_beyond_are_exact(
    a_signed, beyond, end, signed, packed, integer_backend
):
    edge = SMALL[signed][end] + (beyond if end else -beyond)
    if not signed and edge < 0:
        edge = 255  # as far beyond as can be
    b = np.full((K, 70), edge, np.int8 if signed else np.uint8)
    a = np.repeat(np.array([[-128], [127]]) + (0 if a_signed else 128), K, axis=1)
    a = a.astype(np.int8 if a_signed else np.uint8)
    got = integer_backend.gemm_int(a, given_b(integer_backend, b, (8, signed), packed))
    assert_same_bits(got, exact(a, b), integer_backend)


# ---- as long as int32 allows ---------------------------------------------------------------------
def longest(of_a, of_b):
    return largest_k(largest_difference(*of_a), largest_difference(*of_b))


@prepacked_or_not
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("of_b", OPERANDS, ids=name)
@pytest.mark.parametrize("of_a", OPERANDS, ids=name)
def test_extreme_codes_at_the_largest_k_are_exact(of_a, of_b, up, packed, integer_backend):
    k = longest(of_a, of_b)
    a, za = extreme_codes((2, k), *of_a)
    b, zb = extreme_codes((k, 3), *of_b, up=up)
    got = integer_backend.gemm_int(
        a,
        given_b(integer_backend, b, of_b[:2], packed),
        a_zero_point=za if of_a[2] else None,
        b_zero_point=zb if of_b[2] else None,
    )
    want = k * (int(a[0, 0]) - za) * (int(b[0, 0]) - zb)
    assert_same_bits(got, np.full((2, 3), want, np.int32), integer_backend)


@pytest.mark.parametrize(
    ("of_a", "of_b"),
    [*itertools.product(BYTES, NIBBLES), *itertools.product(NIBBLES, BYTES)],
    ids=name,
)
def test_extreme_nibbles_at_the_largest_k_are_exact(of_a, of_b, integer_backend):
    # Nibbles taken as 0 .. 15 sum up beyond int32 on the way, and come back.
    k = longest((*of_a, False), (*of_b, False))
    a, b = extreme_codes((1, k), *of_a)[0], extreme_codes((k, 1), *of_b)[0]
    got = integer_backend.gemm_int(argument(a, *of_a), argument(b, *of_b))
    want = k * int(a[0, 0]) * int(b[0, 0])
    assert_same_bits(got, np.array([[want]], np.int32), integer_backend)


@pytest.mark.parametrize("of_b", OPERANDS, ids=name)
@pytest.mark.parametrize("of_a", OPERANDS, ids=name)
def test_k_beyond_the_largest_is_refused(of_a, of_b):
    k = longest(of_a, of_b) + 1
    a, b = codes((1, 1), 1, *of_a[:2]), codes((1, 1), 2, *of_b[:2])
    named = {f"{which}_zero_point": 0 for which, of in (("a", of_a), ("b", of_b)) if of[2]}
    with pytest.raises(ValueError, match=str(k)):
        gemm_int(np.broadcast_to(a, (1, k)), np.broadcast_to(b, (k, 1)), **named)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("of_b", BYTES + NIBBLES, ids=name)
def test_k_beyond_16384_is_exact(of_b, rows, packed, integer_backend):
    a, b = codes((rows, 16_403), 1), codes((16_403, 70), 2, *of_b)
    got = integer_backend.gemm_int(a, given_b(integer_backend, b, of_b, packed), b_zero_point=5)
    assert_same_bits(got, exact(a, b, b_zero_point=5), integer_backend)
