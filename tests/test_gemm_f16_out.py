# SPDX-License-Identifier: Apache-2.0
"""On a GPU gemm_f16 writes its result where it is told to: any strides, over c, split or not."""

import numpy as np
import pytest

from assertions import assert_only_elements_change, assert_same_bits, assert_within
from halfbyte_reference.inputs import LAYOUTS, floats, halves, strided
from planned_products import PRODUCTS, bounded, operands, planned

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float16])
OUT_LAYOUTS = pytest.mark.parametrize("layout", [x for x in LAYOUTS if x != "broadcast"])
N = 12


@PRODUCTS
@DTYPES
@OUT_LAYOUTS
def test_out_of_any_strides_is_filled(layout, dtype, m, k, splits, device):
    a, b = operands(m, k, N, "along")
    out = strided(np.zeros((m, N), dtype), layout)
    with planned("small", splits):
        device.gemm_f16(a, b, out=out)
    assert_within(out, bounded(a, b, 256, out_dtype=dtype), device)


@PRODUCTS
@OUT_LAYOUTS
def test_nothing_beside_the_elements_of_out_changes(layout, m, k, splits, device):
    a, b = operands(m, k, N, "along")
    out = strided(np.zeros((m, N), np.float16), layout)
    with planned("small", splits):
        assert_only_elements_change(out, lambda: device.gemm_f16(a, b, out=out))


@PRODUCTS
@DTYPES
@OUT_LAYOUTS
def test_out_may_be_c(layout, dtype, m, k, splits, device):
    a, b = operands(m, k, N, "along")
    c = halves((m, N), 3) if dtype == np.float16 else floats((m, N), 3)
    out = strided(c, layout)
    with planned("small", splits):
        device.gemm_f16(a, b, beta=-1.3, c=out, out=out)
    assert_within(out, bounded(a, b, 256, beta=-1.3, c=c, out_dtype=dtype), device)


@PRODUCTS
@DTYPES
def test_beta_zero_does_not_read_the_c_that_is_overwritten(dtype, m, k, splits, device):
    a, b = operands(m, k, N, "along")
    out = np.full((m, N), np.nan, dtype)
    with planned("small", splits):
        want = device.gemm_f16(a, b, out_dtype=dtype)
        device.gemm_f16(a, b, c=out, out=out)
    assert_same_bits(out, want, device)


@DTYPES
def test_dimensions_of_out_may_lie_in_any_order(dtype, device):
    a, b = halves((2, 9, 40), 1), halves((40, N), 2)
    want = device.gemm_f16(a, b, out_dtype=dtype)
    out = np.zeros((9, N, 2), dtype).transpose(2, 0, 1)
    device.gemm_f16(a, b, out=out)
    assert_same_bits(out, want, device)
