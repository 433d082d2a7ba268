# SPDX-License-Identifier: Apache-2.0
"""Copies on a device: any strides to any strides, and integers to int32 and float32."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_only_elements_change, assert_same_bits
from halfbyte.cuda import copies, runtime
from halfbyte.devices import on_host
from halfbyte_reference.inputs import strided
from strategies import laid_out, layouts, out_layouts, seeds

DTYPES = ("int8", "uint8", "float16", "float32", "int32", "int64", "float64", "bool")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")

shapes = st.lists(st.sampled_from((1, 2, 0, 3, 7, 31, 33, 300)), max_size=3).map(tuple)


def values(shape, dtype, seed):
    """Numbers of any bits, but for bool."""
    dtype = np.dtype(dtype)
    most = 2 if dtype.kind == "b" else 2 ** (8 * dtype.itemsize)
    bits = np.random.default_rng(seed).integers(0, most, shape, np.uint64)
    return np.asarray(bits, f"u{dtype.itemsize}").view(dtype)


def copied(device, x, out):
    """Copy on the device."""
    device.call(lambda x, out: runtime.assign(out, x), x, out)


@given(
    shape=shapes, dtype=st.sampled_from(DTYPES), seed=seeds, layout=layouts, out_layout=out_layouts
)
def test_copy_has_the_bits_of_its_source(shape, dtype, seed, layout, out_layout, device):
    x = laid_out(values(shape, dtype, seed), layout)
    out = strided(np.zeros(shape, dtype), out_layout)
    copied(device, x, out)
    assert_same_bits(out, x, device)


@given(
    shape=shapes, dtype=st.sampled_from(INTEGERS), seed=seeds, layout=layouts,
    out_layout=out_layouts, to_float=st.booleans(),
)  # fmt: skip
def test_integers_become_int32_and_float32(
    shape, dtype, seed, layout, out_layout, to_float, device
):
    low = max(np.iinfo(dtype).min, -(2**31))
    high = min(np.iinfo(dtype).max, 2**31 - 1)
    x = np.asarray(np.random.default_rng(seed).integers(low, high, shape, np.int64, True), dtype)
    target = np.float32 if to_float else np.int32
    out = strided(np.zeros(shape, target), out_layout)
    copied(device, laid_out(x, layout), out)
    assert_same_bits(out, laid_out(x, layout).astype(target), device)


@given(shape=shapes, dtype=st.sampled_from(DTYPES), layout=out_layouts)
def test_only_elements_are_written(shape, dtype, layout, device):
    out = strided(np.zeros(shape, dtype), layout)
    assert_only_elements_change(out, lambda: copied(device, np.ones(shape, dtype), out))


@given(shape=shapes, dtype=st.sampled_from(DTYPES), seed=seeds, layout=layouts)
def test_array_is_downloaded_whatever_its_strides(shape, dtype, seed, layout, device):
    x = laid_out(values(shape, dtype, seed), layout)
    assert_same_bits(device.call(on_host, x), x, device)


@pytest.mark.parametrize(
    ("source", "target"),
    [("float32", "float16"), ("int8", "int16"), ("float32", "int32"), ("float64", "float32")],
)
def test_other_conversions_are_not_made(source, target, device):
    with pytest.raises(TypeError, match=f"no copy from {source} to {target}"):
        copied(device, np.zeros(3, source), np.zeros(3, target))


def test_variants_are_those_that_a_copy_launches(device):
    launched = []

    def launch(stem, defines, *rest):
        launched.append((stem, defines))

    # A plane whose rows are apart, and addresses that are aligned.
    x = np.zeros((3, 5), np.int8)[:, :4]
    out = np.zeros((3, 4), np.int32)
    with device.forced(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "launch", launch)
        patch.setattr(runtime, "address", lambda x: x.ctypes.data)
        copies.copy(x, out)
    assert launched == [("copies", {"FROM": "int8", "TO": "int32", "NDIM": 2, "ALIGNED": 1})]
    assert launched[0] in [*copies.variants()]
