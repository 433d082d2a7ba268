# SPDX-License-Identifier: Apache-2.0
"""Arrays in the memory of the PTX machine: what the tests have in CuPy's place.

They do what CuPy's arrays must do for halfbyte, and nothing that CuPy would launch a kernel of its
own or wait for the GPU for. This module is their library, as `__array_namespace__` tells.
"""

import functools
import sys
import weakref

import numpy as np

from ptx_machine import Memory

float16 = np.float16
float32 = np.float32
int8 = np.int8
uint8 = np.uint8
int32 = np.int32

ALIGNMENT = 256


def from_dlpack(x):
    """Return a device array as it is: there is no other library on this device."""
    if not isinstance(x, DeviceArray):
        msg = f"a {type(x).__name__} is not on the device"
        raise TypeError(msg)
    return x


@functools.cache
def memory() -> Memory:
    """The one memory of the process."""
    return Memory()


class Block:
    """An allocation, freed with the last array in it. Its start is `offset` past the alignment."""

    def __init__(self, size: int, offset: int = 0, fill: bool = True) -> None:
        self.size = size
        self.address = memory().allocate(size, ALIGNMENT, offset % ALIGNMENT, fill)
        weakref.finalize(self, memory().free, self.address).atexit = False

    @property
    def bytes(self):
        """A view of the content."""
        return memory().view(self.address, self.size)


class DeviceArray:
    """Elements of a block, `start` bytes after its own start."""

    __array_ufunc__ = None

    def __init__(self, block, start, shape, strides, dtype, writeable=True):
        self.block = block
        self.shape = tuple(shape)
        self.strides = tuple(strides)
        self.dtype = np.dtype(dtype)
        self.address = block.address + start
        self.writeable = writeable

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def itemsize(self):
        return self.dtype.itemsize

    @property
    def nbytes(self):
        return self.size * self.itemsize

    @property
    def T(self):
        return DeviceArray(
            self.block,
            self.address - self.block.address,
            self.shape[::-1],
            self.strides[::-1],
            self.dtype,
            self.writeable,
        )

    def __len__(self):
        return self.shape[0]

    def __dlpack_device__(self):
        return 2, 0  # kDLCUDA, the first device

    def __array_namespace__(self, api_version=None):
        return sys.modules[__name__]

    def __array__(self, dtype=None, copy=None):
        msg = "a device array was to be copied to the CPU's memory unasked"
        raise TypeError(msg)

    def __bool__(self):
        msg = "a device array was asked whether it is true, which waits for the GPU"
        raise TypeError(msg)

    def item(self):
        return download(self).item()

    def __reduce__(self):
        strides = np.empty(self.shape, self.dtype).strides
        if not self.ndim or self.strides != strides:
            msg = "CuPy would compile a kernel for that: an array without dimensions, or strided"
            raise TypeError(msg)
        return upload, (download(self),)

    def __deepcopy__(self, memo):
        msg = "CuPy would compile a kernel for a deep copy"
        raise TypeError(msg)

    def __repr__(self):
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, address={self.address:#x})"


def header(x):
    """Return a NumPy array that says where x lies, and must not be read."""
    return np.asarray(_Header(x))


class _Header:
    def __init__(self, x):
        self.__array_interface__ = {
            "version": 3,
            "data": (x.address, not x.writeable),
            "shape": x.shape,
            "strides": x.strides,
            "typestr": x.dtype.str,
        }


def address(x):
    """Return the address of the first element."""
    return x.address


def empty(shape, dtype):
    """Return a new array in C order."""
    return _like(np.empty(shape, dtype))


def zeros(shape, dtype):
    """Return a new array in C order, its bytes zero."""
    x = empty(shape, dtype)
    x.block.bytes[...] = 0
    return x


def flag(value):
    """Return a bool array of shape (), at the start of a word of its own."""
    word = empty((4,), np.bool_)
    word.block.bytes[...] = value
    return DeviceArray(word.block, 0, (), (), np.bool_)


def zeros_like(x, dtype):
    """Return a new array of x's shape in its order of memory, its bytes zero."""
    new = empty_like(x, dtype)
    new.block.bytes[...] = 0
    return new


def empty_like(x, dtype):
    """Return a new array of x's shape in its order of memory."""
    return _like(np.empty_like(header(x), dtype))


def _like(host):
    """Return a new array with the layout of a host array without gaps."""
    return DeviceArray(Block(host.nbytes), 0, host.shape, host.strides, host.dtype)


def upload(host):
    """Return a copy in C order."""
    x = empty(host.shape, host.dtype)
    x.block.bytes[...] = np.ascontiguousarray(host).reshape(-1).view(np.uint8)
    return x


def spread(host, strides):
    """Return a copy with these strides, none negative, whose gaps take no memory."""
    last = sum((size - 1) * stride for size, stride in zip(host.shape, strides, strict=True))
    x = DeviceArray(Block(last + host.itemsize, fill=False), 0, host.shape, strides, host.dtype)
    np.ndarray(x.shape, x.dtype, x.block.bytes, 0, strides)[...] = host
    return x


def gather(x):
    """Return a copy of what `spread` made, without its gaps."""
    return np.ndarray(x.shape, x.dtype, x.block.bytes, 0, x.strides).copy()


def download(x):
    """Return a copy of the elements, with x's strides, in the CPU's memory."""
    low, high = np.lib.array_utils.byte_bounds(header(x)) if x.size else (x.address, x.address)
    content = memory().view(low, high - low).copy()
    return np.ndarray(x.shape, x.dtype, content, x.address - low, x.strides)
