# SPDX-License-Identifier: Apache-2.0
"""Products of integers on a device, planned as a test asks."""

from contextlib import contextmanager

from assertions import assert_same_bits
from halfbyte.cuda import gemm_int_plan
from halfbyte_reference import gemm_int as exact
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes
from integer_cases import argument, zero_point
from planned_products import planned as planned_halves

SIGNED = ((8, True), (8, True))
MIXED = ((8, False), (4, True))
SHIFTED = ("each", "each")


@contextmanager
def planned(tile, splits=1):
    """Give every product of more than a few rows this tile and so many splits of k."""
    gemm_int_plan.plan.cache_clear()
    try:
        with planned_halves(tile, splits):
            yield
    finally:
        gemm_int_plan.plan.cache_clear()


def check_product(device, m, k, n, formats=SIGNED, zero_points=(None, None), turned=False):
    """Claim that a product is exact. turned: operands lie the other way round in memory."""
    a, b = codes((m, k), 1, *formats[0]), codes((k, n), 2, *formats[1])
    named = {
        "a_zero_point": zero_point(zero_points[0], m, [3], *formats[0]),
        "b_zero_point": zero_point(zero_points[1], n, [4], *formats[1]),
    }
    layout = "transposed" if turned else "c"
    operands = (
        argument(strided(x, layout), *form, layout) for x, form in zip((a, b), formats, strict=True)
    )
    assert_same_bits(device.gemm_int(*operands, **named), exact(a, b, **named), device)
