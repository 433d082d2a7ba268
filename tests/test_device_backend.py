# SPDX-License-Identifier: Apache-2.0
"""What tests do with NumPy arrays happens on a device to arrays of the same layout and content."""

import copy
import gc
import inspect
import pickle

import numpy as np
import pytest

import device_arrays
from assertions import assert_same_bits
from device_arrays import DeviceArray, download, header, upload
from halfbyte import Int4Array, QuantizedTensor
from halfbyte.cuda import runtime
from halfbyte_reference.inputs import LAYOUTS, floats, strided
from halfbyte_reference.inputs_quantized import codes
from ptx_backend import PtxBackend

BACKEND = PtxBackend(80)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_shape = pytest.mark.parametrize("shape", [(3, 5), (7,), (), (2, 0)], ids=str)


def seen(*arguments):
    """Return what a function gets for these arguments."""
    got = []
    BACKEND.call(lambda *taken: got.extend(taken), *arguments)
    return got


def write(target, value):
    """Store a value in the first element of a device array, as a kernel does."""
    start = target.address - target.block.address
    target.block.bytes[start : start + target.itemsize] = np.array([value], target.dtype).view("u1")


# ---------------------------------------------------------------------------------------- there


@each_layout
@each_shape
def test_array_has_its_layout_and_content_on_the_device(shape, layout):
    x = strided(floats(shape, 1), layout)
    (got,) = seen(x)
    assert type(got) is DeviceArray
    assert (got.shape, got.strides, got.dtype) == (x.shape, x.strides, x.dtype)
    assert got.address % 256 == x.ctypes.data % 256
    assert header(got).flags.writeable == x.flags.writeable
    assert_same_bits(download(got), x)


def test_bytes_between_the_elements_come_along():
    base = np.arange(64, dtype=np.uint8)
    (got,) = seen(base[3:60:7])
    assert got.block.bytes.tolist() == [*range(3, 60)]


def test_arrays_that_overlap_do_so_on_the_device():
    base = np.zeros(40, np.float32)
    first, second, third, apart = map(header, seen(base[:10], base[9:20], base[:10], base[30:]))
    assert np.shares_memory(first, second)
    assert not np.shares_memory(second[1:], first)
    assert first.ctypes.data == third.ctypes.data
    assert not np.shares_memory(first, apart)


def test_interleaved_arrays_share_no_element():
    base = np.zeros(40, np.float32)
    even, odd = map(header, seen(base[::2], base[1::2]))
    assert not np.shares_memory(even, odd)
    assert odd.ctypes.data - even.ctypes.data == 4


def test_arrays_within_tensors_go_along():
    values = np.zeros((2, 4), np.int8)
    q = QuantizedTensor(values, np.ones(2, np.float32), axis=0)
    packed = Int4Array.pack(values)
    got, got_packed, (listed,) = seen(q, packed, [values])
    assert (type(got.values), type(got.scale), got.zero_point) == (DeviceArray, DeviceArray, None)
    assert (got.bits, got.axis, got.shape) == (8, 0, (2, 4))
    assert type(got_packed.packed) is DeviceArray
    assert listed.address == got.values.address


@pytest.mark.parametrize(
    "x",
    [np.zeros(3, ">f4"), np.zeros(3, object), np.ma.masked_array([1.0]), np.float32(1), 1.0, [1.0],
     None, "text"],
    ids=repr,
)  # fmt: skip
def test_what_is_no_plain_array_stays_as_it_is(x):
    (got,) = seen(x)
    assert got is x or got == x


# ----------------------------------------------------------------------------------------- back


def test_what_a_call_writes_is_written_to_the_callers_array():
    out = strided(np.zeros((3, 5), np.float32), "sliced")
    assert BACKEND.call(lambda x: write(x, 7) or x, out) is out
    assert out[0, 0] == 7
    assert not out.ravel()[1:].any()


def test_bytes_between_elements_that_change_are_seen():
    base = np.zeros(9, np.uint8)

    def spoil(x):
        x.block.bytes[1] = 5

    BACKEND.call(spoil, base[::2])
    assert base.tolist() == [0, 5, 0, 0, 0, 0, 0, 0, 0]


def test_what_was_written_before_an_error_is_seen():
    x = np.zeros(3, np.float32)

    def fail(x):
        write(x, 1)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        BACKEND.call(fail, x)
    assert x.tolist() == [1, 0, 0]


