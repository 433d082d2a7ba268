# SPDX-License-Identifier: Apache-2.0
"""Large integer products, on two threads, and operands that span more than 2 GiB."""

import functools

import numpy as np
import pytest

from assertions import assert_same_bits
from backends import threads
from halfbyte_reference import gemm_int as exact
from halfbyte_reference.inputs import far_rows, strided
from halfbyte_reference.inputs_quantized import codes
from integer_cases import BYTES, NIBBLES, argument

SHAPES = [
    *((1030, 517, 2050), (1025, 3, 2049), (2500, 33, 70), (5, 17, 9001), (9001, 17, 5)),
    *((1, 700, 4100), (257, 1500, 130), (8, 4100, 300)),
]

prepacked_or_not = pytest.mark.parametrize("packed", [False, True], ids=["plain", "prepacked"])


@functools.cache
def product(shape, of_a, of_b):
    """Return operands, zero points, and the product, of FP64: sums below 2^53 are exact."""
    m, k, n = shape
    a, b = codes((m, k), 1, *of_a), codes((k, n), 2, *of_b)
    za, zb = codes(m, 3, *of_a).astype(np.int32), codes(n, 4, *of_b).astype(np.int32)
    want = (a.astype(np.float64) - za[:, None]) @ (b.astype(np.float64) - zb)
    return a, b, za, zb, want.astype(np.int32)


@prepacked_or_not
@pytest.mark.parametrize("of_b", BYTES + NIBBLES, ids=str)
@pytest.mark.parametrize("of_a", BYTES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_large_product_on_two_threads_is_exact(shape, of_a, of_b, packed, integer_backend):
    a, b, za, zb, want = product(shape, of_a, of_b)
    b = argument(b, *of_b)
    with threads(2):
        b = integer_backend.prepack(b) if packed else b
        got = integer_backend.gemm_int(a, b, a_zero_point=za, b_zero_point=zb)
    assert_same_bits(got, want, integer_backend)


@pytest.mark.parametrize("layout", ["transposed", "sliced", "negative"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("of_b", BYTES + NIBBLES, ids=str)
def test_large_product_of_any_layout_is_exact(of_b, count, layout, integer_backend):
    a, b, za, zb, want = product((257, 1500, 130), (8, False), of_b)
    a, b = strided(a, layout), argument(strided(b, layout), *of_b, layout)
    with threads(count):
        got = integer_backend.gemm_int(a, b, a_zero_point=za, b_zero_point=zb)
    assert_same_bits(got, want, integer_backend)


# ---- strides beyond 2 GiB ------------------------------------------------------------------------
@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("far", ["a", "b", "b transposed", "out", "out transposed"])
def test_rows_2_gib_apart_are_as_good_as_any(far, rows, integer_backend):
    a, b = codes((rows, 40), 1), codes((40, 70), 2)
    out = np.zeros((rows, 70), np.int32)
    want = exact(a, b, a_zero_point=3)
    if far == "a":
        a = far_rows(a)
    elif far.startswith("b"):
        b = far_rows(b.T).T if far.endswith("transposed") else far_rows(b)
    else:
        out = far_rows(out.T).T if far.endswith("transposed") else far_rows(out)
    integer_backend.gemm_int(a, b, a_zero_point=3, out=out)
    assert_same_bits(out, want, integer_backend)
