# SPDX-License-Identifier: Apache-2.0
"""Ways that only large integer products take, taken by small ones on a machine that seems tiny."""

from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assertions import assert_same_bits
from backends import threads
from halfbyte.cpu import blocking
from halfbyte.cpu import gemm_f16 as f16_host
from halfbyte.cpu import gemm_int as host
from halfbyte_reference import gemm_int as exact
from halfbyte_reference.inputs_quantized import codes
from integer_cases import bytes_only, integer_cases, packings, with_nibbles
from linear_cases import CODES, X_FORMS, layers
from strategies import batches, few_rows, seeds, sizes, small_sizes, thread_counts

deep = st.sampled_from((1, 63, 64, 65, 255, 257, 300, 511, 513, 700))
more_rows = st.sampled_from((9, 10, 11, 12, 13, 16, 31, 32, 33, 47))
tall = st.sampled_from((95, 96, 97, 383, 385, 400))
groups = st.sampled_from((32, 33, 64, 100, 128, 300))


@contextmanager
def tiny_machine():
    """Claim caches of 1 KiB and threads that cost nothing: few rows take b in the order of memory,
    k and the rows come in blocks, and every product is split."""
    host.plan.cache_clear()
    with (
        mock.patch.object(blocking, "cache_bytes", return_value=1024),
        mock.patch.object(f16_host, "_THREADED", 1),
    ):
        yield
    host.plan.cache_clear()


def check(case, packed, count, backend):
    with tiny_machine(), threads(count):
        b = backend.prepack(case.b) if packed else case.b
        got = backend.gemm_int(case.a, b, **case.named)
    assert_same_bits(got, case.want, backend)


@given(case=integer_cases(few_rows, deep, sizes, of=bytes_only), count=thread_counts)
def test_few_rows_with_a_large_b_are_exact(case, count, integer_backend):
    check(case, False, count, integer_backend)


@given(case=integer_cases(more_rows, deep, sizes), packed=packings, count=thread_counts)
def test_more_rows_with_a_large_b_are_exact(case, packed, count, integer_backend):
    check(case, packed, count, integer_backend)


@given(case=integer_cases(tall, deep, small_sizes), packed=packings, count=thread_counts)
def test_blocks_of_rows_and_k_are_exact(case, packed, count, integer_backend):
    check(case, packed, count, integer_backend)


@given(case=integer_cases(few_rows, deep, sizes, of=with_nibbles), count=thread_counts)
def test_few_rows_of_nibbles_are_exact(case, count, integer_backend):
    check(case, True, count, integer_backend)


@given(case=integer_cases(small_sizes, small_sizes, sizes, batches), count=thread_counts)
def test_batches_split_over_threads_are_exact(case, count, integer_backend):
    check(case, False, count, integer_backend)


# Few rows and b contiguous along n: all panels are packed in the order of memory.
@given(m=st.one_of(few_rows, more_rows), k=deep, n=sizes, seed=seeds, count=thread_counts)
@example(m=32, k=700, n=129, seed=0, count=2)
def test_plain_bytes_in_the_order_of_memory_are_exact(m, k, n, seed, count, integer_backend):
    a, b = codes((m, k), [seed, 0]), codes((k, n), [seed, 1], 8, bool(seed % 2))
    zb = codes(n, [seed, 2], 8, bool(seed % 2)).astype(np.int32)
    with tiny_machine(), threads(count):
        got = integer_backend.gemm_int(a, b, b_zero_point=zb)
    assert_same_bits(got, exact(a, b, b_zero_point=zb), integer_backend)


@given(
    case=st.sampled_from(("floats", *CODES)).flatmap(
        lambda form: layers(form, st.one_of(few_rows, more_rows), deep, group_size=groups)
    ),
    packed=packings,
    count=thread_counts,
)
def test_layer_split_over_threads_has_the_bits_of_the_reference(
    case, packed, count, integer_backend
):
    with tiny_machine(), threads(count):
        got = case.layer(integer_backend, packed)
    assert_same_bits(got, case.called(), integer_backend)


@given(
    case=st.sampled_from(X_FORMS[4:]).flatmap(
        lambda form: layers(form, st.one_of(few_rows, more_rows), deep, group_size=groups)
    ),
    packed=packings,
    count=thread_counts,
)
def test_weight_only_layer_split_over_threads_has_the_bits_of_the_reference(
    case, packed, count, backend
):
    with tiny_machine(), threads(count):
        got = case.layer(backend, packed)
    assert_same_bits(got, case.called(), backend)


@given(
    case=st.sampled_from(("halves", *CODES)).flatmap(
        lambda form: layers(form, tall, deep, small_sizes, group_size=groups)
    ),
    packed=packings,
    count=thread_counts,
)
def test_blocks_of_rows_and_groups_have_the_bits_of_the_reference(
    case, packed, count, integer_backend
):
    with tiny_machine(), threads(count):
        got = case.layer(integer_backend, packed)
    assert_same_bits(got, case.called(), integer_backend)


@pytest.mark.parametrize("m", [3, 100])
@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_threads_share_a_batch(m, count, integer_backend):
    a, b = codes((5, m, 20), 1), codes((5, 20, 70), 2)
    with tiny_machine(), threads(count):
        got = integer_backend.gemm_int(a, b, a_zero_point=3)
    assert_same_bits(got, exact(a, b, a_zero_point=3), integer_backend)
