# SPDX-License-Identifier: Apache-2.0
"""Rows and columns of a quantized layer's arrays may lie more than 4 GiB apart on a GPU."""

import numpy as np
import pytest

import halfbyte
import halfbyte_reference as reference
from assertions import assert_same_bits
from halfbyte import QuantizedTensor
from halfbyte_reference.inputs import floats
from quantized_tensors import tensor
from test_gemm_f16_far import far

ROWS = pytest.mark.parametrize("m", [3, 70], ids=["few-rows", "tiles"])
AXES = pytest.mark.parametrize("axis", [-2, -1], ids=["rows", "columns"])
K, N = 64, 20


def made(m):
    """Return x, w, and the result."""
    x, w = floats((m, K), 1), tensor((N, K), 2, group_size=32)
    return x, w, reference.linear_int(x, w.values, w.scale, group_size=32)


@ROWS
@AXES
def test_x_may_be_far_apart(axis, m, device):
    x, w, want = made(m)
    assert_same_bits(device.linear(far(device, x, axis), w), want, device)


@ROWS
@AXES
def test_weights_may_be_far_apart(axis, m, device):
    x, w, want = made(m)
    values, scale = (far(device, part, axis) for part in (w.values, w.scale))

    def call(x, values, scale):
        return halfbyte.linear(x, QuantizedTensor._trusted(values, scale, None, *w._arguments()))

    assert_same_bits(device.call(call, x, values, scale), want, device)


@ROWS
@AXES
def test_out_may_be_far_apart(axis, m, device):
    x, w, want = made(m)
    out = far(device, np.zeros((m, N), np.float32), axis)

    def call(x, w):
        halfbyte.linear(x, w, out=out)

    device.call(call, x, w)
    assert_same_bits(device.device.gather(out), want, device)
