# SPDX-License-Identifier: Apache-2.0
"""Addresses are read from NumPy's own objects: the documented, slower way says the same."""

import numpy as np
import pytest

from halfbyte import arrays

WHOLE = np.arange(24, dtype=np.float32).reshape(4, 6)
FROZEN = WHOLE.copy()
FROZEN.flags.writeable = False


@pytest.mark.parametrize(
    "x",
    [WHOLE, WHOLE[1:, 2:], WHOLE[::-1, ::-2], WHOLE.T, WHOLE[3, 5, ...], WHOLE[4:], FROZEN,
     np.broadcast_to(WHOLE[0], (3, 6)), np.array(1.0), WHOLE.astype(np.float16)],
    ids=["whole", "part", "backwards", "turned", "one", "none", "read-only", "broadcast", "0-D",
         "float16"],
)  # fmt: skip
def test_address_is_the_documented_one(x):
    assert arrays.address_of(x) == x.__array_interface__["data"][0]


def test_fast_way_is_in_use():
    assert arrays.address_of is not arrays._documented_address_of
