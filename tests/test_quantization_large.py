# SPDX-License-Identifier: Apache-2.0
"""Arrays that threads share, rows longer than a chunk or a cache, rows 2 GiB apart: same bits."""

import numpy as np
import pytest

from assertions import assert_same_bits, refuses
from backends import on_threads, threads, without
from halfbyte import QuantizedTensor
from halfbyte_reference import (
    code_range,
    dequantize,
    fake_quantize,
    fake_quantize_backward,
    quantize,
    requantize,
)
from halfbyte_reference.inputs import far_rows, floats, halves, strided
from halfbyte_reference.inputs_quantized import accumulators, codes, scales
from quantized_cases import assert_best_scale, stored

CHANNELS = [{}, {"axis": 0}, {"axis": 1}, {"group_size": 32}, {"group_size": 100}]

channels = pytest.mark.parametrize("channel", CHANNELS, ids=str)
both_bits = pytest.mark.parametrize("bits", [8, 4])
of_the_cpu = without("ptx", "cuda", reason="what the CPU's threads share, a GPU's do not")
gigabytes = without("ptx", "cuda", reason="the bytes between the rows would go along")
LAYOUTS = [
    "c",
    "transposed",
    *(pytest.param(layout, marks=of_the_cpu) for layout in ("sliced", "unaligned", "field")),
]
symmetries = pytest.mark.parametrize("symmetric", [True, False])


def assert_parts(got, want, bits, where):
    assert_same_bits(got.scale, want.scale, f"{where}, scale")
    if want.zero_point is not None:
        assert_same_bits(got.zero_point, want.zero_point, f"{where}, zero_point")
    assert_same_bits(got.values, stored(want.codes, bits), f"{where}, values")


@channels
@both_bits
@symmetries
@pytest.mark.parametrize("layout", LAYOUTS)
def test_array_on_three_threads_has_the_bits_of_the_reference(
    layout, bits, channel, symmetric, backend
):
    x = strided(floats((601, 1003), 1), layout)
    named = channel | {"bits": bits, "symmetric": symmetric}
    with threads(3):
        got = backend.quantize(x, **named)
    assert_parts(got, quantize(x, **named), bits, backend)


@channels
@pytest.mark.parametrize("count", on_threads(1, 2, 3))
def test_out_is_filled_as_a_new_tensor_is(channel, count, backend):
    x = floats((601, 1003), 1)
    with threads(count):
        want = backend.quantize(x, **channel)
        out = backend.quantize(floats((601, 1003), 2), **channel)
        backend.quantize(x, **channel, out=out)
    assert out == want


@channels
@symmetries
@pytest.mark.parametrize("count", on_threads(1, 3))
def test_mse_scale_has_the_smallest_error(channel, symmetric, count, backend):
    x = floats((61, 1003), 1) ** 3
    form = channel | {"bits": 4, "symmetric": symmetric}
    with threads(count):
        got = backend.quantize(x, **form, method="mse")
    assert_best_scale(got, x, form, code_range(4, True, symmetric))


@of_the_cpu
@channels
def test_mse_scale_does_not_depend_on_the_thread_count(channel, backend):
    x = floats((61, 1003), 1) ** 3
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(backend.quantize(x, **channel, method="mse"))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("k", [4095, 4096, 4097, 4128, 8191, 12289, 32767, 32768, 32769, 150_001])
@pytest.mark.parametrize(
    "channel",
    [{}, {"axis": 0}, {"axis": 1}, *({"group_size": g} for g in (3, 48, 64, 5000, 20_001))],
    ids=str,
)
@both_bits
def test_long_row_has_the_bits_of_the_reference(k, channel, bits, backend):
    x = floats((2, k), 1)
    with threads(2):
        got = backend.quantize(x, **channel, bits=bits)
    assert_parts(got, quantize(x, **channel, bits=bits), bits, backend)


@pytest.mark.parametrize("k", [4097, 8191, 32769, 150_001])
@pytest.mark.parametrize(
    ("channel", "shape"),
    [({}, ()), ({"axis": 0}, (2,)), ({"axis": 1}, None), ({"group_size": 48}, None)],
    ids=str,
)
@both_bits
def test_long_row_is_rounded_stochastically_as_the_reference_does(k, channel, shape, bits, backend):
    if shape is None:
        shape = (2, -(-k // 48)) if "group_size" in channel else (k,)
    x = halves((2, k), 1)
    named = channel | {"bits": bits, "scale": scales(shape, 2), "rounding": "stochastic", "seed": 5}
    with threads(2):
        got = backend.quantize(x, **named)
    assert_parts(got, quantize(x, **named), bits, backend)


@pytest.mark.parametrize("rows", [1000, 20_000])
@pytest.mark.parametrize("k", [1, 3, 33, 64])
def test_many_short_rows_have_the_bits_of_the_reference(rows, k, backend):
    x = floats((rows, k), 1)
    with threads(3):
        got = backend.quantize(x, axis=0, symmetric=False)
    assert_parts(got, quantize(x, axis=0, symmetric=False), 8, backend)


@channels
@pytest.mark.parametrize("place", [(0, 0), (300, 999), (600, 1002)], ids=str)
def test_one_nan_is_found_by_any_thread(channel, place, backend):
    x = floats((601, 1003), 1)
    x[place] = np.nan
    with threads(3), refuses(ValueError, "quantize", "x"):
        backend.quantize(x, **channel)


@gigabytes
@both_bits
def test_rows_may_lie_more_than_two_gib_apart(bits, backend):
    near = floats((3, 70), 1)
    got = backend.quantize(far_rows(near), axis=0, bits=bits)
    assert_parts(got, quantize(near, axis=0, bits=bits), bits, backend)


@gigabytes
@both_bits
def test_codes_may_lie_more_than_two_gib_apart(bits, backend):
    values, scale = codes((3, 70), 1, bits), scales(3, 2)
    q = QuantizedTensor(
        far_rows(stored(values, bits)), scale, axis=0, bits=bits, shape=values.shape
    )
    assert_same_bits(backend.dequantize(q), dequantize(values, scale, axis=0), backend)
    backend.quantize(floats((3, 70), 3), axis=0, bits=bits, out=q)
    assert_parts(q, quantize(floats((3, 70), 3), axis=0, bits=bits), bits, backend)


@gigabytes
def test_accumulators_and_their_codes_may_lie_more_than_two_gib_apart(backend):
    acc, scale = accumulators((3, 70), 1), scales(70, 2) * np.float32(2.0**-22)
    out = far_rows(np.zeros((3, 70), np.int8))
    backend.requantize(far_rows(acc), scale, out=out)
    assert_same_bits(out, requantize(acc, scale), backend)


@gigabytes
def test_gradients_may_lie_more_than_two_gib_apart(backend):
    x, dy, scale = floats((3, 70), 1), floats((3, 70), 2), scales(3, 3)
    far_x, far_dy, out = far_rows(x), far_rows(dy), far_rows(np.zeros_like(x))
    backend.fake_quantize(far_x, scale, axis=0, out=out)
    assert_same_bits(out, fake_quantize(x, scale, axis=0), backend)
    backend.fake_quantize_backward(far_dy, far_x, scale, axis=0, out=out)
    assert_same_bits(out, fake_quantize_backward(dy, x, scale, axis=0)[0], backend)
