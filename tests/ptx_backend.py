# SPDX-License-Identifier: Apache-2.0
"""The public functions on the PTX machine, through a stand-in for `halfbyte.cuda.runtime`.

The stand-in replaces the functions of that file that talk to CuPy, one by one, while a call runs.
All else is what runs on a GPU: checks, plans, grids, arguments, and the PTX of each kernel.
"""

import functools
from contextlib import contextmanager
from unittest import mock

import numpy as np

import device_arrays
from device_arrays import DeviceArray
from device_backend import DeviceBackend
from halfbyte.cuda import compile as compiler
from halfbyte.cuda import runtime
from ptx_machine import Module

ARCHITECTURES = (75, 80, 90, 120)

# Few, so that work split by their number is split unevenly and soon.
MULTIPROCESSORS = 3

_MOST_BLOCKS = (2**31 - 1, 65535, 65535)
_MOST_THREADS = (1024, 1024, 64)
_MOST_SHARED = {75: 64, 80: 163, 89: 99, 90: 227, 120: 99}  # KiB a block


class PtxBackend(DeviceBackend):
    """A GPU of one architecture, as the PTX machine is one."""

    kind = "ptx"
    counters = None  # if set: what counts launches

    def __init__(self, architecture: int) -> None:
        super().__init__(PtxDevice)
        self.architecture = architecture

    def __str__(self) -> str:
        return f"ptx-compute_{self.architecture}"

    def __reduce__(self):
        return PtxBackend, (self.architecture,)

    @contextmanager
    def forced(self):
        """Put the stand-in in the place of CuPy for a block."""
        with mock.patch.multiple(runtime, **self.stand_in()):
            yield

    def stand_in(self):
        """What stands in for the functions of `runtime` that talk to CuPy, by name."""
        return {
            "array": array,
            "empty": device_arrays.empty,
            "is_own": PtxDevice.holds,
            "zeros": device_arrays.zeros,
            "zeros_like": device_arrays.zeros_like,
            "flag": device_arrays.flag,
            "empty_like": device_arrays.empty_like,
            "upload": device_arrays.upload,
            "download": device_arrays.download,
            "header": device_arrays.header,
            "address": device_arrays.address,
            "capability": lambda: self.architecture,
            "multiprocessors": lambda: MULTIPROCESSORS,
            "launch": self.launch,
        }

    def launch(self, stem, defines, grid, block, arguments, shared=0):
        """Run a kernel as `runtime.launch` does, after the checks that a driver makes."""
        grid, block = _three(grid), _three(block)
        assert all(1 <= n <= most for n, most in zip(grid, _MOST_BLOCKS, strict=True)), grid
        assert all(1 <= n <= most for n, most in zip(block, _MOST_THREADS, strict=True)), block
        assert np.prod(block) <= 1024, block
        assert 0 <= shared <= _MOST_SHARED[self.architecture] * 1024, shared
        passed = [_argument(x) for x in arguments]
        kernel = module(self.architecture, stem, tuple(sorted(defines.items())))
        memory = device_arrays.memory()
        kernel.launch(stem, grid, block, passed, memory, shared=shared, counters=self.counters)


class PtxDevice:
    """Where the arrays of a call are: what DeviceBackend asks of a device."""

    @staticmethod
    def upload(content, address):
        block = device_arrays.Block(content.size, address)
        block.bytes[...] = content
        return block

    @staticmethod
    def download(block):
        return block.bytes

    @staticmethod
    def write(block, content):
        block.bytes[...] = content

    @staticmethod
    def array(block, start, like):
        return DeviceArray(block, start, like.shape, like.strides, like.dtype, like.flags.writeable)

    @staticmethod
    def holds(x):
        return isinstance(x, DeviceArray)

    to_host = staticmethod(device_arrays.download)
    spread = staticmethod(device_arrays.spread)
    gather = staticmethod(device_arrays.gather)


def array(function, name, x):
    if not isinstance(x, DeviceArray):
        msg = f"{function}: {name} is a {type(x).__name__}; need an array on the device"
        raise TypeError(msg)
    return x


def _three(size):
    size = size if isinstance(size, tuple) else (size,)
    return (*size, 1, 1)[:3]


def _argument(x):
    """Return what a kernel gets for an argument: an address, or a value."""
    if isinstance(x, DeviceArray):
        return x.address
    by_value = isinstance(x, np.ndarray) and x.dtype.names is not None and x.size == 1
    if not by_value and not isinstance(x, np.generic):
        msg = f"cannot pass a {type(x).__name__} to a kernel"
        raise TypeError(msg)
    return x


@functools.cache
def module(architecture, stem, defines) -> Module:
    """Return a kernel's file as it is compiled for an architecture."""
    return Module(compiler.build(stem, dict(defines), f"compute_{architecture}").decode())
