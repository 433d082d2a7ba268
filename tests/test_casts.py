# SPDX-License-Identifier: Apache-2.0
"""to_f16 and to_f32 are IEEE casts: NumPy's bits for every half and around every tie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_only_elements_change, assert_same_bits, refuses
from backends import threads, without
from halfbyte_reference import to_f16, to_f32
from halfbyte_reference.inputs import every_half, floats, halves, strided, ties
from strategies import laid_out, layouts, out_layouts, seeds, thread_counts

shapes = st.lists(st.sampled_from((1, 0, 2, 3, 7, 8, 15, 16, 17, 31, 33, 65)), max_size=3).map(
    tuple
)
all_kinds = st.sampled_from(("normal", "wide", "nasty", "bits"))


def test_every_half_widens_as_numpy_does(backend):
    x = every_half()
    assert_same_bits(backend.to_f32(x), to_f32(x), backend)


def test_every_half_survives_the_round_trip(backend):
    x = every_half()
    assert_same_bits(backend.to_f16(backend.to_f32(x)), x, backend)


def test_floats_around_every_tie_round_as_numpy_does(backend):
    x = ties()
    assert_same_bits(backend.to_f16(x), to_f16(x), backend)


def test_every_exponent_of_float32_rounds_as_numpy_does(backend):
    # 4096 fractions, low bits set and clear, for each sign and exponent, non-finite ones included.
    bits = np.arange(2**21, dtype=np.uint32) << np.uint32(11)
    x = np.concatenate([bits, bits | np.uint32(1)]).view(np.float32)
    assert_same_bits(backend.to_f16(x), to_f16(x), backend)


@given(shape=shapes, seed=seeds, kind=all_kinds, layout=layouts, count=thread_counts)
def test_to_f16_takes_any_strides(shape, seed, kind, layout, count, backend):
    x = laid_out(floats(shape, seed, kind), layout)
    with threads(count):
        got = backend.to_f16(x)
    assert_same_bits(got, to_f16(x), backend)


@given(shape=shapes, seed=seeds, kind=all_kinds, layout=layouts, count=thread_counts)
def test_to_f32_takes_any_strides(shape, seed, kind, layout, count, backend):
    x = laid_out(halves(shape, seed, kind), layout)
    with threads(count):
        got = backend.to_f32(x)
    assert_same_bits(got, to_f32(x), backend)


@given(shape=shapes, seed=seeds, layout=layouts, out_layout=out_layouts)
def test_to_f16_fills_out_of_any_strides(shape, seed, layout, out_layout, backend):
    x = laid_out(floats(shape, seed, "nasty"), layout)
    out = strided(np.zeros(shape, np.float16), out_layout)
    backend.to_f16(x, out=out)
    assert_same_bits(out, to_f16(x), backend)


@given(shape=shapes, seed=seeds, layout=layouts, out_layout=out_layouts)
def test_to_f32_fills_out_of_any_strides(shape, seed, layout, out_layout, backend):
    x = laid_out(halves(shape, seed, "nasty"), layout)
    out = strided(np.zeros(shape, np.float32), out_layout)
    backend.to_f32(x, out=out)
    assert_same_bits(out, to_f32(x), backend)


@pytest.mark.parametrize("layout", ["c", "sliced", "unaligned", "field", "transposed"])
def test_large_to_f16_on_three_threads_rounds_as_numpy_does(layout, backend):
    x = strided(floats((1001, 1003), 1, "bits"), layout)
    with threads(3):
        got = backend.to_f16(x)
    assert_same_bits(got, to_f16(x), backend)


@pytest.mark.parametrize("layout", ["c", "sliced", "unaligned", "field", "transposed"])
def test_large_to_f32_on_three_threads_widens_as_numpy_does(layout, backend):
    x = strided(halves((1001, 1003), 1, "bits"), layout)
    with threads(3):
        got = backend.to_f32(x)
    assert_same_bits(got, to_f32(x), backend)


def test_to_f16_returns_out(backend):
    out = np.empty(5, np.float16)
    assert backend.to_f16(floats(5, 1), out=out) is out


def test_to_f32_returns_out(backend):
    out = np.empty(5, np.float32)
    assert backend.to_f32(halves(5, 1), out=out) is out


@pytest.mark.parametrize("layout", ["c", "sliced", "field", "unaligned", "padded"])
def test_to_f16_writes_only_its_own_elements(layout, backend):
    out = strided(np.zeros((33, 35), np.float16), layout)
    assert_only_elements_change(out, lambda: backend.to_f16(floats((33, 35), 1), out=out))


@pytest.mark.parametrize("offset", range(0, 64, 2))
def test_to_f16_out_may_start_anywhere_in_a_cache_line(offset, backend):
    x = floats(999, offset)
    memory = np.zeros(1064, np.float16)
    start = -memory.ctypes.data % 64 // 2 + offset // 2
    backend.to_f16(x, out=memory[start : start + 999])
    assert_same_bits(memory[start : start + 999], to_f16(x), backend)


@without("ptx", "cuda", reason="the tensor is in the CPU's memory")
def test_torch_rounds_the_same_way(backend, torch):
    tensor = torch.from_numpy(ties())
    assert_same_bits(backend.to_f16(tensor).numpy(), tensor.half().numpy(), backend)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "object", ">f4"])
def test_to_f16_of_another_dtype(dtype, backend):
    with refuses(TypeError, "to_f16", "x", dtype, "float32"):
        backend.to_f16(np.zeros(3, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16", "object", ">f2"])
def test_to_f32_of_another_dtype(dtype, backend):
    with refuses(TypeError, "to_f32", "x", dtype, "float16"):
        backend.to_f32(np.zeros(3, dtype))


CASTS = pytest.mark.parametrize(
    ("function", "source", "target"),
    [("to_f16", np.float32, np.float16), ("to_f32", np.float16, np.float32)],
    ids=["to_f16", "to_f32"],
)


@CASTS
@pytest.mark.parametrize("x", [[1.0], 1.0, None, "ab"], ids=repr)
def test_cast_of_what_is_no_array(function, source, target, x, backend):
    with refuses(TypeError, function, "x", type(x).__name__):
        getattr(backend, function)(x)


@CASTS
def test_cast_of_a_masked_array(function, source, target, backend):
    with refuses(TypeError, function, "x", "MaskedArray"):
        getattr(backend, function)(np.ma.masked_array(np.zeros(3, source)))


@CASTS
@pytest.mark.parametrize("shape", [(4,), (1, 3), ()], ids=str)
def test_cast_to_out_of_another_shape(function, source, target, shape, backend):
    with refuses(ValueError, function, "out", str(shape), "(3,)"):
        getattr(backend, function)(np.zeros(3, source), out=np.zeros(shape, target))


@CASTS
def test_cast_to_out_of_another_dtype(function, source, target, backend):
    with refuses(TypeError, function, "out", np.dtype(source).name, np.dtype(target).name):
        getattr(backend, function)(np.zeros(3, source), out=np.zeros(3, source))


@without("cuda", reason="no array of CuPy is read-only")
@CASTS
def test_cast_to_read_only_out(function, source, target, backend):
    out = np.zeros(3, target)
    out.flags.writeable = False
    with refuses(ValueError, function, "out", "read-only"):
        getattr(backend, function)(np.zeros(3, source), out=out)


@CASTS
def test_cast_to_out_that_shares_bytes_with_the_input(function, source, target, backend):
    memory = np.zeros(32, np.uint8)
    x, out = memory[: 3 * np.dtype(source).itemsize].view(source), memory[4:].view(target)[:3]
    with refuses(ValueError, function, "out", "x"):
        getattr(backend, function)(x, out=out)


@CASTS
def test_cast_to_out_that_overlaps_itself(function, source, target, backend):
    out = np.lib.stride_tricks.as_strided(np.zeros(1, target), (3,), (0,))
    with refuses(ValueError, function, "out"):
        getattr(backend, function)(np.zeros(3, source), out=out)
