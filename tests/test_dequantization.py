# SPDX-License-Identifier: Apache-2.0
"""dequantize gives float32(code - zero_point) * scale, cast, whatever the layout of anything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_only_elements_change, assert_same_bits, refuses
from backends import one_generation, threads, without
from halfbyte import QuantizedTensor
from halfbyte_reference import dequantize, unpack_nibbles
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes, scales
from quantized_cases import cases, stored
from strategies import laid_out, out_layouts, thread_counts

DTYPES = (np.float32, np.float16)

dtypes = st.sampled_from(DTYPES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def tensor(case):
    """Return the case's codes, scale and zero point, each of its own layout, as one."""
    return QuantizedTensor(
        laid_out(stored(case.codes, case.bits), case.layout),
        case.scale,
        case.zero_point,
        bits=case.bits,
        signed=case.signed,
        shape=case.shape,
        **case.channel,
    )


def wanted(q, dtype=np.float32):
    codes = q.values if q.bits != 4 else unpack_nibbles(q.values, q.shape[-1], q.signed)
    channel = {"axis": q.axis, "group_size": q.group_size}
    return dequantize(codes, q.scale, q.zero_point, **channel, dtype=dtype)


def rows_of(values, scale, zero_point=None, **named):
    """Return a QuantizedTensor of int8 or uint8 codes that are not packed yet, and its values."""
    bits, signed = named.get("bits", 8), values.dtype == np.int8
    channel = {name: value for name, value in named.items() if name != "bits"}
    q = QuantizedTensor(
        stored(values, bits), scale, zero_point, signed=signed, shape=values.shape, **named
    )
    return q, dequantize(values, scale, zero_point, **channel)


@given(case=cases(), dtype=dtypes, count=thread_counts)
def test_values_have_the_bits_of_the_reference(case, dtype, count, backend):
    q = tensor(case)
    with threads(count):
        got = backend.dequantize(q, dtype=dtype)
    assert_same_bits(got, wanted(q, dtype), backend)


@given(case=cases(), dtype=dtypes, layout=out_layouts, count=thread_counts)
def test_out_of_any_strides_is_filled(case, dtype, layout, count, backend):
    q, out = tensor(case), strided(np.zeros(case.shape, dtype), layout)
    with threads(count):
        backend.dequantize(q, out=out, dtype=dtype)
    assert_same_bits(out, wanted(q, dtype), backend)


@given(case=cases(), dtype=dtypes, layout=out_layouts)
def test_only_elements_of_out_are_written(case, dtype, layout, backend):
    q, out = tensor(case), strided(np.zeros(case.shape, dtype), layout)
    assert_only_elements_change(out, lambda: backend.dequantize(q, out=out, dtype=dtype))


@given(case=cases())
def test_tensor_is_left_alone(case, backend):
    q = tensor(case)
    parts = [part for part in (q.values, q.scale, q.zero_point) if part is not None]
    before = [part.tobytes() for part in parts]
    backend.dequantize(q)
    assert [part.tobytes() for part in parts] == before


@without("ptx", "cuda", reason="the tensor is in the CPU's memory")
@given(case=cases())
def test_tensor_dequantizes_itself(case, backend):
    q = tensor(case)
    with backend.forced():
        assert_same_bits(q.dequantize(), wanted(q), backend)


@without("ptx", "cuda", reason="the tensor is in the CPU's memory")
@given(case=cases())
def test_tensor_seen_as_an_array_is_its_values(case, backend):
    q = tensor(case)
    with backend.forced():
        assert_same_bits(np.asarray(q), wanted(q), backend)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("scale", [0.1, 2.0**-149, 2.0**-130, 3e38 / 200, 3e38])
def test_every_code_beside_every_zero_point_has_the_bits_of_the_reference(
    signed, bits, scale, backend
):
    qmin = -(2 ** (bits - 1)) if signed else 0
    every = np.arange(qmin, qmin + 2**bits)
    values = np.tile(every, (2**bits, 1)).astype(np.int8 if signed else np.uint8)
    scale = np.full(2**bits, scale, np.float32)
    q, want = rows_of(values, scale, every.astype(np.int32), axis=0, bits=bits)
    assert_same_bits(backend.dequantize(q), want, backend)


@one_generation
@every_dtype
@pytest.mark.parametrize("layout", ["c", "transposed", "sliced", "unaligned"])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("channel", "shape"),
    [
        ({}, ()),
        ({"axis": 0}, (601,)),
        ({"axis": 1}, (1003,)),
        ({"group_size": 32}, (601, 32)),
        ({"group_size": 100}, (601, 11)),
    ],
    ids=str,
)
def test_large_tensor_on_three_threads_has_the_bits_of_the_reference(
    dtype, layout, bits, channel, shape, backend
):
    values, scale = codes((601, 1003), 1, bits), scales(shape, 2)
    packed = strided(stored(values, bits), layout)
    q = QuantizedTensor(packed, scale, bits=bits, shape=values.shape, **channel)
    with threads(3):
        got = backend.dequantize(q, dtype=dtype)
    assert_same_bits(got, dequantize(values, scale, **channel, dtype=dtype), backend)


