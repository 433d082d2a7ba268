# SPDX-License-Identifier: Apache-2.0
"""Threads change speed and nothing else, whoever calls, forks or exits."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import children
import halfbyte
from assertions import assert_same_bits, refuses
from backends import threads
from halfbyte.cpu import casts as casts_host
from halfbyte.cpu import gemm_f16 as gemm_f16_host
from halfbyte.cpu import threads as pool_host
from halfbyte_reference import gemm_f16, to_f16
from halfbyte_reference.inputs import floats, halves

CALLERS = 8


@pytest.fixture(autouse=True)
def small_products_use_the_pool(monkeypatch):
    """Threads that cost nothing, or most products here would stay on the calling one."""
    plans = gemm_f16_host.plan, casts_host._plan
    for module in (gemm_f16_host, casts_host):
        monkeypatch.setattr(module, "_THREADED", 1)
    for plan in plans:
        plan.cache_clear()
    yield
    for plan in plans:
        plan.cache_clear()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize(
    ("m", "k", "n"), [(300, 200, 500), (1, 500, 5000), (6, 300, 2000), (3000, 64, 16)]
)
def test_thread_count_changes_no_bit(m, k, n, count, backend):
    a, b, bias = halves((m, k), 1), halves((k, n), 2), floats(n, 3)
    want = gemm_f16(a, b, bias=bias, activation="relu")
    with threads(count):
        got = backend.gemm_f16(a, b, bias=bias, activation="relu")
    assert_same_bits(got, want, backend)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_thread_count_changes_no_bit_of_a_batch(count, backend):
    a, b = halves((5, 1, 70, 60), 1), halves((3, 60, 80), 2)
    with threads(count):
        got = backend.gemm_f16(a, b)
    assert_same_bits(got, gemm_f16(a, b), backend)


def test_repeated_calls_give_the_same_bits(backend):
    a, b = halves((300, 200), 1), halves((200, 500), 2)
    with threads(3):
        results = {backend.gemm_f16(a, b, activation="gelu").tobytes() for _ in range(10)}
    assert len(results) == 1


def test_eight_callers_at_once_get_their_own_bits(backend):
    start = threading.Barrier(CALLERS)

    def call(seed):
        m, k, n = 90 + 7 * seed, 60 + 11 * seed, 300 - 13 * seed
        a, b, x = halves((m, k), [seed, 0]), halves((k, n), [seed, 1]), floats(5000, seed, "wide")
        want, want16 = gemm_f16(a, b), to_f16(x)
        start.wait()
        for _ in range(20):
            assert_same_bits(backend.gemm_f16(a, b), want, f"{backend}, caller {seed}")
            assert_same_bits(backend.to_f16(x), want16, f"{backend}, caller {seed}")
        return seed

    with backend.forced(), threads(3), ThreadPoolExecutor(CALLERS) as pool:
        assert list(pool.map(call, range(CALLERS))) == list(range(CALLERS))


def test_eight_callers_may_share_a_packed_matrix(backend):
    b = halves((200, 333), 1)
    packed = backend.prepack(b)

    def call(seed):
        a = halves((40, 200), [seed, 0])
        want = gemm_f16(a, b)
        for _ in range(20):
            assert_same_bits(backend.gemm_f16(a, packed), want, f"{backend}, caller {seed}")
        return seed

    with backend.forced(), threads(2), ThreadPoolExecutor(CALLERS) as pool:
        assert list(pool.map(call, range(CALLERS))) == list(range(CALLERS))


def test_thread_count_may_change_while_others_call(backend):
    a, b = halves((200, 100), 1), halves((100, 300), 2)
    want = gemm_f16(a, b)

    def call(seed):
        for i in range(20):
            halfbyte.set_num_threads(1 + (seed + i) % 3)
            assert_same_bits(backend.gemm_f16(a, b), want, f"{backend}, caller {seed}")
        return seed

    with backend.forced(), threads(1), ThreadPoolExecutor(CALLERS) as pool:
        assert list(pool.map(call, range(CALLERS))) == list(range(CALLERS))


@needs_fork
def test_forked_processes_multiply_after_the_pool_was_used(backend):
    child = children.run_child("multiply_after_fork", backend.isa_name)
    assert child.returncode == 0, child.stderr


@needs_fork
def test_process_may_fork_while_a_product_runs(backend):
    child = children.run_child("multiply_in_a_fork_of_a_busy_process", backend.isa_name)
    assert child.returncode == 0, child.stderr


@pytest.mark.parametrize("function", ["end_with_a_live_pool", "end_inside_a_product"])
def test_interpreter_exits_cleanly(function, backend):
    child = children.run_child(function, backend.isa_name)
    assert (child.returncode, child.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="no clock that two processes share")
def test_interpreter_exits_within_two_seconds(backend):
    child = children.run_child("end_with_a_live_pool", backend.isa_name)
    assert time.monotonic() - float(child.stdout) < 2


def test_thread_count_is_what_was_set():
    with threads(3):
        assert halfbyte.get_num_threads() == 3


@pytest.mark.parametrize("count", [1, 2])
def test_more_tasks_than_threads_use_these_threads_only(count):
    used = set()

    def task():
        used.add(threading.get_ident())
        time.sleep(0.01)

    with threads(count):
        pool_host.run([task] * 12)
    assert len(used) <= count


def test_environment_sets_the_thread_count():
    child = children.run_child("print_num_threads", HALFBYTE_NUM_THREADS="3")
    assert child.stdout.split() == ["3"], child.stderr


@pytest.mark.parametrize("count", [0, -1])
def test_thread_count_below_one_is_refused(count):
    with refuses(ValueError, "set_num_threads", "n", str(count)):
        halfbyte.set_num_threads(count)


@pytest.mark.parametrize("count", [1.5, "2", None], ids=repr)
def test_thread_count_that_is_no_integer_is_refused(count):
    with refuses(TypeError, "set_num_threads", "n", type(count).__name__):
        halfbyte.set_num_threads(count)


def test_refused_thread_count_changes_nothing():
    before = halfbyte.get_num_threads()
    with refuses(ValueError, "set_num_threads"):
        halfbyte.set_num_threads(0)
    assert halfbyte.get_num_threads() == before
