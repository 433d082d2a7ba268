# SPDX-License-Identifier: Apache-2.0
"""What runtime.py asks of CuPy: arrays of the current device, launches, and never to wait."""

import functools
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from assertions import assert_same_bits, refuses
from children import run_child
from fake_cupy import FakeCupy
from halfbyte.cuda import compile as compiler
from halfbyte.cuda import runtime

PAIR = np.dtype([("count", np.int64), ("flag", np.int8)], align=True)


@pytest.fixture
def cupy(monkeypatch):
    """A fake CuPy with two devices, of compute capability 8.0 and 12.0."""
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    for name in ("_kernel", "_capability", "_multiprocessors"):
        fresh = functools.cache(getattr(runtime, name).__wrapped__)
        monkeypatch.setattr(runtime, name, fresh)
    monkeypatch.setattr(
        compiler, "cubin", lambda stem, defines, capability: Path(f"/{stem}{capability}{defines}")
    )
    return fake


def on(cupy, host, device=0):
    return cupy.ndarray(host, device)


def tensor(content, device=0, dtype="bfloat16"):
    """An array of another library, which CuPy sees as `content`, or refuses with that error."""
    return SimpleNamespace(content=content, device=device, dtype=dtype)


# -------------------------------------------------------------------------------------- arrays


def test_array_of_cupy_is_taken_as_it_is(cupy):
    x = on(cupy, np.zeros(3))
    assert runtime.array("f", "x", x) is x


def test_subclass_is_seen_as_a_plain_array(cupy):
    host = np.zeros(3)
    x = type("Special", (cupy.ndarray,), {})(host, 0)
    seen = runtime.array("f", "x", x)
    assert type(seen) is cupy.ndarray
    assert seen.host is host


def test_array_of_another_library_is_viewed(cupy):
    host = np.zeros(3)
    assert runtime.array("f", "x", tensor(host)).host is host


@pytest.mark.parametrize("make", [on, lambda cupy, host, device: tensor(host, device)])
def test_array_on_another_device_is_refused(make, cupy):
    with refuses(ValueError, "f", "x", "device 1", "current device is 0", "cupy.cuda.Device(1)"):
        runtime.array("f", "x", make(cupy, np.zeros(3), 1))


def test_array_on_the_device_made_current_is_taken(cupy):
    cupy.current = 1
    x = on(cupy, np.zeros(3), 1)
    assert runtime.array("f", "x", x) is x
    with refuses(ValueError, "f", "y", "device 0", "current device is 1"):
        runtime.array("f", "y", on(cupy, np.zeros(3), 0))


@pytest.mark.parametrize(
    "error", [BufferError, NotImplementedError, RuntimeError, TypeError, ValueError]
)
def test_array_that_cupy_cannot_view_is_refused(error, cupy):
    with refuses(TypeError, "f", "x", "SimpleNamespace", "bfloat16", "no way", "float32"):
        runtime.array("f", "x", tensor(error("no way")))


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)], ids=str)
def test_new_array_is_in_c_order_on_the_current_device(shape, cupy):
    cupy.current = 1
    x = runtime.empty(shape, np.int8)
    assert (x.shape, x.dtype, x.data.device_id) == (shape, np.int8, 1)
    assert x.flags.c_contiguous


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)], ids=str)
def test_array_of_zeros_is_set_on_the_current_stream(shape, cupy):
    cupy.current = 1
    x = runtime.zeros(shape, np.int32)
    assert_same_bits(x.host, np.zeros(shape, np.int32))
    assert x.data.device_id == 1
    assert cupy.memsets == ([x.nbytes] if x.size else [])
    assert (cupy.uploads, cupy.launches, cupy.waits) == (0, [], 0)


@pytest.mark.parametrize("value", [False, True])
def test_flag_is_a_bool_in_a_word_of_its_own(value, cupy):
    x = runtime.flag(value)
    assert_same_bits(x.host, np.asarray(value))
    assert cupy.memsets == [4]
    assert (cupy.uploads, cupy.launches, cupy.waits) == (0, [], 0)


def test_zeros_like_another_array_have_its_order(cupy):
    x = runtime.zeros_like(on(cupy, np.ones((2, 3), np.float16).T), np.float32)
    assert_same_bits(x.host, np.zeros((3, 2), np.float32))
    assert x.strides == (4, 12)
    assert (cupy.uploads, cupy.launches, cupy.waits) == (0, [], 0)


def test_arrays_of_cupy_are_told_from_others(cupy):
    assert runtime.is_own(on(cupy, np.zeros(3)))
    assert not runtime.is_own(tensor(np.zeros(3)))


def test_new_array_like_another_has_its_order(cupy):
    x = runtime.empty_like(on(cupy, np.zeros((2, 3), np.float32).T), np.float16)
    assert (x.shape, x.strides, x.dtype) == ((3, 2), (2, 6), np.float16)


@pytest.mark.parametrize(
    "host",
    [np.float32(3).reshape(()), np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3).T,
     np.zeros((2, 0), np.int8)],
    ids=["0-d", "c", "transposed", "empty"],
)  # fmt: skip
def test_uploaded_array_is_a_copy_in_c_order(host, cupy):
    x = runtime.upload(host)
    assert x.flags.c_contiguous
    assert_same_bits(x.host, host)
    assert not np.shares_memory(x.host, host)


