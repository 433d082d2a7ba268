# SPDX-License-Identifier: Apache-2.0
"""The only file that talks to CuPy: arrays, the current device, launches on the current stream.

Nothing here waits for the GPU but `download`. Nothing here makes CuPy compile a kernel of its own
either (as `fill`, `astype` and copies between strides do): that needs CUDA's headers.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import Array, kind_of
from halfbyte.cuda import compile as compiler

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    _Size = int | tuple[int, ...]


def array(function: str, name: str, x: Any) -> Any:
    """Return an array on the current GPU as a CuPy array, without a copy.

    TypeError: CuPy cannot view it. ValueError: it is on another device than the current one.
    """
    import cupy

    if isinstance(x, cupy.ndarray):
        view = x if type(x) is cupy.ndarray else x.view(type=cupy.ndarray)
    else:
        try:
            view = cupy.from_dlpack(x)
        except (BufferError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            dtype = getattr(x, "dtype", None)
            msg = f"{function}: {name} is a {kind_of(x)} with dtype {dtype} that CuPy cannot view: "
            msg += f"{error}; need float16, float32 or integer values in a GPU's memory"
            raise TypeError(msg) from error
    device, current = view.data.device_id, _device()
    if device != current:
        msg = f"{function}: {name} is on device {device} and the current device is {current}; "
        msg += f"need arrays on the current one, or `with cupy.cuda.Device({device}):`"
        raise ValueError(msg)
    return view


def is_own(x: Any) -> bool:
    """Whether an object is an array of CuPy."""
    import cupy

    return isinstance(x, cupy.ndarray)


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a new array in C order, its elements arbitrary."""
    import cupy

    return cupy.empty(shape, dtype)


def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a new array in C order, its bytes zero."""
    x = empty(shape, dtype)
    x.data.memset_async(0, x.nbytes)  # on the current stream; nothing where there are no bytes
    return x


def flag(value: bool) -> Any:
    """Return a new bool array of shape (), at the start of a word of its own."""
    word = empty((4,), np.dtype(np.bool_))
    word.data.memset_async(int(value), 4)
    return word[:1].reshape(())


def zeros_like(x: Any, dtype: Any) -> Any:
    """Return a new array of x's shape in x's order of memory, its bytes zero."""
    new = empty_like(x, dtype)
    new.data.memset_async(0, new.nbytes)
    return new


def empty_like(x: Any, dtype: Any) -> Any:
    """Return a new array of x's shape in x's order of memory, its elements arbitrary."""
    import cupy

    return cupy.empty_like(x, dtype)


def upload(host: Array) -> Any:
    """Return a copy on the GPU, in C order. `host` is in memory that is not pinned.

    CuPy has read it when this returns.
    """
    import cupy

    # CuPy fills arrays without dimensions by a kernel.
    return cupy.array(host.reshape(-1), order="C").reshape(host.shape)


def download(x: Any) -> Array:
    """Wait for the current stream and return a copy in the CPU's memory, in C order."""
    from halfbyte.cuda import copies

    host: Array = (x if x.flags.c_contiguous else copies.copied(x)).get()
    return host


def assign(target: Any, source: Any) -> None:
    """target[...] = source, arrays of one shape and of dtypes that `copies` knows."""
    from halfbyte.cuda import copies

    copies.copy(source, target)


def header(x: Any) -> Array:
    """Return a NumPy array that says where x lies and must not be read: the memory is the GPU's."""
    return np.asarray(_Header(x))


class _Header:
    def __init__(self, x: Any) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (address(x), False),
            "shape": x.shape,
            "strides": x.strides,
            "typestr": x.dtype.str,
        }


def address(x: Any) -> int:
    """Return the address of x's first element."""
    pointer: int = x.data.ptr
    return pointer


def capability() -> int:
    """Return the current device's compute capability: 80 for 8.0."""
    return _capability(_device())


def multiprocessors() -> int:
    """Return how many multiprocessors the current device has."""
    return _multiprocessors(_device())


def launch(
    stem: str,
    defines: Mapping[str, int | str],
    grid: _Size,
    block: _Size,
    arguments: Iterable[Any],
    shared: int = 0,
) -> None:
    """Launch the kernel of `<stem>.cu` on the current stream.

    arguments: device arrays, whose addresses are passed; NumPy scalars, passed by dtype; structured
    NumPy arrays of one element, passed by value. shared: bytes of dynamic shared memory.
    """
    kernel = _kernel(_device(), stem, tuple(sorted(defines.items())))
    kernel.reserve(shared)
    kernel.function(_tuple(grid), _tuple(block), tuple(arguments), shared_mem=shared)


def _tuple(size: _Size) -> tuple[int, ...]:
    return size if isinstance(size, tuple) else (size,)


class _Kernel:
    """A kernel on one device, and how much dynamic shared memory it may use there."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self._allowed: int = function.max_dynamic_shared_size_bytes

    def reserve(self, shared: int) -> None:
        """Let the kernel use this much; a device gives 48 KiB unasked."""
        if shared > self._allowed:
            self.function.max_dynamic_shared_size_bytes = shared
            self._allowed = shared


@functools.cache
def _kernel(device: int, stem: str, defines: tuple[tuple[str, int | str], ...]) -> _Kernel:
    import cupy

    path = compiler.cubin(stem, dict(defines), _capability(device))
    return _Kernel(cupy.RawModule(path=str(path)).get_function(stem))


@functools.cache
def _capability(device: int) -> int:
    import cupy

    return int(cupy.cuda.Device(device).compute_capability)


@functools.cache
def _multiprocessors(device: int) -> int:
    import cupy

    runtime = cupy.cuda.runtime
    count: int = runtime.deviceGetAttribute(runtime.cudaDevAttrMultiProcessorCount, device)
    return count


def _device() -> int:
    import cupy

    current: int = cupy.cuda.runtime.getDevice()
    return current
