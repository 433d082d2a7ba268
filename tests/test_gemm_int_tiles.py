# SPDX-License-Identifier: Apache-2.0
"""On a GPU gemm_int is exact, whatever tile, split and order of memory it gets."""

from unittest import mock

import numpy as np
import pytest

import halfbyte
from assertions import assert_same_bits, refuses
from halfbyte.cuda import gemm_f16_plan, gemm_int, gemm_int_pack
from halfbyte_reference import gemm_int as exact
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes, extreme_codes
from integer_cases import argument
from planned_integers import MIXED, SHIFTED, SIGNED, check_product, planned

bytes_or_nibbles = pytest.mark.parametrize("formats", [SIGNED, MIXED], ids=["bytes", "nibbles"])


@bytes_or_nibbles
@pytest.mark.parametrize("tile", gemm_f16_plan.TILES)
def test_every_tile_is_exact(tile, formats, device):
    shape = gemm_f16_plan.TILES[tile]
    with planned(tile, 2):
        check_product(device, shape.block_m + 5, 200, shape.block_n + 6, formats, SHIFTED)


def test_more_tile_rows_than_a_group_are_exact(device):
    with planned("small"):
        check_product(device, 9 * 64 + 1, 32, 130)


@pytest.mark.parametrize("few", range(1, 10))
@pytest.mark.parametrize("of", ["rows", "columns"])
def test_every_count_of_few_rows_or_columns_is_exact(of, few, device):
    m, n = (few, 40) if of == "rows" else (40, few)
    check_product(device, m, 100, n)


@bytes_or_nibbles
@pytest.mark.parametrize("k", [1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129])
@pytest.mark.parametrize("m", [3, 20])
def test_every_end_of_k_is_exact(m, k, formats, device):
    with planned("small"):
        check_product(device, m, k, 19, formats, SHIFTED)


@pytest.mark.parametrize("rows", [2, 20])
@pytest.mark.parametrize(
    ("of_a", "of_b", "k"),
    [
        ((8, True, False), (8, True, False), 131_071),
        ((8, False, True), (8, True, True), 33_025),
        ((8, True, True), (8, False, True), 33_025),
        ((8, False, False), (4, True, False), 70_001),
    ],
    ids=["plain", "shifted", "shifted-unsigned", "many-nibbles"],
)
def test_extreme_codes_at_the_largest_k_are_exact(of_a, of_b, k, rows, device):
    a, za = extreme_codes((rows, k), *of_a)
    b, zb = extreme_codes((k, 3), *of_b)
    named = {"a_zero_point": za} if of_a[2] else {}
    named |= {"b_zero_point": zb} if of_b[2] else {}
    want = k * (int(a[0, 0]) - za * of_a[2]) * (int(b[0, 0]) - zb * of_b[2])
    got = device.gemm_int(a, argument(b, *of_b[:2]), **named)
    assert_same_bits(got, np.full((rows, 3), want, np.int32), device)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64", "uint64"])
@pytest.mark.parametrize("layout", ["c", "negative", "unaligned"])
def test_zero_points_of_any_dtype_and_strides_are_subtracted(layout, dtype, device):
    a, b = codes((20, 33), 1), codes((33, 9), 2, 8, False)
    za = strided(np.arange(20).astype(dtype), layout)
    zb = strided(np.arange(9).astype(dtype) * 13, layout)
    got = device.gemm_int(a, b, a_zero_point=za, b_zero_point=zb)
    assert_same_bits(got, exact(a, b, a_zero_point=za, b_zero_point=zb), device)


def test_zero_points_of_rows_repeat_in_a_batch_that_is_one_product(device):
    a, b = codes((3, 7, 40), 1), codes((40, 12), 2)
    za = np.arange(7, dtype=np.int8)
    got = device.gemm_int(a, b, a_zero_point=za)
    assert_same_bits(got, exact(a, b, a_zero_point=za), device)


def test_more_products_than_a_grid_has_rows(device):
    a, b = codes((5, 9, 40), 1), codes((5, 40, 16), 2)
    with (
        mock.patch.object(gemm_int, "_MOST_PRODUCTS", 2),
        mock.patch.object(gemm_int_pack, "_MOST_PRODUCTS", 2),
    ):
        assert_same_bits(device.gemm_int(a, b), exact(a, b), device)


def test_leading_dimensions_that_do_not_merge(device):
    a = codes((2, 3, 2, 2, 2, 9, 24), 1).transpose(4, 3, 2, 1, 0, 5, 6)
    b = codes((*a.shape[:-2], 24, 11), 2)
    assert_same_bits(device.gemm_int(a, b), exact(a, b), device)


# ---- refused -------------------------------------------------------------------------------------
A, B = codes((3, 5), 1), codes((5, 7), 2)
GIVEN = {"a": A, "b": B, "a_zero_point": np.zeros(3, np.int8), "b_zero_point": np.zeros(7, np.int8)}


@pytest.mark.parametrize("name", GIVEN)
def test_array_in_the_memory_of_the_cpu_among_those_on_a_device(name, device):
    def call(**others):
        return halfbyte.gemm_int(**others, **{name: GIVEN[name]})

    with refuses(TypeError, "gemm_int", name, "numpy"):
        device.call(call, **{key: x for key, x in GIVEN.items() if key != name})


def test_matrix_packed_in_the_memory_of_the_cpu(device):
    with refuses(TypeError, "gemm_int", "a", "b", "GPU", "CPU"):
        device.gemm_int(A, halfbyte.prepack(B))


def test_matrix_packed_on_a_device_for_an_array_of_the_cpu(device):
    packed = device.prepack(B)
    with refuses(TypeError, "gemm_int", "a", "b", "GPU", "CPU"):
        halfbyte.gemm_int(A, packed)
