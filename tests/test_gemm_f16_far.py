# SPDX-License-Identifier: Apache-2.0
"""Elements of a product's operands may lie more than 4 GiB apart on a GPU."""

import numpy as np
import pytest

import halfbyte
from assertions import assert_same_bits, assert_within
from halfbyte_reference.inputs import floats, halves, strided
from planned_products import bounded, operands, planned

ROWS = pytest.mark.parametrize("m", [5, 9], ids=["few-rows", "tiles"])
# One more than copies of half a tile take, and than a tile.
DEPTHS = pytest.mark.parametrize("k", [17, 33])
K, N = 40, 24
DEEP = 3100  # steps of k, which few rows are split along

# The axis along which elements lie far apart, and how far from a multiple of 16 bytes, of which
# chunks need one.
AXES = {"rows": (-2, 0), "columns": (-1, 0), "odd rows": (-2, 2), "odd columns": (-1, 2)}


def far(device, values, axis, odd=0):
    """Put values on the device, the last along an axis over 2^32 bytes after the first."""
    strides, close = [0] * values.ndim, values.itemsize
    for d in range(-1, -values.ndim - 1, -1):
        if d != axis:
            strides[d] = close
            close *= values.shape[d]
    strides[axis] = -(-(2**32 + 4096) // (values.shape[axis] - 1) // 16) * 16 + odd
    return device.device.spread(values, tuple(strides))


def write(*args, **kwargs):
    """Multiply into `out`, and return nothing."""
    halfbyte.gemm_f16(*args, **kwargs)


@ROWS
@DEPTHS
@pytest.mark.parametrize("axis", AXES)
def test_a_may_be_far_apart(axis, k, m, device):
    a, b = operands(m, k, N, "along")
    got = device.gemm_f16(far(device, a, *AXES[axis]), b)
    assert_within(got, bounded(a, b, 8), device)


@ROWS
@DEPTHS
@pytest.mark.parametrize("axis", AXES)
def test_b_may_be_far_apart(axis, k, m, device):
    a, b = operands(m, k, N, "along")
    got = device.gemm_f16(a, far(device, b, *AXES[axis]))
    assert_within(got, bounded(a, b, 8), device)


@ROWS
def test_splits_of_a_may_start_far_apart(m, device):
    a, b = operands(m, DEEP, N, "along")
    with planned("small", 3):
        got = device.gemm_f16(far(device, a, -1), b)
    assert_within(got, bounded(a, b, 256), device)


@ROWS
def test_splits_of_b_may_start_far_apart(m, device):
    a, b = operands(m, DEEP, N, "along")
    with planned("small", 3):
        got = device.gemm_f16(a, far(device, b, -2))
    assert_within(got, bounded(a, b, 256), device)


@ROWS
@pytest.mark.parametrize("operand", ["a", "b", "c", "out"])
def test_matrices_of_a_batch_may_be_far_apart(operand, m, device):
    a, b, c = halves((2, m, K), 1), halves((2, K, N), 2), floats((2, m, N), 3)
    arrays = {"a": a, "b": b, "c": c, "out": np.zeros((2, m, N), np.float32)}
    arrays[operand] = far(device, arrays[operand], -3)
    out = arrays["out"]
    device.call(write, **arrays, beta=-1.3)
    got = device.device.gather(out) if operand == "out" else out
    assert_within(got, bounded(a, b, 8, beta=-1.3, c=c), device)


@ROWS
@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("axis", AXES)
def test_out_may_be_far_apart(axis, splits, m, device):
    a, b = operands(m, DEEP, N, "along")
    out = far(device, np.zeros((m, N), np.float32), *AXES[axis])
    with planned("small", splits):
        device.call(write, a, b, out=out)
    assert_within(device.device.gather(out), bounded(a, b, 256), device)


@ROWS
@pytest.mark.parametrize("axis", AXES)
def test_c_may_be_far_apart(axis, m, device):
    a, b, c = halves((m, K), 1), halves((K, N), 2), halves((m, N), 3)
    got = device.gemm_f16(a, b, beta=-1.3, c=far(device, c, *AXES[axis]))
    assert_within(got, bounded(a, b, 8, beta=-1.3, c=c), device)


@ROWS
@pytest.mark.parametrize("layout", ["c", "transposed"])
def test_bias_may_be_far_apart(layout, m, device):
    a, b, bias = halves((m, K), 1), halves((K, N), 2), floats(N, 3)
    out = strided(np.zeros((m, N), np.float32), layout)
    device.gemm_f16(a, b, bias=far(device, bias, -1), out=out)
    assert_within(out, bounded(a, b, 8, bias=bias), device)


@pytest.mark.parametrize("axis", AXES)
def test_what_is_packed_may_be_far_apart(axis, device):
    def unpacked(b):
        return halfbyte.prepack(b)._contents

    b = halves((K, N), 2)
    got = device.call(unpacked, far(device, b, *AXES[axis]))
    assert_same_bits(got, b.T, device)
