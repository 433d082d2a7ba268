# SPDX-License-Identifier: Apache-2.0
"""Arrays in the memory of the PTX machine that can be computed with, as CuPy's can.

NumPy computes, on that very memory, for whom halfbyte and its kernels are not tested: programs that
use NumPy's functions and operators on arrays of CuPy. What CuPy refuses is refused, as its sources
say (`cupy/_core/core.pyx`: `__array_ufunc__`, `__array_function__`, `__array__`): functions that
CuPy has not got, arguments that its own do not take, operands that are NumPy arrays. NumPy indices,
which CuPy uploads with a wait, are refused as well. What waits for the GPU is counted.
"""

import functools
import inspect
import types
from contextlib import contextmanager
from unittest import mock

import numpy as np

import device_arrays
from device_arrays import Block, DeviceArray

waits = 0  # so far
SCALARS = (bool, int, float, np.generic)


class NumberArray(DeviceArray, np.lib.mixins.NDArrayOperatorsMixin):
    """A device array with CuPy's operators and methods."""

    __hash__ = None

    # ---- NumPy's functions -------------------------------------------------------------------
    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if method != "__call__" or not hasattr(_cupy(), ufunc.__name__):
            return NotImplemented
        _check_operands(ufunc.__name__, (*inputs, *(out or ())))
        if out is None:
            return _device(ufunc(*_host(inputs), **kwargs), inputs)
        ufunc(*_host(inputs), out=_host(out), **kwargs)
        return out[0]

    def __array_function__(self, function, kinds, args, kwargs):
        own = _counterpart(function)
        if own is None or any(kind is not NumberArray for kind in kinds):
            return NotImplemented
        inspect.signature(own).bind(*args, **kwargs)  # TypeError: CuPy's takes no such argument
        if function is not np.asarray:
            _check_operands(function.__name__, (args, kwargs))
        return _device(function(*_host(args), **_host(kwargs)), (args, kwargs))

    def __array__(self, dtype=None, copy=None):
        msg = "Implicit conversion to a NumPy array is not allowed."
        raise TypeError(msg)

    # ---- Asking for values, which waits --------------------------------------------------------
    def get(self):
        global waits
        waits += 1
        return np.array(_host(self), order="C")

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __bool__(self):
        return bool(self.get())

    def __int__(self):
        return int(self.get())

    def __float__(self):
        return float(self.get())

    # ---- Elements --------------------------------------------------------------------------------
    def __getitem__(self, key):
        return _device(_host(self)[_host(_checked_key(key))], (self,))

    def __setitem__(self, key, value):
        _check_operands("__setitem__", (value,))
        _host(self)[_host(_checked_key(key))] = _host(value)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __deepcopy__(self, memo):
        return self.copy()


def _method(name):
    def call(self, *args, **kwargs):
        _check_operands(name, (args, kwargs))
        return _device(getattr(_host(self), name)(*args, **kwargs), (self,))

    return call


# Those of CuPy that programs here use; a view stays one.
for _name in ("argmax", "copy", "max", "mean", "reshape", "sum", "swapaxes", "transpose", "view"):
    setattr(NumberArray, _name, _method(_name))


def asarray(x):
    """Return an array on the device: x itself, or a copy of a NumPy array."""
    return x if isinstance(x, NumberArray) else device_arrays.upload(np.asarray(x))


def _as_strided(x, shape, strides):
    return _device(np.lib.stride_tricks.as_strided(_host(x), shape, strides), (x,))


lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(as_strided=_as_strided))


@contextmanager
def made_by(backend):
    """Run a block on a backend of the PTX machine, whose arrays can be computed with."""
    with backend.forced(), mock.patch.object(device_arrays, "DeviceArray", NumberArray):
        yield


# ---- To and fro ----------------------------------------------------------------------------------
def _host(value):
    """Return a value whose arrays are NumPy's, in the device's memory."""
    if isinstance(value, DeviceArray):
        block = value.block
        start = value.address - block.address
        host = np.ndarray(value.shape, value.dtype, block.bytes, start, value.strides)
        host.flags.writeable = value.writeable
        return host
    if isinstance(value, (tuple, list)):
        return type(value)(map(_host, value))
    if isinstance(value, dict):
        return {name: _host(x) for name, x in value.items()}
    return value


def _device(result, sources):
    """Return a result on the device: a view of a source's memory, or a new array."""
    result = np.asarray(result)
    for block in {x.block for x in _arrays(sources)}:
        start = result.ctypes.data - block.bytes.ctypes.data
        if result.size and 0 <= start < block.size:
            layout = result.shape, result.strides, result.dtype, result.flags.writeable
            return NumberArray(block, start, *layout)
    copy = np.array(result, order="K")
    block = Block(copy.nbytes)
    new = NumberArray(block, 0, copy.shape, copy.strides, copy.dtype)
    if copy.size:
        _host(new)[...] = copy
    return new


def _arrays(value):
    if isinstance(value, DeviceArray):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _arrays(part)
    elif isinstance(value, dict):
        yield from _arrays(list(value.values()))


# ---- What CuPy refuses ---------------------------------------------------------------------------
def _check_operands(name, value):
    if isinstance(value, np.ndarray):
        msg = f"{name}: Unsupported type {type(value)}"  # CuPy's words
        raise TypeError(msg)
    if isinstance(value, (tuple, list)):
        for part in value:
            _check_operands(name, part)
    elif isinstance(value, dict):
        _check_operands(name, list(value.values()))


def _checked_key(key):
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, (np.ndarray, list)):
            msg = f"a {type(part).__name__} as index would be uploaded"
            raise TypeError(msg)
    return key


def _counterpart(function):
    """Return the function that CuPy calls in the place of NumPy's, or None."""
    try:
        module = functools.reduce(getattr, function.__module__.split(".")[1:], _cupy())
        own = getattr(module, function.__name__)
    except AttributeError:
        return None
    return None if own is function else own


@functools.cache
def _cupy():
    import cupy

    return cupy
