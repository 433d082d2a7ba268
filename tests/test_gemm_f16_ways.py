# SPDX-License-Identifier: Apache-2.0
"""Ways that only large products take, taken by small ones on a machine that seems tiny."""

from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assertions import assert_same_bits
from backends import threads
from halfbyte.cpu import blocking
from halfbyte.cpu import gemm_f16 as host
from halfbyte_reference import gemm_f16
from halfbyte_reference.inputs import halves
from strategies import (
    GemmCase,
    batches,
    epilogues,
    few_rows,
    gemm_cases,
    layouts,
    sizes,
    small_sizes,
    thread_counts,
)

deep = st.sampled_from((1, 63, 64, 65, 255, 257, 300, 513))
more_rows = st.sampled_from((9, 10, 11, 12, 13, 16, 31, 47, 95))
tall = st.sampled_from((95, 96, 97, 383, 385, 400))


@contextmanager
def tiny_machine():
    """Claim caches of 1 KiB and threads that cost nothing: few rows stream b, k and the rows come
    in blocks, and every product is split."""
    host.plan.cache_clear()
    with (
        mock.patch.object(blocking, "cache_bytes", return_value=1024),
        mock.patch.object(host, "_THREADED", 1),
    ):
        yield
    host.plan.cache_clear()


def check(case, steps, count, backend):
    arguments = steps.arguments(case.shape)
    out = steps.out(case.shape)
    with tiny_machine(), threads(count):
        got = backend.gemm_f16(case.a, case.b, **arguments, out=out)
    assert_same_bits(got, gemm_f16(case.a, case.b, **arguments), backend)


@given(case=gemm_cases(few_rows, deep, sizes), steps=epilogues(), count=thread_counts)
def test_few_rows_streaming_b_have_the_bits_of_the_reference(case, steps, count, backend):
    check(case, steps, count, backend)


@given(case=gemm_cases(tall, deep, sizes), steps=epilogues(), count=thread_counts)
def test_blocks_of_rows_and_k_have_the_bits_of_the_reference(case, steps, count, backend):
    check(case, steps, count, backend)


@given(
    case=gemm_cases(small_sizes, small_sizes, sizes, batches),
    steps=epilogues(),
    count=thread_counts,
)
def test_batches_split_over_threads_have_the_bits_of_the_reference(case, steps, count, backend):
    check(case, steps, count, backend)


@pytest.mark.parametrize("m", [3, 100])
@pytest.mark.parametrize("count", [2, 3, 5, 7])
@pytest.mark.parametrize("out_dtype", [np.float16, np.float32])
def test_threads_share_a_batch(m, count, out_dtype, backend):
    a, b, c = halves((5, m, 20), 1), halves((5, 20, 70), 2), halves((5, m, 70), 3)
    with tiny_machine(), threads(count):
        got = backend.gemm_f16(a, b, beta=0.5, c=c, out_dtype=out_dtype)
    assert_same_bits(got, gemm_f16(a, b, beta=0.5, c=c, out_dtype=out_dtype), backend)


@pytest.mark.parametrize("shape", [(385, 5, 70), (773, 300, 130), (1000, 65, 33)], ids=str)
@pytest.mark.parametrize("out_dtype", [np.float16, np.float32])
@pytest.mark.parametrize("count", [1, 2])
def test_several_blocks_of_rows_have_the_bits_of_the_reference(shape, out_dtype, count, backend):
    m, k, n = shape
    a, b = halves((m, k), 1), halves((k, n), 2)
    with tiny_machine(), threads(count):
        got = backend.gemm_f16(a, b, out_dtype=out_dtype)
    assert_same_bits(got, gemm_f16(a, b, out_dtype=out_dtype), backend)


@given(case=gemm_cases(more_rows, deep, sizes), steps=epilogues(), count=thread_counts)
def test_more_rows_streaming_b_have_the_bits_of_the_reference(case, steps, count, backend):
    check(case, steps, count, backend)


# Weights (n, k) whose rows lie a multiple of 4 KiB apart are read 16 columns at a time.
@given(m=few_rows, k=deep, n=sizes, seed=st.integers(0, 9), count=thread_counts)
@example(m=8, k=65, n=129, seed=0, count=2)
def test_weights_whose_rows_share_their_cache_sets(m, k, n, seed, count, backend):
    x = halves((m, k), [seed, 0], "wide")
    w = np.zeros((n, 2048), np.float16)[:, :k]
    w[...] = halves((n, k), [seed, 1], "wide")
    with tiny_machine(), threads(count):
        got = backend.linear(x, w)
    assert_same_bits(got, gemm_f16(x, w.T), backend)


@given(m=sizes, k=deep, n=sizes, seed=st.integers(0, 9), layout=layouts, count=thread_counts)
def test_packed_panels_split_over_threads(m, k, n, seed, layout, count, backend):
    case = GemmCase(m, k, n, ((), ()), seed, "wide", layout, "c")
    with tiny_machine(), threads(count):
        got = backend.gemm_f16(case.a, backend.prepack(case.b))
    assert_same_bits(got, gemm_f16(case.a, case.b), backend)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("shape", [(1, 1), (6, 64), (97, 129), (1000, 70), (70, 1000)], ids=str)
def test_tasks_cover_the_product_once(shape, count):
    m, n = shape
    covered = np.zeros(shape, np.int64)
    with tiny_machine():
        for task in host.plan(1, m, n, 10, 2 * n, 2, count).tasks:
            _, _, row0, row1, column0, column1, *_ = task
            covered[row0:row1, column0:column1] += 1
    assert (covered == 1).all()
