# SPDX-License-Identifier: Apache-2.0
"""Where k is no multiple of a chunk, a product on a GPU has all of it and nothing beyond.

Operands lie in memory that is NaN wherever it is not theirs.
"""

import numpy as np
import pytest

import halfbyte
from assertions import assert_within
from planned_products import PRODUCTS, bounded, operands, planned

TAILS = pytest.mark.parametrize("layout", ["along", "across", "elements", "packed"])
N = 12


def product(device, a, b, layout, splits):
    def call(a, b):
        return halfbyte.gemm_f16(a, halfbyte.prepack(b) if layout == "packed" else b)

    with planned("small", splits):
        return device.call(call, a, b)


def laid_out(m, k, layout):
    return operands(m, k, N, "along" if layout == "packed" else layout)


@PRODUCTS
@TAILS
def test_what_lies_beyond_k_is_not_multiplied(layout, m, k, splits, device):
    a, b = laid_out(m, k, layout)
    assert_within(product(device, a, b, layout, splits), bounded(a, b, 256), device)


@PRODUCTS
@TAILS
def test_nan_in_the_last_step_of_k_is_in_its_row_and_column(layout, m, k, splits, device):
    a, b = laid_out(m, k, layout)
    a[m - 1, k - 1] = b[k - 1, N - 1] = np.nan
    want = np.add.outer(np.arange(m) == m - 1, np.arange(N) == N - 1)
    assert (np.isnan(product(device, a, b, layout, splits)) == want).all()


@PRODUCTS
@TAILS
def test_infinity_in_the_last_step_of_k_meets_nothing_beyond_it(layout, m, k, splits, device):
    a, b = laid_out(m, k, layout)
    a[m - 1, k - 1], b[k - 1] = np.inf, 1
    assert (product(device, a, b, layout, splits)[m - 1] == np.inf).all()
