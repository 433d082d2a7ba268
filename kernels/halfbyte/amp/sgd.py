# SPDX-License-Identifier: Apache-2.0
"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from halfbyte.amp.hyperparameters import Hyperparameter
from halfbyte.amp.numbers import checked_not_negative
from halfbyte.amp.optimizer import Optimizer
from halfbyte.arrays import F32, header, on_device
from halfbyte.batch import Batch
from halfbyte.devices import zeros_like
from halfbyte.quantized import check_flag

if TYPE_CHECKING:
    from halfbyte.amp.collected import Gradients
    from halfbyte.cuda.amp import Condition


class SGD(Optimizer):
    """Stochastic gradient descent, on FP32 masters.

    ``g += weight_decay p; buf = momentum buf + g; p -= lr buf``, or with nesterov
    ``p -= lr (g + momentum buf)``, each operation rounded to float32. Without momentum, buf is g.

    Parameters
    ----------
    params : list or tuple of float16 or float32 arrays
        Updated in place, any shapes and strides, all in the CPU's memory or all on the current GPU.
        A float16 parameter has a float32 master, which the steps are made on, and becomes its
        rounding: whoever gives it other values later gives them to its master as well.
    lr : float
        Learning rate, finite and at least 0, as are momentum and weight_decay.
    momentum : float
    nesterov : bool
        Needs momentum.
    weight_decay : float

    Attributes
    ----------
    grads : list
        The caller's: float16 or float32 arrays of the parameters' shapes, or None where a
        parameter has no gradient and stays.
    params, master : tuple of arrays
    lr, momentum, nesterov, weight_decay
        May be set between steps. Momentum that was 0 starts anew.

    Raises
    ------
    TypeError
        Another kind of argument, or another dtype.
    ValueError
        No parameters, parameters that are read-only or share memory, a number out of range,
        nesterov without momentum.

    Examples
    --------
    >>> w = np.ones(2, np.float16)
    >>> optimizer = SGD([w], lr=0.5, momentum=0.9)
    >>> optimizer.grads = [np.array([2.0, -1.0], np.float16)]
    >>> optimizer.step()
    >>> w
    array([0. , 1.5], dtype=float16)
    """

    _HYPERPARAMETERS: ClassVar[tuple[str, ...]] = ("lr", "momentum", "nesterov", "weight_decay")
    _STEPPED: ClassVar[tuple[str, ...]] = ("momentum_buffer",)

    momentum = Hyperparameter(checked_not_negative, "Momentum; 0 for none.")
    nesterov = Hyperparameter(check_flag, "Whether to look ahead along the momentum.")

    def __init__(
        self, params: Any, lr: float, momentum: float = 0.0, nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
        )

    def _checked(self, function: str, told: dict[str, Any]) -> dict[str, Any]:
        told = super()._checked(function, told)
        if told["nesterov"] and not told["momentum"]:
            msg = f"{function}: nesterov is True and momentum is 0; need momentum"
            raise ValueError(msg)
        return told

    def _fresh(self, told: dict[str, Any]) -> dict[str, Any]:
        # -0: the first sum is the gradient, whatever its sign.
        count = len(self._views)
        buffers = _minus_zeros(self._views) if told["momentum"] else [None] * count
        return {**super()._fresh(told), "momentum_buffer": buffers}

    def _settle(self) -> None:
        """Drop the buffers where there is no momentum any more, or start them anew."""
        if bool(self.momentum) != (self._state["momentum_buffer"][0] is not None):
            self._check_device(type(self).__name__)
            self._state["momentum_buffer"] = self._fresh(self._told)["momentum_buffer"]
            self._found = None

    def _apply(self, gradients: Gradients, inverse: np.float32) -> None:
        from halfbyte.cpu import amp as cpu

        coefficients = cpu.coefficients(
            len(self._views), gradients.keys, inverse=inverse, decay=self.weight_decay,
            momentum=self.momentum, rate=self.lr,
        )  # fmt: skip
        owners = self._places, gradients
        for size, table in list(self._tables(gradients)):
            cpu.sgd(
                table, owners, size, coefficients,
                decaying=self.weight_decay != 0, nesterov=self.nesterov,
            )  # fmt: skip

    def _launch(self, table: Any, condition: Condition) -> None:
        from halfbyte.cuda import amp as cuda

        cuda.sgd(
            table, condition, decaying=self.weight_decay != 0, nesterov=self.nesterov,
            decay=self.weight_decay, momentum=self.momentum, rate=self.lr,
        )  # fmt: skip


def _minus_zeros(arrays: list[Any]) -> list[Any]:
    """Return new float32 arrays of -0 that are laid out as these."""
    if not on_device(arrays[0]):
        return [np.full_like(x, -0.0, F32) for x in arrays]
    from halfbyte.cuda import amp as cuda

    zeros = [zeros_like(x, F32) for x in arrays]
    places = Batch(list(map(header, zeros)))
    cuda.multiply(places, places, cuda.Factor(-1.0))
    return zeros
