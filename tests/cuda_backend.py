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
