# SPDX-License-Identifier: Apache-2.0
"""An Int4Array on a GPU is packed, unpacked, compared and pickled there."""

import copy
import pickle

import numpy as np
import pytest

from assertions import assert_same_bits, refuses
from halfbyte import Int4Array
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes

VALUES = codes((3, 7), 1, 4)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("shape", [(7,), (3, 0), (3, 70), (2, 1, 3, 2, 2, 5)], ids=str)
@pytest.mark.parametrize("layout", ["c", "transposed", "sliced"])
def test_nibbles_are_packed_and_unpacked_on_a_device(layout, shape, signed, device):
    values = codes(shape, 1, 4, signed)

    def call(values):
        x = Int4Array.pack(values, signed)
        return x.packed, x.unpack()

    packed, unpacked = device.call(call, strided(values, layout))
    assert_same_bits(packed, Int4Array.pack(values, signed).packed, device)
    assert_same_bits(unpacked, values, device)


def test_bytes_on_a_device_are_held_without_a_copy(device):
    def call(packed):
        return Int4Array(packed, VALUES.shape).packed is packed

    assert device.call(call, Int4Array.pack(VALUES).packed)


@pytest.mark.parametrize(
    "remake",
    [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_nibbles_on_a_device_can_be_remade(remake, device):
    def call(values):
        x = Int4Array.pack(values)
        y = remake(x)
        return x == y, y.unpack()

    equal, unpacked = device.call(call, VALUES)
    assert equal
    assert_same_bits(unpacked, VALUES, device)


def test_nibbles_on_a_device_are_no_numpy_array(device):
    with refuses(TypeError, "Int4Array", "packed", "GPU"):
        device.call(lambda values: np.asarray(Int4Array.pack(values)), VALUES)


def test_nibbles_on_a_device_have_half_a_byte_each(device):
    assert device.call(lambda values: Int4Array.pack(values).nbytes, VALUES) == 12
