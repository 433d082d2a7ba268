# SPDX-License-Identifier: Apache-2.0
"""The public functions on the current GPU, through CuPy."""

import numpy as np

from device_backend import DeviceBackend
from halfbyte.cuda import runtime


class CudaBackend(DeviceBackend):
    """The current GPU."""

    kind = "cuda"

    def __init__(self) -> None:
        super().__init__(CudaDevice)

    def __str__(self) -> str:
        return "cuda"

    def __reduce__(self):
        return CudaBackend, ()


class CudaDevice:
    """Where the arrays of a call are: what DeviceBackend asks of a device. Blocks are pointers."""

    @staticmethod
    def upload(content, address):
        import cupy

        pointer = cupy.cuda.alloc(content.size + 512)
        block = pointer + (address - pointer.ptr) % 256
        _bytes(block, content.size).set(content)
        cupy.cuda.get_current_stream().synchronize()
        return block, content.size

    @staticmethod
    def write(block, content):
        _bytes(*block).set(content)

    @staticmethod
    def download(block):
        return _bytes(*block).get()

    @staticmethod
    def array(block, start, like):
        import cupy

        return cupy.ndarray(like.shape, like.dtype, block[0] + start, like.strides)

    @staticmethod
    def holds(x):
        import cupy

        return isinstance(x, cupy.ndarray)

    to_host = staticmethod(runtime.download)

    @staticmethod
    def spread(host, strides):
        import cupy

        last = sum((size - 1) * step for size, step in zip(host.shape, strides, strict=True))
        x = cupy.ndarray(host.shape, host.dtype, cupy.cuda.alloc(last + host.itemsize), strides)
        for index in np.ndindex(host.shape):
            x[(*index, ...)].set(host[(*index, ...)])
        return x

    @staticmethod
    def gather(x):
        host = np.empty(x.shape, x.dtype)
        for index in np.ndindex(host.shape):
            host[index] = x[(*index, ...)].get()
        return host


def _bytes(pointer, size):
    import cupy

    return cupy.ndarray((size,), np.uint8, pointer)


def has_gpu() -> bool:
    """Whether CuPy is installed and sees a GPU."""
    try:
        import cupy
    except ImportError:
        return False
    return cupy.cuda.is_available()
