# SPDX-License-Identifier: Apache-2.0
"""As much of CuPy as `halfbyte.cuda.runtime` uses, over NumPy arrays, for machines without a GPU.

What CuPy does is written down from its sources: how it packs a kernel's arguments
(`cupy/cuda/function.pyx`), that a function's attributes are those on the current device
(`cupy/_core/raw.pyx`), what needs a kernel of its own. Each device's doings are recorded.
"""

import ctypes
import types

import numpy as np


class FakeCupy(types.ModuleType):
    """A module `cupy` with two devices; what happened is recorded, from `launches` to `waits`."""

    def __init__(self) -> None:
        super().__init__("cupy")
        self.current = 0
        self.launches = []
        self.memsets = []
        self.uploads = self.waits = 0
        self.loaded = []
        self.ndarray = type("ndarray", (_Array,), {"cupy": self})
        self.RawModule = lambda path: _RawModule(self, path)
        self.cuda = types.SimpleNamespace(
            Device=lambda device: types.SimpleNamespace(compute_capability=("80", "120")[device]),
            runtime=types.SimpleNamespace(
                getDevice=lambda: self.current,
                cudaDevAttrMultiProcessorCount=16,
                deviceGetAttribute=lambda attribute, device: {(16, 0): 108, (16, 1): 188}[
                    attribute, device
                ],
            ),
        )

    def empty(self, shape, dtype):
        host = np.empty(shape, dtype)
        host.reshape(-1).view(np.uint8)[...] = 0xFF
        return self.ndarray(host, self.current)

    def empty_like(self, x, dtype):
        return self.ndarray(np.empty_like(x.host, dtype), self.current)

    def array(self, x, order):
        assert order == "C"
        assert x.ndim, "CuPy fills an array without dimensions by a kernel that it compiles"
        self.uploads += 1
        return self.ndarray(np.array(x, order="C"), self.current)

    def from_dlpack(self, x):
        if isinstance(x.content, Exception):
            raise x.content
        return self.ndarray(x.content, x.device)


class _Array:
    """A CuPy array, its memory the CPU's."""

    def __init__(self, host, device) -> None:
        self.host = host
        self.data = _MemoryPointer(self.cupy, host, device)
        self.shape, self.strides, self.dtype = host.shape, host.strides, host.dtype
        self.size, self.ndim, self.itemsize = host.size, host.ndim, host.itemsize
        self.nbytes = host.nbytes
        self.flags = types.SimpleNamespace(c_contiguous=host.flags.c_contiguous)

    def __dlpack_device__(self):
        return 2, self.data.device_id

    def view(self, type):  # noqa: A002
        return type(self.host, self.data.device_id)

    def reshape(self, shape):
        assert self.flags.c_contiguous, "CuPy copies what is not contiguous by a kernel"
        return self.cupy.ndarray(self.host.reshape(shape), self.data.device_id)

    def __getitem__(self, key):
        return self.cupy.ndarray(self.host[key], self.data.device_id)

    def get(self):
        assert self.flags.c_contiguous, "CuPy copies what is not contiguous by a kernel"
        self.cupy.waits += 1
        return self.host.copy()


class _MemoryPointer:
    """Where an array begins."""

    def __init__(self, cupy, host, device) -> None:
        self._cupy, self._host = cupy, host
        self.device_id, self.ptr = device, host.ctypes.data

    def memset_async(self, value, size):
        """Set bytes on the current stream; CuPy asks CUDA for nothing where there are none."""
        if size:
            assert self._cupy.current == self.device_id, "a stream of another device"
            self._cupy.memsets.append(size)
            ctypes.memset(self.ptr, value, size)


class _RawModule:
    def __init__(self, cupy, path) -> None:
        assert isinstance(path, str)
        self._cupy, self._path = cupy, path

    def get_function(self, name):
        self._cupy.loaded.append((self._cupy.current, self._path, name))
        return _RawKernel(self._cupy, name)


class _RawKernel:
    """A kernel; each device has a limit of dynamic shared memory of its own."""

    def __init__(self, cupy, name) -> None:
        self._cupy, self._name = cupy, name
        self._limits = {}
        self.settings = []

    @property
    def max_dynamic_shared_size_bytes(self):
        return self._limits.get(self._cupy.current, 48 * 1024)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size):
        self._limits[self._cupy.current] = size
        self.settings.append(size)

    def __call__(self, grid, block, args, *, shared_mem):
        assert isinstance(grid, tuple)
        assert isinstance(block, tuple)
        assert shared_mem <= self.max_dynamic_shared_size_bytes, "the launch would fail"
        packed = [self._packed(x) for x in args]
        self._cupy.launches.append((self._name, grid, block, packed, shared_mem))

    def _packed(self, x):
        """Return the bytes that the kernel gets."""
        if isinstance(x, self._cupy.ndarray):
            return np.uint64(x.data.ptr).tobytes()
        if isinstance(x, np.ndarray):
            assert x.size == 1, "CuPy passes arrays of one element only"
            return x.tobytes()
        assert isinstance(x, np.generic), type(x)
        return x.tobytes()