def test_new_arrays_come_back_as_arrays_of_numpy():
    x = floats((3, 5), 1).T
    first, (second, third) = BACKEND.call(
        lambda x: (upload(download(x)), (x, runtime.empty_like(x, np.int8))), x
    )
    assert_same_bits(first, x)
    assert second is x
    assert (type(third), third.shape, third.strides) == (np.ndarray, (5, 3), (1, 5))


def test_tensors_come_back_as_tensors_of_numpy_or_the_callers_own():
    q = QuantizedTensor(np.zeros((2, 4), np.int8), np.ones(2, np.float32), 5 * np.ones(2, int),
                        axis=0)  # fmt: skip

    def another(q):
        parts = [upload(download(part)) for part in (q.values, q.scale, q.zero_point)]
        return q, QuantizedTensor._trusted(*parts, *q._arguments())

    own, new = BACKEND.call(another, q)
    assert own is q
    assert new == q
    assert type(new.values) is np.ndarray


# ------------------------------------------------------------------------------ arrays, stand-in


def test_memory_of_an_array_is_freed_with_it():
    x = upload(np.zeros(3))
    block = x.block
    address, size = block.address, block.size
    del x, block
    gc.collect()
    with pytest.raises(Exception):  # noqa: B017, PT011
        device_arrays.memory().view(address, size)


def test_device_array_can_be_pickled():
    x = upload(floats((3, 5), 1))
    again = pickle.loads(pickle.dumps(x))
    assert again.address != x.address
    assert_same_bits(download(again), download(x))


def test_what_cupy_needs_a_kernel_for_is_refused():
    for make in (lambda: copy.deepcopy(upload(floats(3, 1))),
                 lambda: pickle.dumps(upload(floats((), 1))),
                 lambda: pickle.dumps(upload(floats((3, 5), 1)).T)):  # fmt: skip
        with pytest.raises(TypeError, match="CuPy would compile a kernel"):
            make()


@pytest.mark.parametrize(
    "remake", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
@pytest.mark.parametrize("axis", [None, 0])
def test_tensor_on_a_device_can_be_remade(remake, axis):
    scale = floats(3, 1) if axis == 0 else np.float32(0.5)
    with BACKEND.forced():
        q = QuantizedTensor(upload(codes((5, 3), 1)).T, upload(np.abs(scale)), axis=axis)
        again = remake(q)
        assert again == q


@pytest.mark.parametrize(
    "use",
    [np.asarray, bool, float, list, lambda x: np.ones(3) + x, lambda x: x + 1, lambda x: x[0]],
    ids=["asarray", "bool", "float", "list", "+ array", "+ number", "index"],
)
def test_device_array_does_nothing_that_would_wait_or_launch(use):
    with pytest.raises(TypeError):
        use(upload(np.ones(3)))


def test_transposed_array_is_a_view():
    x = upload(floats((3, 5), 1))
    assert_same_bits(download(x.T), download(x).T)
    assert x.T.address == x.address


def test_stand_in_has_the_functions_of_the_runtime():
    # `assign` is a launch like any other.
    public = {
        name: function
        for name, function in vars(runtime).items()
        if inspect.isfunction(function) and function.__module__ == runtime.__name__
        and not name.startswith("_") and name != "assign"
    }  # fmt: skip
    stand_in = BACKEND.stand_in()
    assert stand_in.keys() == public.keys()
    for name, function in public.items():
        assert [*inspect.signature(stand_in[name]).parameters] == [
            *inspect.signature(function).parameters
        ]


@pytest.mark.parametrize(
    ("grid", "block", "shared"),
    [(0, 32, 0), ((1, 0), 32, 0), ((1, 65536), 32, 0), (1, 0, 0), (1, 1025, 0), (1, (32, 64), 0),
     (1, 32, 163 * 1024 + 1), (1, 32, -1)],
    ids=str,
)  # fmt: skip
def test_launch_that_a_gpu_refuses_is_refused(grid, block, shared):
    with pytest.raises(AssertionError):
        BACKEND.launch("copies", {}, grid, block, (), shared)


@pytest.mark.parametrize("argument", [1, 1.0, True, None, np.zeros(1), np.zeros(3, np.int32)])
def test_argument_that_the_runtime_does_not_promise_to_pass_is_refused(argument):
    with pytest.raises(TypeError, match="cannot pass"):
        BACKEND.launch("copies", {}, 1, 32, (argument,))
