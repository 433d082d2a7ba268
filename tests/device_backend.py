# SPDX-License-Identifier: Apache-2.0
"""The public functions on a device, called with NumPy arrays and answering with NumPy arrays.

Tests are written with NumPy arrays. A device backend takes those among the arguments of a call to
the device with the very layout they have, calls halfbyte, and takes back what the call returned
and whatever it wrote. What is no plain array goes along as it is, so that it meets the same checks.
"""

import copy
import functools
import pickle
from contextlib import contextmanager

import numpy as np

import halfbyte
from halfbyte import Int4Array, QuantizedTensor

OPTIMIZERS = ("SGD", "Adam", "AdamW")


class DeviceBackend:
    """What the backends on a device have in common; each adds its device.

    A device has `upload(bytes, address)`, which returns a block with these bytes, as far from a
    multiple of 256 as `address` is; `download(block)`; `write(block, bytes)`;
    `array(block, start, like)`, the array in the block that looks like the NumPy array `like`;
    `holds(x)`; and `to_host(x)`. Arrays too large to be taken along are made by
    `spread(host, strides)`, and read by `gather(x)`.
    """

    exact = True

    def __init__(self, device) -> None:
        self.device = device

    def __repr__(self) -> str:
        return str(self)

    def warm_up(self) -> None:
        """Compile nothing ahead: a kernel takes milliseconds."""

    @contextmanager
    def forced(self):
        """Make the device the current one for a block."""
        yield

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        function = getattr(halfbyte, name)
        if isinstance(function, type):
            return functools.partial(_made, self, function)

        @functools.wraps(function)
        def call(*args, **kwargs):
            return self.call(function, *args, **kwargs)

        return call

    def call(self, function, *args, **kwargs):
        """Call a function with arguments on the device, and return its result on the host."""
        with self.forced(), Taken(self.device, (args, kwargs)) as there:
            return there.back(function(*there.taken(args), **there.taken(kwargs)))


def _made(backend, kind, *args, **kwargs):
    """Return an object of a class of halfbyte for arrays on a device."""
    from device_training import OptimizerOnDevice, ScalerOnDevice

    if kind.__name__ in OPTIMIZERS:
        return OptimizerOnDevice(backend, kind, *args, **kwargs)
    wrapper = ScalerOnDevice if kind.__name__ == "GradScaler" else ObserverOnDevice
    return wrapper(backend, kind(*args, **kwargs))


class ObserverOnDevice:
    """An observer of arrays on a device."""

    def __init__(self, backend, observer) -> None:
        self._backend = backend
        self._observer = observer

    @property
    def axis(self):
        return self._observer.axis

    def update(self, x) -> None:
        self._backend.call(self._observer.update, x)

    def scale_zero_point(self, *args, **kwargs):
        return self._backend.call(self._observer.scale_zero_point, *args, **kwargs)

    def merge(self, other) -> None:
        self._backend.call(self._observer.merge, getattr(other, "_observer", other))

    def __copy__(self):
        with self._backend.forced():
            return ObserverOnDevice(self._backend, copy.copy(self._observer))

    def __deepcopy__(self, memo):
        with self._backend.forced():
            return ObserverOnDevice(self._backend, copy.deepcopy(self._observer))

    def __reduce__(self):
        with self._backend.forced():
            return _observer_of, (self._backend, pickle.dumps(self._observer))

    def __repr__(self) -> str:
        return repr(self._observer)


def _observer_of(backend, pickled):
    with backend.forced():
        return ObserverOnDevice(backend, pickle.loads(pickled))


class Taken:
    """The arrays of one call. Those that overlap on the host do so on the device."""

    def __init__(self, device, arguments) -> None:
        self._device = device
        self._callers = {}  # what was taken along: id -> (on the device, the caller's)
        self._blocks = []
        ends = []
        for x in sorted(_arrays(arguments), key=lambda x: _bounds(x)[0]):
            low, high = _bounds(x)
            if ends and low < ends[-1][1]:
                ends[-1][1] = max(high, ends[-1][1])
            else:
                ends.append([low, high])
        for low, high in ends:
            host = np.asarray(_Memory(low, high - low))
            self._blocks.append((low, high, host, self._device.upload(host, low)))

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        for _, _, host, block in self._blocks:
            after = self._device.download(block)
            if (host != after).any():  # an input that was read-only has not changed
                host[...] = after

    def send(self) -> None:
        """Bring what the caller's arrays have now to the device."""
        for _, _, host, block in self._blocks:
            self._device.write(block, host)

    def taken(self, value):
        """Return a value with all its NumPy arrays on the device."""
        if _is_array(value):
            return self._remembered(value, self._array(value))
        if isinstance(value, QuantizedTensor):
            parts = map(self.taken, (value.values, value.scale, value.zero_point))
            return self._remembered(value, QuantizedTensor._trusted(*parts, *value._arguments()))
        if isinstance(value, Int4Array):
            packed = self.taken(value.packed)
            return self._remembered(value, Int4Array._trusted(packed, value.shape, value.signed))
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.taken, value))
        if isinstance(value, dict):
            return {name: self.taken(x) for name, x in value.items()}
        return value

    def _array(self, x):
        low, high = _bounds(x)
        for start, end, _, block in self._blocks:
            if start <= low and high <= end:
                return self._device.array(block, x.ctypes.data - start, x)
        raise AssertionError(x)

    def _remembered(self, callers, taken):
        self._callers[id(taken)] = taken, callers
        return taken

    def back(self, value):
        """Return a result with all its device arrays on the host, the caller's own as they were."""
        if id(value) in self._callers:
            return self._callers[id(value)][1]
        if self._device.holds(value):
            return self._device.to_host(value)
        if isinstance(value, QuantizedTensor):
            parts = map(self.back, (value.values, value.scale, value.zero_point))
            return QuantizedTensor._trusted(*parts, *value._arguments())
        if isinstance(value, tuple):
            return tuple(map(self.back, value))
        return value


class _Memory:
    def __init__(self, address, size) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (address, False),
            "shape": (size,),
            "typestr": "|u1",
        }


def _is_array(x):
    """Whether x is an array that a device can hold."""
    return type(x) is np.ndarray and x.dtype.kind in "biufc" and x.dtype.isnative


def _arrays(value):
    """All the arrays in a value that a device can hold."""
    if _is_array(value):
        yield value
    elif isinstance(value, QuantizedTensor):
        yield from _arrays((value.values, value.scale, value.zero_point))
    elif isinstance(value, Int4Array):
        yield from _arrays(value.packed)
    elif isinstance(value, dict):
        yield from _arrays(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _arrays(part)


def _bounds(x):
    """Return the address of the first byte, and of the one after the last."""
    return np.lib.array_utils.byte_bounds(x) if x.size else (x.ctypes.data, x.ctypes.data)
