# SPDX-License-Identifier: Apache-2.0
"""Optimizers and scalers on a device, seen through NumPy arrays like all that is on one.

Parameters and gradients are taken to the device when they are given, and what was written there is
in the caller's arrays after each call.
"""

import copy
import functools
import pickle

from device_backend import Taken


class OptimizerOnDevice:
    """An optimizer of parameters on a device."""

    def __init__(self, backend, kind, params, *args, **kwargs) -> None:
        params_there = Taken(backend.device, (params,))
        with backend.forced():
            optimizer = kind(params_there.taken(params), *args, **kwargs)
        self._begin(backend, optimizer, params_there)

    def _begin(self, backend, optimizer, params_there) -> None:
        self._backend, self._optimizer, self._params = backend, optimizer, params_there
        self._grads, self._given = Taken(backend.device, ()), (None, None)

    def run(self, method, *args, **kwargs):
        """Call something that steps or unscales, and bring back what it wrote."""
        self._params.send()
        self._grads.send()
        with self._backend.forced(), self._params, self._grads:
            return method(*args, **kwargs)

    @property
    def grads(self):
        taken, callers = self._given
        if self._optimizer.grads is taken:
            return callers
        return [self._grads.back(x) for x in self._optimizer.grads]

    @property
    def params(self):
        return tuple(map(self._params.back, self._optimizer.params))

    @property
    def master(self):
        with self._backend.forced():
            return tuple(map(self._params.back, self._optimizer.master))

    def __setattr__(self, name, value) -> None:
        if name.startswith("_"):
            vars(self)[name] = value
            return
        if name == "grads":
            self._grads = Taken(self._backend.device, (value,))
            self._given = self._grads.taken(value), value
            value = self._given[0]
        with self._backend.forced():
            setattr(self._optimizer, name, value)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._optimizer, name)  # a hyperparameter

    def step(self) -> None:
        self.run(self._optimizer.step)

    def zero_grad(self) -> None:
        self._optimizer.zero_grad()

    def state_dict(self):
        with self._backend.forced():
            state = self._optimizer.state_dict()
        entries = [
            {name: self._params.back(x) for name, x in entry.items()} for entry in state["state"]
        ]
        return state | {"state": entries}

    def load_state_dict(self, state) -> None:
        """Load a state of NumPy arrays, as an optimizer in the CPU's memory has it."""
        self.run(self._optimizer.load_state_dict, state)

    def another(self, params, **named):
        """Return an optimizer of the same kind."""
        return OptimizerOnDevice(self._backend, type(self._optimizer), params, **named)

    def __reduce__(self):
        with self._backend.forced():
            return _optimizer_of, (self._backend, pickle.dumps(self._optimizer))

    def __repr__(self) -> str:
        return repr(self._optimizer)


def _optimizer_of(backend, pickled):
    optimizer = OptimizerOnDevice.__new__(OptimizerOnDevice)
    with backend.forced():
        optimizer._begin(backend, pickle.loads(pickled), Taken(backend.device, ()))
    return optimizer


class ScalerOnDevice:
    """A scaler of losses and gradients on a device."""

    def __init__(self, backend, scaler) -> None:
        self._backend = backend
        self._scaler = scaler

    def scale(self, outputs):
        return self._backend.call(self._scaler.scale, outputs)

    def unscale_(self, optimizer) -> None:
        self._run(self._scaler.unscale_, optimizer)

    def step(self, optimizer, *args, **kwargs):
        stepped = self._run(self._scaler.step, optimizer, *args, **kwargs)
        device = self._backend.device
        return bool(device.to_host(stepped)) if device.holds(stepped) else stepped

    def _run(self, method, optimizer, *args, **kwargs):
        """Call a method with an optimizer whose gradients are on the device."""
        if isinstance(optimizer, OptimizerOnDevice):
            return optimizer.run(method, optimizer._optimizer, *args, **kwargs)
        grads = optimizer.grads
        with self._backend.forced(), Taken(self._backend.device, (grads,)) as there:
            optimizer.grads = there.taken(grads)
            try:
                return method(optimizer, *args, **kwargs)
            finally:
                optimizer.grads = grads

    @property
    def at_min_scale(self):
        with self._backend.forced():
            return self._scaler.at_min_scale

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._scaler, name)

        @functools.wraps(method)
        def call(*args, **kwargs):
            with self._backend.forced():
                return method(*args, **kwargs)

        return call

    def __copy__(self):
        with self._backend.forced():
            return ScalerOnDevice(self._backend, copy.copy(self._scaler))

    def __deepcopy__(self, memo):
        with self._backend.forced():
            return ScalerOnDevice(self._backend, copy.deepcopy(self._scaler))

    def __reduce__(self):
        with self._backend.forced():
            return ScalerOnDevice, (self._backend, pickle.loads(pickle.dumps(self._scaler)))
