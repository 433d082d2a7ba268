# SPDX-License-Identifier: Apache-2.0
"""gemm_int is exact, whatever the codes, zero points, shapes and layouts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_only_elements_change, assert_same_bits
from backends import threads, without
from halfbyte import Int4Array, gemm_int
from halfbyte_reference import gemm_int as exact
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes
from integer_cases import BYTES, NIBBLES, bytes_only, every_pair, integer_cases, with_nibbles
from strategies import (
    batches,
    deep_k,
    few_rows,
    out_layouts,
    seeds,
    sizes,
    small_sizes,
    thread_counts,
)


# ---- every shape, layout and zero point ----------------------------------------------------------
@given(case=integer_cases(of=bytes_only), count=thread_counts)
def test_product_of_bytes_is_exact(case, count, integer_backend):
    with threads(count):
        got = integer_backend.gemm_int(case.a, case.b, **case.named)
    assert_same_bits(got, case.want, integer_backend)


@given(case=integer_cases(of=with_nibbles), count=thread_counts)
def test_product_with_nibbles_is_exact(case, count, integer_backend):
    with threads(count):
        got = integer_backend.gemm_int(case.a, case.b, **case.named)
    assert_same_bits(got, case.want, integer_backend)


@without("ptx", reason="test_gemm_int_tiles has deep products, and the machine is slow")
@given(case=integer_cases(small_sizes, deep_k, small_sizes))
def test_deep_product_is_exact(case, integer_backend):
    got = integer_backend.gemm_int(case.a, case.b, **case.named)
    assert_same_bits(got, case.want, integer_backend)


@given(case=integer_cases(few_rows, st.one_of(sizes, deep_k), sizes))
def test_few_rows_are_exact(case, integer_backend):
    got = integer_backend.gemm_int(case.a, case.b, **case.named)
    assert_same_bits(got, case.want, integer_backend)


@given(case=integer_cases(small_sizes, small_sizes, small_sizes, batches), count=thread_counts)
def test_leading_dimensions_broadcast(case, count, integer_backend):
    with threads(count):
        got = integer_backend.gemm_int(case.a, case.b, **case.named)
    assert_same_bits(got, case.want, integer_backend)


# ---- out -----------------------------------------------------------------------------------------
@given(case=integer_cases(), layout=out_layouts)
def test_out_of_any_strides_is_filled_and_returned(case, layout, integer_backend):
    out = strided(np.full(case.shape, -1, np.int32), layout)
    assert integer_backend.gemm_int(case.a, case.b, **case.named, out=out) is out
    assert_same_bits(out, case.want, integer_backend)


@given(
    case=integer_cases(small_sizes, small_sizes, sizes, batches),
    layout=st.sampled_from(("sliced", "padded", "field")),
)
def test_bytes_between_the_elements_of_out_are_left_alone(case, layout, integer_backend):
    out = strided(np.zeros(case.shape, np.int32), layout)
    assert_only_elements_change(
        out, lambda: integer_backend.gemm_int(case.a, case.b, **case.named, out=out)
    )


# ---- what does not matter ------------------------------------------------------------------------
@given(case=integer_cases(m=st.integers(1, 40)), row=st.integers(0, 39))
def test_row_does_not_depend_on_its_batch(case, row, integer_backend):
    row %= case.m
    named = dict(case.named)
    if case.zero_points[0] == "each":
        named["a_zero_point"] = named["a_zero_point"][row : row + 1]
    a = case.a
    alone = (
        Int4Array(a.packed[row : row + 1], (1, case.k), a.signed)
        if (isinstance(a, Int4Array))
        else a[row : row + 1]
    )
    got = integer_backend.gemm_int(alone, case.b, **named)
    assert_same_bits(got[0], case.want[row], integer_backend)


@given(case=integer_cases(small_sizes, sizes, sizes))
def test_inputs_are_left_alone(case, integer_backend):
    arrays = [
        x.packed if isinstance(x, Int4Array) else x
        for x in (case.a, case.b, *case.named.values())
        if isinstance(x, (np.ndarray, Int4Array))
    ]
    before = [x.tobytes() for x in arrays]
    integer_backend.gemm_int(case.a, case.b, **case.named)
    assert [x.tobytes() for x in arrays] == before


# ---- how arguments may be given ------------------------------------------------------------------
@pytest.mark.parametrize("of_b", BYTES + NIBBLES)
@pytest.mark.parametrize("of_a", BYTES + NIBBLES)
@pytest.mark.parametrize("layout", ["c", "transposed", "sliced", "negative"])
def test_int4_arrays_of_ml_dtypes_are_operands(of_a, of_b, layout, ml_dtypes):
    plain = codes((7, 33), 1, *of_a), codes((33, 67), 2, *of_b)
    kinds = {(4, True): ml_dtypes.int4, (4, False): ml_dtypes.uint4}
    a, b = (
        strided(x.astype(kinds.get(of, x.dtype)), layout)
        for x, of in zip(plain, (of_a, of_b), strict=True)
    )
    got = gemm_int(a, b, a_zero_point=3, b_zero_point=5)
    assert_same_bits(got, exact(*plain, a_zero_point=3, b_zero_point=5))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "uint64"])
@pytest.mark.parametrize("shape", [(), (5,)], ids=str)
def test_zero_points_may_have_any_integer_dtype(dtype, shape):
    a, b = codes((5, 33), 1), codes((33, 5), 2, 8, False)
    za, zb = np.full(shape, 100, dtype), np.full(shape, 127, dtype)
    got = gemm_int(a, b, a_zero_point=za, b_zero_point=zb)
    assert_same_bits(got, exact(a, b, a_zero_point=za, b_zero_point=zb))


@given(m=small_sizes, n=small_sizes, of=every_pair, seed=seeds)
def test_sum_of_nothing_is_zero(m, n, of, seed, integer_backend):
    a, b = (codes(shape, seed, *one) for shape, one in zip(((m, 0), (0, n)), of, strict=True))
    if of[0][0] == 4:
        a = Int4Array.pack(a, of[0][1])
    if of[1][0] == 4:
        b = Int4Array.pack(b, of[1][1])
    got = integer_backend.gemm_int(a, b, a_zero_point=3, b_zero_point=5)
    assert_same_bits(got, np.zeros((m, n), np.int32), integer_backend)