def test_download_waits_and_copies(cupy):
    host = np.arange(6).reshape(2, 3)
    assert_same_bits(runtime.download(on(cupy, host)), host)
    assert cupy.waits == 1
    assert cupy.launches == []


def test_download_of_what_is_not_contiguous_is_copied_by_our_kernel(cupy):
    runtime.download(on(cupy, np.arange(6).reshape(2, 3).T))
    assert [name for name, *_ in cupy.launches] == ["copies"]


def test_assignment_is_one_launch_and_does_not_wait(cupy):
    runtime.assign(on(cupy, np.zeros((2, 3), np.int32)), on(cupy, np.zeros((2, 3), np.int8)))
    assert [name for name, *_ in cupy.launches] == ["copies"]
    assert cupy.waits == 0


def test_assignment_of_nothing_is_no_launch(cupy):
    runtime.assign(on(cupy, np.zeros((2, 0))), on(cupy, np.zeros((2, 0))))
    assert cupy.launches == []


@pytest.mark.parametrize(
    "host",
    [
        np.zeros((4, 6), np.float32),
        np.zeros((4, 6), np.float16)[::-2, 1::3].T,
        np.broadcast_to(np.zeros(3, np.int8), (2, 3)),
        np.zeros((0, 5), np.int32),
        np.zeros((), np.float32),
    ],
    ids=["c", "negative", "broadcast", "empty", "0-d"],
)
def test_header_says_where_an_array_lies(host, cupy):
    header = runtime.header(on(cupy, host))
    assert type(header) is np.ndarray
    assert header.ctypes.data == host.ctypes.data or not host.size
    assert (header.shape, header.strides, header.dtype) == (host.shape, host.strides, host.dtype)
    assert header.flags.writeable


def test_headers_tell_who_overlaps(cupy):
    host = np.zeros(8, np.float32)
    first, second, third = (runtime.header(on(cupy, x)) for x in (host[:4], host[3:], host[4:]))
    assert np.shares_memory(first, second)
    assert not np.shares_memory(first, third)


def test_address_is_that_of_the_first_element(cupy):
    host = np.zeros(8, np.float32)[::-1]
    assert runtime.address(on(cupy, host)) == host.ctypes.data


# ------------------------------------------------------------------------------------- devices


@pytest.mark.parametrize(("number", "want"), [(0, (80, 108)), (1, (120, 188))])
def test_figures_are_those_of_the_current_device(number, want, cupy):
    cupy.current = number
    assert (runtime.capability(), runtime.multiprocessors()) == want


# ------------------------------------------------------------------------------------ launches


def test_arguments_are_packed_by_their_kind(cupy):
    host, pair = np.zeros(8, np.float32), np.array([(7, 1)], PAIR)
    arguments = (on(cupy, host), np.float32(1.5), np.int64(-1), pair, np.bool(True))
    runtime.launch("kernel", {}, 3, 64, arguments)
    ((name, grid, block, packed, shared),) = cupy.launches
    assert (name, grid, block, shared) == ("kernel", (3,), (64,), 0)
    assert packed == [
        np.uint64(host.ctypes.data).tobytes(), np.float32(1.5).tobytes(), b"\xff" * 8,
        pair.tobytes(), b"\x01",
    ]  # fmt: skip
    assert len(packed[3]) == 16


@pytest.mark.parametrize(
    ("size", "want"), [(5, (5,)), ((5,), (5,)), ((5, 2), (5, 2)), ((5, 2, 3), (5, 2, 3))], ids=str
)
def test_grid_and_block_have_up_to_three_sizes(size, want, cupy):
    runtime.launch("kernel", {}, size, size, ())
    assert cupy.launches == [("kernel", want, want, [], 0)]


def test_kernel_is_loaded_once_for_its_defines_and_device(cupy):
    for device, defines in [(0, {"A": 1, "B": 2}), (0, {"B": 2, "A": 1}), (0, {"A": 2, "B": 2}),
                            (1, {"A": 1, "B": 2}), (1, {"A": 1, "B": 2})]:  # fmt: skip
        cupy.current = device
        runtime.launch("kernel", defines, 1, 1, ())
    assert cupy.loaded == [
        (0, "/kernel80{'A': 1, 'B': 2}", "kernel"),
        (0, "/kernel80{'A': 2, 'B': 2}", "kernel"),
        (1, "/kernel120{'A': 1, 'B': 2}", "kernel"),
    ]
    assert len(cupy.launches) == 5


@pytest.mark.parametrize("sizes", [(0, 100, 48 * 1024), (49153,), (60000, 100, 70000, 60000)])
def test_shared_memory_beyond_48_kib_is_asked_for(sizes, cupy):
    for size in sizes:
        runtime.launch("kernel", {}, 1, 1, (), shared=size)
    assert [shared for *_, shared in cupy.launches] == list(sizes)


def test_shared_memory_is_asked_for_on_each_device(cupy):
    for device in (0, 1):
        cupy.current = device
        runtime.launch("kernel", {}, 1, 1, (), shared=60000)
    assert len(cupy.launches) == 2


def test_launches_do_not_wait(cupy):
    runtime.launch("kernel", {}, 1, 1, (on(cupy, np.zeros(3)), np.int32(3)), shared=60000)
    assert cupy.waits == 0


def test_importing_the_modules_does_not_need_cupy():
    child = run_child("import_without_cupy", module="cuda_sources")
    assert child.returncode == 0, child.stderr
