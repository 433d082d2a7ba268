# SPDX-License-Identifier: Apache-2.0
"""Every number of rows, columns and steps around a tile: nothing is left out at an edge."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import halfbyte_reference as reference
from assertions import assert_same_bits
from backends import threads
from halfbyte_reference.inputs import floats
from halfbyte_reference.inputs_quantized import codes
from integer_cases import argument
from quantized_tensors import tensor

formats_of_b = pytest.mark.parametrize("of_b", [(8, True), (4, False)], ids=str)
few_or_many_rows = pytest.mark.parametrize("rows", [1, 9])
groups = pytest.mark.parametrize("group_size", [None, 32])


def check(m, k, n, of_b, backend):
    a, b = codes((m, k), 1), codes((k, n), 2, *of_b)
    za, zb = codes(m, 3).astype(np.int32), codes(n, 4, *of_b).astype(np.int32)
    got = backend.gemm_int(a, argument(b, *of_b), a_zero_point=za, b_zero_point=zb)
    assert_same_bits(got, reference.gemm_int(a, b, a_zero_point=za, b_zero_point=zb), backend)


@formats_of_b
@few_or_many_rows
@pytest.mark.parametrize("n", range(1, 65))
def test_product_of_so_many_columns_is_exact(n, rows, of_b, integer_backend):
    check(rows, 20, n, of_b, integer_backend)


@formats_of_b
@few_or_many_rows
@pytest.mark.parametrize("k", range(1, 70))
def test_product_so_deep_is_exact(k, rows, of_b, integer_backend):
    check(rows, k, 70, of_b, integer_backend)


@formats_of_b
@pytest.mark.parametrize("m", range(1, 28))
def test_product_of_so_many_rows_is_exact(m, of_b, integer_backend):
    check(m, 20, 70, of_b, integer_backend)


def check_layer(m, k, n, group_size, backend):
    x, w = floats((m, k), 1), tensor((n, k), 2, bits=4, group_size=group_size, signed=False)
    want = reference.linear_int(x, w._codes(), w.scale, w.zero_point, group_size=group_size)
    assert_same_bits(backend.linear(x, w), want, backend)


@groups
@few_or_many_rows
@pytest.mark.parametrize("n", range(1, 65))
def test_layer_of_so_many_columns_has_the_bits_of_the_reference(
    n, rows, group_size, integer_backend
):
    check_layer(rows, 40, n, group_size, integer_backend)


@groups
@few_or_many_rows
@pytest.mark.parametrize("k", range(1, 70))
def test_layer_so_deep_has_the_bits_of_the_reference(k, rows, group_size, integer_backend):
    check_layer(rows, k, 70, group_size, integer_backend)


@groups
@pytest.mark.parametrize("m", range(1, 28))
def test_layer_of_so_many_rows_has_the_bits_of_the_reference(m, group_size, integer_backend):
    check_layer(m, 40, 70, group_size, integer_backend)


def test_callers_at_once_do_not_disturb_each_other(integer_backend):
    shapes = [(m, 300, n) for m in (1, 9, 300) for n in (64, 300, 1001)] * 4
    pairs = [(codes((m, k), [i, 1]), codes((k, n), [i, 2])) for i, (m, k, n) in enumerate(shapes)]
    with integer_backend.forced(), threads(2), ThreadPoolExecutor(8) as callers:
        products = list(callers.map(lambda pair: integer_backend.gemm_int(*pair), pairs))
    exact = [
        np.array_equal(got, reference.gemm_int(*pair))
        for got, pair in zip(products, pairs, strict=True)
    ]
    assert all(exact)
