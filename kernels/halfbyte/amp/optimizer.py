# SPDX-License-Identifier: Apache-2.0
"""What the optimizers share: parameters, FP32 masters, gradients, states to save and load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from halfbyte.amp.gradients import Gradients, collected, inverse_of, multiply
from halfbyte.amp.hyperparameters import Hyperparameter
from halfbyte.amp.numbers import checked_not_negative
from halfbyte.amp.states import check_keys, copied, fill
from halfbyte.arrays import F16, F32, Array, kind_of
from halfbyte.casts import to_f16, to_f32
from halfbyte.overlaps import check_disjoint
from halfbyte.tensors import library

if TYPE_CHECKING:
    pass


class Optimizer:
    """Parameters that are updated in place, their FP32 masters, and the optimizer's state.

    A subclass names its hyperparameters in `_HYPERPARAMETERS` and its state in `_fresh`, and makes
    a step in `_apply`.
    """

    _HYPERPARAMETERS: ClassVar[tuple[str, ...]]

    lr = Hyperparameter(checked_not_negative, "Learning rate.")
    weight_decay = Hyperparameter(checked_not_negative, "Weight decay; 0 for none.")

    def __init__(self, params: Any, **told: Any) -> None:
        name = type(self).__name__
        self._told = self._checked(name, told)
        self._params, self._views = _parameters(name, params)
        self._state = self._fresh(self._told)
        for p, master in zip(self._views, self._state["master"], strict=True):
            if master is not None:
                to_f32(p, out=master)
        self._rows: Any = None
        self.grads: Any = [None] * len(self._params)

    @property
    def params(self) -> tuple[Any, ...]:
        """The parameters, updated in place."""
        return self._params

    @property
    def master(self) -> tuple[Any, ...]:
        """Float32 arrays that the steps are made on; a float32 parameter is its own."""
        own = self._state["master"]
        return tuple(
            p if x is None else library.of(self._library, x)
            for p, x in zip(self._params, own, strict=True)
        )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.grads = [None] * len(self._params)

    def step(self) -> None:
        """Update the parameters by their gradients. Those without one stay.

        Raises
        ------
        TypeError
            Gradients of another kind or dtype.
        ValueError
            Gradients of another number or other shapes, or that share memory with what is written.
            Nothing is changed.
        """
        self._apply(self._gradients(f"{type(self).__name__}.step"), np.float32(1))

    def state_dict(self) -> dict[str, Any]:
        """Copy the hyperparameters, and each parameter's state.

        float16 parameters' masters are part of it. float32 parameters are not: they are the
        caller's to save.
        """
        self._settle()
        home = self._library
        state = [
            {name: copied(home, arrays[i]) for name, arrays in self._state.items()}
            for i in range(len(self._params))
        ]
        return {**self._told, "state": state}

    def load_state_dict(self, state: Any) -> None:
        """Go on from what `state_dict` returned for parameters of the same dtypes and shapes.

        float16 parameters become their masters, rounded.

        Raises
        ------
        TypeError
            Another kind of object, or another dtype.
        ValueError
            Missing or unknown keys, another number of parameters, other shapes, or hyperparameters
            out of range. Nothing is changed.
        """
        function = f"{type(self).__name__}.load_state_dict"
        check_keys(function, "state", state, {*self._HYPERPARAMETERS, "state"})
        told = self._checked(function, {name: state[name] for name in self._HYPERPARAMETERS})
        entries = state["state"]
        if not isinstance(entries, (list, tuple)):
            msg = f"{function}: state['state'] is a {kind_of(entries)}; need a list"
            raise TypeError(msg)
        if len(entries) != len(self._params):
            msg = f"{function}: state has {len(entries)} parameters; need {len(self._params)}"
            raise ValueError(msg)
        fresh = self._fresh(told)
        for i, entry in enumerate(entries):
            label = f"state['state'][{i}]"
            check_keys(function, label, entry, set(fresh))
            for name, arrays in fresh.items():
                fill(function, f"{label}[{name!r}]", arrays[i], entry[name])
        self._told, self._state, self._rows = told, fresh, None
        for p, master in zip(self._views, fresh["master"], strict=True):
            if master is not None:
                to_f16(master, out=p)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self._told.items())
        return f"{type(self).__name__}({len(self._params)} parameters, {told})"

    def __getstate__(self) -> dict[str, Any]:
        return {key: x for key, x in vars(self).items() if key not in ("_views", "_rows")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._views, self._rows = [library.view(p) for p in self._params], None

    # ---- For GradScaler ------------------------------------------------------------------------
    def _unscale(self, function: str, scale: float) -> bool:
        """Make the gradients float32 and unscaled. Returns whether all are finite."""
        inverse = inverse_of(function, "scale", scale)
        found = self._gradients(function)
        singles = [i for i, g in enumerate(found.arrays) if g.dtype == F32]
        in_place = Gradients(
            found.name,
            [found.keys[i] for i in singles],
            [found.arrays[i] for i in singles],
            found.library,
        )
        in_place.check_written(function)
        results = [g if g.dtype == F32 else np.empty_like(g, F32) for g in found.arrays]
        finite = multiply(found.arrays, results, inverse)
        grads = list(self.grads)
        for key, g, result in zip(found.keys, found.arrays, results, strict=True):
            if result is not g:
                grads[key] = library.of(found.library, result)
        self.grads = grads
        return finite

    def _scaled_step(self, function: str, scale: float) -> bool:
        """Step by gradients that are still scaled if all are finite. Returns whether."""
        from halfbyte.cpu import amp as cpu

        inverse = inverse_of(function, "scale", scale)
        found = self._gradients(function)
        finite = cpu.all_finite(found.arrays, inverse)
        if finite:
            self._apply(found, inverse)
        return finite

    # ---- For subclasses ------------------------------------------------------------------------
    def _fresh(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return the state before the first step, by name, for each parameter; masters not filled.

        What step writes is float32 and lies side by side.
        """
        masters = [np.zeros_like(p, F32) if p.dtype == F16 else None for p in self._views]
        return {"master": masters}

    def _apply(self, gradients: Gradients, inverse: np.float32) -> None:
        """Make a step with gradients that have been checked, times `inverse`."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Let the state follow hyperparameters that were set."""

    def _checked(self, function: str, told: dict[str, Any]) -> dict[str, Any]:
        """Return hyperparameters as they are kept."""
        checks = {name: getattr(type(self), name).check for name in self._HYPERPARAMETERS}
        return {name: check(function, name, told[name]) for name, check in checks.items()}

    def _tables(self, gradients: Gradients, *states: str) -> Any:
        """For float16 and for float32 gradients: the bytes of one, rows of all operands."""
        from halfbyte.cpu import amp as cpu

        if self._rows is None:
            own = self._state["master"]
            pairs = list(zip(self._views, own, strict=True))
            copies = [None if x is None else p for p, x in pairs]
            masters = [p if x is None else x for p, x in pairs]
            self._rows = cpu.StepRows(copies, masters, *(self._state[name] for name in states))
        for dtype in (F16, F32):
            chosen = [i for i, g in enumerate(gradients.arrays) if g.dtype == dtype]
            if chosen:
                keys = [gradients.keys[i] for i in chosen]
                arrays = [gradients.arrays[i] for i in chosen]
                yield dtype.itemsize, self._rows.table(keys, arrays)

    # ---- Arrays --------------------------------------------------------------------------------
    @property
    def _library(self) -> Any:
        return library.library_of(self._params[0])

    def _gradients(self, function: str) -> Gradients:
        """Check the gradients against the parameters and what a step writes."""
        if not isinstance(self.grads, (list, tuple)):
            msg = f"{function}: grads is a {kind_of(self.grads)}; need a list or tuple"
            raise TypeError(msg)
        if len(self.grads) != len(self._params):
            msg = f"{function}: grads has {len(self.grads)} entries; need {len(self._params)}, "
            raise ValueError(msg + "one for each parameter")
        found = collected(function, "grads", self.grads)
        if found.arrays and found.library is not self._library:
            msg = f"{function}: {found.label(0)} is no array of the parameters' library; need one"
            raise TypeError(msg)
        for i, (key, g) in enumerate(zip(found.keys, found.arrays, strict=True)):
            if g.shape != self._views[key].shape:
                msg = f"{function}: {found.label(i)} has shape {g.shape}; "
                raise ValueError(msg + f"need {self._views[key].shape}, that of params[{key}]")
        written = [
            *((f"params[{i}]", p) for i, p in enumerate(self._views)),
            *((f"master[{i}]", x) for i, x in enumerate(self._state["master"]) if x is not None),
        ]
        check_disjoint(
            function, [x for _, x in written], lambda i: written[i][0], found.arrays, found.label
        )
        return found


def _parameters(name: str, params: Any) -> tuple[tuple[Any, ...], list[Array]]:
    """Return parameters as they are, and as NumPy arrays, checked."""
    if not isinstance(params, (list, tuple)):
        msg = f"{name}: params is a {kind_of(params)}; need a list or tuple of arrays"
        raise TypeError(msg)
    if not params:
        msg = f"{name}: params is empty; need at least one array"
        raise ValueError(msg)
    if None in [p if p is None else 0 for p in params]:
        msg = f"{name}: params has None; need arrays only"
        raise TypeError(msg)
    seen = collected(name, "params", params)
    seen.check_written(name)
    return tuple(params), seen.arrays
