# SPDX-License-Identifier: Apache-2.0
"""On a GPU of every generation gemm_int is exact: tiles, few rows, packed nibbles."""

import pickle

import pytest

import halfbyte
from assertions import assert_same_bits
from halfbyte_reference import gemm_int as exact
from halfbyte_reference.inputs_quantized import codes
from integer_cases import argument
from planned_integers import MIXED, SHIFTED, SIGNED, check_product, planned

bytes_or_nibbles = pytest.mark.parametrize("formats", [SIGNED, MIXED], ids=["bytes", "nibbles"])


@bytes_or_nibbles
def test_tiles_with_edges_on_every_side_are_exact(formats, device):
    with planned("small", splits=3):
        check_product(device, 70, 203, 69, formats, SHIFTED)


# With sums of codes and copies through registers, Turing has none to spare.
def test_large_tile_with_edges_on_every_side_is_exact(device):
    with planned("large"):
        check_product(device, 70, 203, 69, MIXED, SHIFTED)


@bytes_or_nibbles
@pytest.mark.parametrize("turned", [False, True], ids=["across", "along"])
def test_few_rows_are_exact(turned, formats, device):
    check_product(device, 5, 3001, 176, formats, SHIFTED, turned)


def test_matrix_of_nibbles_packed_on_a_device_is_exact_and_pickles(device):
    def call(a, b):
        packed = pickle.loads(pickle.dumps(halfbyte.prepack(b)))
        return halfbyte.gemm_int(a, packed)

    a, b = codes((9, 75), 1), codes((75, 33), 2, 4)
    assert_same_bits(device.call(call, a, argument(b, 4, True)), exact(a, b), device)