@pytest.mark.parametrize("k", [4095, 4096, 4097, 4128, 8191, 12289, 32769])
@pytest.mark.parametrize("group_size", [48, 64, 5000])
@pytest.mark.parametrize("bits", [8, 4])
def test_long_row_has_the_bits_of_the_reference(k, group_size, bits, backend):
    values, scale = codes((2, k), 1, bits), scales((2, -(-k // group_size)), 2)
    q, want = rows_of(values, scale, group_size=group_size, bits=bits)
    assert_same_bits(backend.dequantize(q), want, backend)


def test_zero_is_plus_zero(backend):
    q = QuantizedTensor(np.int8([5, 0]), np.float32([1, 1]), np.int32([5, 0]), axis=0)
    assert_same_bits(backend.dequantize(q), np.float32([0.0, 0.0]), backend)


def test_product_beyond_float32_is_infinite(backend):
    q = QuantizedTensor(np.resize(np.int8([127, -127]), 40), 3e38)
    assert_same_bits(backend.dequantize(q), np.resize(np.float32([np.inf, -np.inf]), 40), backend)


def test_half_is_rounded_from_float32(backend):
    # 5 scale is 3 * 2^-26 above 1 + 2^-11, which it becomes in FP32: a tie of halves, 1 is even.
    q = QuantizedTensor(np.full(40, 5, np.int8), (2**26 + 2**15 + 3) // 5 * 2.0**-26)
    got = backend.dequantize(q, dtype=np.float16)
    assert_same_bits(got, np.ones(40, np.float16), backend)


@pytest.mark.parametrize(("scale", "want"), [(65519.99, 65504.0), (65520.0, np.inf)])
def test_half_overflows_from_65520(scale, want, backend):
    q = QuantizedTensor(np.resize(np.int8([1, -1]), 40), scale)
    got = backend.dequantize(q, dtype=np.float16)
    assert_same_bits(got, np.resize(np.float16([want, -want]), 40), backend)


def test_subnormal_values_are_kept(backend):
    q = QuantizedTensor(np.resize(np.int8([1, -3]), 40), 2.0**-149)
    want = np.resize(np.float32([2.0**-149, -3 * 2.0**-149]), 40)
    assert_same_bits(backend.dequantize(q), want, backend)


@every_dtype
def test_out_is_what_is_returned(dtype, backend):
    out = np.empty((3, 5), dtype)
    q = QuantizedTensor(codes((3, 5), 1), 0.1)
    assert backend.dequantize(q, out=out, dtype=dtype) is out


@pytest.mark.parametrize("dtype", [np.float16, "float16", np.dtype("float16"), "e"], ids=repr)
def test_dtype_may_be_anything_that_names_one(dtype, backend):
    q = QuantizedTensor(codes(9, 1), 0.1)
    assert backend.dequantize(q, dtype=dtype).dtype == np.float16


@without("ptx", "cuda", reason="an array on a device is named otherwise")
@pytest.mark.parametrize(
    "q", [np.zeros(3, np.int8), [1], None, 1.0], ids=lambda q: type(q).__name__
)
def test_what_is_no_quantized_tensor_cannot_be_dequantized(q, backend):
    with refuses(TypeError, "dequantize", "q", type(q).__name__, "QuantizedTensor"):
        backend.dequantize(q)


def test_dtype_none_without_out_is_float32(backend):
    assert backend.dequantize(QuantizedTensor(codes(9, 1), 0.1), dtype=None).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_dtype_none_is_that_of_out(dtype, backend):
    q, out = QuantizedTensor(codes(9, 1), 0.1), np.empty(9, dtype)
    assert backend.dequantize(q, dtype=None, out=out) is out
    assert_same_bits(out, dequantize(q.values, q.scale).astype(dtype), backend)


@pytest.mark.parametrize("dtype", ["float64", "int8"])
def test_out_of_another_dtype_is_refused(dtype, backend):
    q = QuantizedTensor(codes(9, 1), 0.1)
    with refuses(TypeError, "dequantize", "out", dtype, "float32 or float16"):
        backend.dequantize(q, dtype=None, out=np.empty(9, dtype))


@pytest.mark.parametrize("dtype", ["float64", "int8", "bool", ">f4"])
def test_dequantized_dtype_that_is_neither_float32_nor_float16(dtype, backend):
    q = QuantizedTensor(np.zeros(3, np.int8), 1.0)
    with refuses(TypeError, "dequantize", "dtype", dtype, "float32", "float16"):
        backend.dequantize(q, dtype=np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["no such dtype", 3, [1]], ids=repr)
def test_dequantized_dtype_that_names_none(dtype, backend):
    q = QuantizedTensor(np.zeros(3, np.int8), 1.0)
    with refuses(TypeError, "dequantize", "dtype"):
        backend.dequantize(q, dtype=dtype)
