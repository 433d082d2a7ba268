# SPDX-License-Identifier: Apache-2.0
"""What the optimizers share: parameters, FP32 masters, gradients, states to save and load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from halfbyte.amp.collected import Gradients, collected
from halfbyte.amp.gradients import inverse_of, unscale_by
from halfbyte.amp.hyperparameters import Hyperparameter
from halfbyte.amp.named import Named
from halfbyte.amp.numbers import checked_not_negative
from halfbyte.amp.states import check_keys, each, fill, on_device_again, rows_of, saved
from halfbyte.arrays import F16, F32, Array, header, kind_of, on_device
from halfbyte.batch import Batch, check_disjoint
from halfbyte.casts import to_f16, to_f32
from halfbyte.devices import backend_of, check_current, empty_like, on_host, zeros_like
from halfbyte.tensors import library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.amp.scale import Scale
    from halfbyte.cuda.amp import Condition


# Found out about the rest (`_find_out`), and so not pickled.
_FOUND_OUT = ("_views", "_headers", "_library", "_on_device", "_found")


class _Places(NamedTuple):
    """The arrays that a step writes, as far as callers see them, and their table."""

    written: Batch
    rows: Any  # StepRows of cpu.amp or cuda.amp


class Optimizer(Named):
    """Parameters that are updated in place, their FP32 masters, and the optimizer's state.

    A subclass names its hyperparameters in `_HYPERPARAMETERS` and its state in `_fresh`, and makes
    a step in `_apply`, or in `_launch` on a GPU.
    """

    _HYPERPARAMETERS: ClassVar[tuple[str, ...]]
    _STEPPED: ClassVar[tuple[str, ...]]  # names of the state's arrays that kernels update
    _found: _Places | None

    lr = Hyperparameter(checked_not_negative, "Learning rate.")
    weight_decay = Hyperparameter(checked_not_negative, "Weight decay; 0 for none.")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._SETTABLE = ("grads", *cls._HYPERPARAMETERS)

    def __init__(self, params: Any, **told: Any) -> None:
        name = type(self).__name__
        self._told = self._checked(name, told)
        self._params = _parameters(name, params)
        self._find_out()
        self._state = self._fresh(self._told)
        for p, master in zip(self._views, self._state["master"], strict=True):
            if master is not None:
                to_f32(p, out=master)
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
        gradients = self._gradients(f"{type(self).__name__}.step")
        if not self._on_device:
            self._apply(gradients, np.float32(1))
            return
        from halfbyte.cuda.amp import Condition

        self._launch_step(self._table(gradients), Condition())

    def state_dict(self) -> dict[str, Any]:
        """Copy the hyperparameters, and each parameter's state.

        float16 parameters' masters are part of it. float32 parameters are not: they are the
        caller's to save.
        """
        self._check_device(f"{type(self).__name__}.state_dict")
        count, like = len(self._params), self._views[0]
        return {**self._told, "state": saved(self._library, like, self._state, count)}

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
        self._check_device(function)
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
        rows = rows_of(fresh)
        for i, entry in enumerate(entries):
            label = f"state['state'][{i}]"
            check_keys(function, label, entry, set(fresh))
            for name, arrays in rows.items():
                fill(function, f"{label}[{name!r}]", arrays[i], entry[name])
        self._check_state(function, rows)
        self._check_writeable(function)
        fresh = on_device_again(self._views[0], rows)
        self._told, self._state, self._found = told, fresh, None
        for p, master in zip(self._views, fresh["master"], strict=True):
            if master is not None:
                to_f16(master, out=p)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self._told.items())
        count = len(self._params)
        return f"{type(self).__name__}({count} parameter{'s' * (count != 1)}, {told})"

    def __getstate__(self) -> dict[str, Any]:
        kept = {key: x for key, x in vars(self).items() if key not in _FOUND_OUT}
        if self._on_device:  # in the CPU's memory
            kept["_state"] = {name: each(on_host, x) for name, x in self._state.items()}
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._find_out()
        if self._on_device:
            self._state = on_device_again(self._views[0], self._state)

    def _find_out(self) -> None:
        """Find out about the parameters what each step asks for."""
        self._views = [library.device_view(p) for p in self._params]
        self._headers = list(map(header, self._views))
        self._library = library.library_of(self._params[0])
        self._on_device = on_device(self._views[0])
        self._found = None

    # ---- For GradScaler ------------------------------------------------------------------------
    @property
    def _steps_by_itself(self) -> bool:
        """Whether `step` is this class's own, not overridden or wrapped."""
        return type(self).step is Optimizer.step and "step" not in vars(self)

    def _unscale(self, function: str, scale: Scale) -> Any:
        """Make the gradients float32 and unscaled. Returns whether all are finite."""
        found = self._gradients(function)
        found.of(F32).check_written(function, found.of(F16))
        results = [g if g.dtype == F32 else empty_like(g, F32) for g in found.arrays]
        finite = unscale_by(function, found, Batch(list(map(header, results))), scale)
        grads = list(self.grads)
        for key, g, result in zip(found.keys, found.arrays, results, strict=True):
            if result is not g:
                grads[key] = library.of(found.library, result)
        self.grads = grads
        return finite

    def _scaled_step(self, function: str, scale: Scale) -> Any:
        """Step by gradients that are still scaled if all are finite. Returns whether."""
        if self._on_device:
            from halfbyte.cuda import amp_scale
            from halfbyte.cuda.amp import Condition

            table, state = self._table(self._gradients(function)), scale.on_device(function)
            flag = amp_scale.look(table, state)
            self._launch_step(table, Condition(amp_scale.inverse(state), flag))
            return flag
        from halfbyte.cpu import amp as cpu

        inverse = inverse_of(function, "scale", scale.value)
        found = self._gradients(function)
        finite = cpu.all_finite(found.batch, inverse)
        if finite:
            self._apply(found, inverse)
        return finite

    def _step_if(self, function: str, finite: Any) -> None:
        """Step by gradients that are unscaled unless a flag says no."""
        from halfbyte.cuda.amp import Condition

        self._launch_step(self._table(self._gradients(function)), Condition(finite=finite))

    # ---- For subclasses ------------------------------------------------------------------------
    def _fresh(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return the state before the first step, by name, for each parameter; masters not filled.

        What step writes is float32 and lies side by side.
        """
        masters = [zeros_like(p, F32) if p.dtype == F16 else None for p in self._views]
        return {"master": masters}

    def _apply(self, gradients: Gradients, inverse: np.float32) -> None:
        """Make a step with gradients that have been checked, times `inverse`."""
        raise NotImplementedError

    def _launch(self, table: Any, condition: Condition) -> None:
        """Make a step on a GPU, of a table of parameters and gradients."""
        raise NotImplementedError

    def _table(self, gradients: Gradients) -> Any:
        """Return what a step on a GPU is launched with; None where there are no gradients."""
        if not gradients.keys:
            return None
        return self._places.rows.table(gradients.keys, gradients.batch)

    def _launch_step(self, table: Any, condition: Condition) -> None:
        if table is not None:
            self._launch(table, condition)

    def _settle(self) -> None:
        """Let the state follow hyperparameters that were set."""

    def _check_state(self, function: str, state: dict[str, Any]) -> None:
        """Raise ValueError unless a state's numbers can be."""

    def _checked(self, function: str, told: dict[str, Any]) -> dict[str, Any]:
        """Return hyperparameters as they are kept."""
        checks = {name: getattr(type(self), name).check for name in self._HYPERPARAMETERS}
        return {name: check(function, name, told[name]) for name, check in checks.items()}

    def _tables(self, gradients: Gradients) -> Iterator[tuple[int, Array]]:
        """For float16 and for float32 gradients: the bytes of one, rows of all operands."""
        keys = np.array(gradients.keys, np.int64)
        for size, numbers, some in gradients.batch.by_itemsize():
            yield size, self._places.rows.table(keys[numbers], some)

    # ---- Arrays --------------------------------------------------------------------------------
    def _gradients(self, function: str) -> Gradients:
        """Check the gradients against the parameters and what a step writes."""
        if not isinstance(self.grads, (list, tuple)):
            msg = f"{function}: grads is a {kind_of(self.grads)}; need a list or tuple"
            raise TypeError(msg)
        if len(self.grads) != len(self._params):
            msg = f"{function}: grads has {len(self.grads)} entries; need {len(self._params)}, "
            raise ValueError(msg + "one for each parameter")
        found = collected(function, "grads", self.grads)
        found.check_library(function, self._library, device=self._on_device)
        self._check_device(function)
        for i, (key, g) in enumerate(zip(found.keys, found.batch.arrays, strict=True)):
            if g.shape != self._views[key].shape:
                msg = f"{function}: {found.label(i)} has shape {g.shape}; "
                raise ValueError(msg + f"need {self._views[key].shape}, that of params[{key}]")
        self._check_writeable(function)
        check_disjoint(function, self._places.written, self._name_of, found.batch, found.label)
        return found._replace(on_device=self._on_device)

    def _check_device(self, function: str) -> None:
        """Raise ValueError where the parameters are on another GPU than the current one."""
        check_current(function, "params[0]", self._views[0])

    def _check_writeable(self, function: str) -> None:
        """Raise ValueError where a parameter has become read-only, by its flag or by unpickling."""
        for i, p in enumerate(self._headers):
            if not p.flags.writeable:
                msg = f"{function}: params[{i}] is read-only; need a writeable array"
                raise ValueError(msg)

    def _name_of(self, i: int) -> str:
        """Name what a step writes: parameters, then masters."""
        with_master = [j for j, x in enumerate(self._state["master"]) if x is not None]
        count = len(self._views)
        return f"params[{i}]" if i < count else f"master[{with_master[i - count]}]"

    @property
    def _places(self) -> _Places:
        """Where all is that a step writes, found out once."""
        if self._found is None:
            names = ("master", *self._STEPPED)
            own, *others = (each(header, self._state[name]) for name in names)
            pairs = list(zip(self._headers, own, strict=True))
            copies = [None if x is None else p for p, x in pairs]
            masters = [p if x is None else x for p, x in pairs]
            kernels = backend_of(self._views[0], "amp")
            rows = kernels.StepRows(copies, masters, *others)
            written = Batch([*self._headers, *(x for x in own if x is not None)])
            self._found = _Places(written, rows)
        return self._found


def _parameters(name: str, params: Any) -> tuple[Any, ...]:
    """Return parameters as they are, checked."""
    if not isinstance(params, (list, tuple)):
        msg = f"{name}: params is a {kind_of(params)}; need a list or tuple of arrays"
        raise TypeError(msg)
    if not params:
        msg = f"{name}: params is empty; need at least one array"
        raise ValueError(msg)
    if any(p is None for p in params):
        msg = f"{name}: params has None; need arrays only"
        raise TypeError(msg)
    seen = collected(name, "params", params)
    seen.check_written(name)
    return tuple(params)
