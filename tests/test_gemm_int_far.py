# SPDX-License-Identifier: Apache-2.0
"""Elements of an integer product's operands may lie more than 4 GiB apart on a GPU."""

import numpy as np
import pytest

import halfbyte
from assertions import assert_same_bits
from halfbyte import Int4Array
from halfbyte_reference import gemm_int as exact
from halfbyte_reference.inputs_quantized import codes

M = pytest.mark.parametrize("m", [5, 20], ids=["few-rows", "tiles"])
AXES = pytest.mark.parametrize("axis", [-2, -1], ids=["rows", "columns"])
K, N = 48, 32


def far(device, values, axis):
    """Put values on the device, the last along an axis over 2^32 bytes after the first."""
    strides, close = [0] * values.ndim, values.itemsize
    for d in range(-1, -values.ndim - 1, -1):
        if d != axis:
            strides[d] = close
            close *= values.shape[d]
    strides[axis] = -(-(2**32 + 4096) // (values.shape[axis] - 1) // 16) * 16
    return device.device.spread(values, tuple(strides))


def operands(m):
    return codes((m, K), 1), codes((K, N), 2)


@M
@AXES
def test_a_may_be_far_apart(axis, m, device):
    a, b = operands(m)
    assert_same_bits(device.gemm_int(far(device, a, axis), b), exact(a, b), device)


@M
@AXES
def test_b_may_be_far_apart(axis, m, device):
    a, b = operands(m)
    assert_same_bits(device.gemm_int(a, far(device, b, axis)), exact(a, b), device)


@M
@AXES
def test_nibbles_may_be_far_apart(axis, m, device):
    a, b = codes((m, K), 1), codes((K, N), 2, 4)
    packed = Int4Array.pack(b)
    spread = Int4Array._trusted(far(device, packed.packed, axis), packed.shape, True)
    assert_same_bits(device.gemm_int(a, spread), exact(a, b), device)


@M
@AXES
def test_out_may_be_far_apart(axis, m, device):
    def write(*args, **kwargs):
        halfbyte.gemm_int(*args, **kwargs)

    a, b = operands(m)
    out = far(device, np.zeros((m, N), np.int32), axis)
    device.call(write, a, b, out=out)
    assert_same_bits(device.device.gather(out), exact(a, b), device)


@M
def test_zero_points_may_be_far_apart(m, device):
    a, b = operands(m)
    za, zb = np.arange(m, dtype=np.int32), np.arange(N, dtype=np.int8)
    named = {"a_zero_point": far(device, za, -1), "b_zero_point": far(device, zb, -1)}
    got = device.gemm_int(a, b, **named)
    assert_same_bits(got, exact(a, b, a_zero_point=za, b_zero_point=zb), device)


def test_products_may_be_far_apart(device):
    a, b = codes((3, 20, K), 1), codes((3, K, N), 2)
    got = device.gemm_int(far(device, a, -3), far(device, b, -3))
    assert_same_bits(got, exact(a, b), device)
