# SPDX-License-Identifier: Apache-2.0
"""Adam, with weight decay on the gradient or apart from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from halfbyte.amp.hyperparameters import Hyperparameter, checked_betas
from halfbyte.amp.numbers import checked_not_negative
from halfbyte.amp.optimizer import Optimizer
from halfbyte.arrays import F32
from halfbyte.devices import beside, zeros_like

if TYPE_CHECKING:
    from halfbyte.amp.collected import Gradients
    from halfbyte.cuda.amp import Condition

_BETAS = (0.9, 0.999)
_EPS = 1e-8

F64 = np.dtype(np.float64)


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), on FP32 masters; weight decay is added to the gradient.

    ``g += weight_decay p; m = b1 m + (1 - b1) g; v = b2 v + ((1 - b2) g) g;
    p -= (lr / (1 - b1^t)) (m / (sqrt(v) / sqrt(1 - b2^t) + eps))``, each operation rounded to
    float32, but for what depends on t alone, which is float64 rounded once.

    Parameters
    ----------
    params : list or tuple of float16 or float32 arrays
        Updated in place, any shapes and strides, all in the CPU's memory or all on the current GPU.
        A float16 parameter has a float32 master, which the steps are made on, and becomes its
        rounding: whoever gives it other values later gives them to its master as well.
    lr : float
        Learning rate, finite and at least 0, as are weight_decay and eps.
    betas : (float, float)
        Decay rates of the moments, from 0 to below 1.
    eps : float
        Added to the root of the second moment.
    weight_decay : float

    Attributes
    ----------
    grads : list
        The caller's: float16 or float32 arrays of the parameters' shapes, or None where a
        parameter has no gradient and stays.
    params, master : tuple of arrays
    lr, betas, eps, weight_decay
        May be set between steps.

    Raises
    ------
    TypeError
        Another kind of argument, or another dtype.
    ValueError
        No parameters, parameters that are read-only or share memory, a number out of range.

    Examples
    --------
    >>> w = np.ones(2, np.float16)
    >>> optimizer = Adam([w], lr=0.5)
    >>> optimizer.grads = [np.array([2.0, -1.0], np.float16)]
    >>> optimizer.step()
    >>> w
    array([0.5, 1.5], dtype=float16)
    """

    _HYPERPARAMETERS: ClassVar[tuple[str, ...]] = ("lr", "betas", "eps", "weight_decay")
    _STEPPED: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")
    _DECOUPLED = False

    betas = Hyperparameter(checked_betas, "Decay rates of the first and the second moment.")
    eps = Hyperparameter(checked_not_negative, "Added to the root of the second moment.")

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = _BETAS,
        eps: float = _EPS, weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _fresh(self, told: dict[str, Any]) -> dict[str, Any]:
        return {
            **super()._fresh(told),
            "exp_avg": [zeros_like(p, F32) for p in self._views],
            "exp_avg_sq": [zeros_like(p, F32) for p in self._views],
            # The powers of the betas, by products in FP64.
            "beta_products": beside(self._views[0], np.ones((len(self._views), 2)), F64),
        }

    def _apply(self, gradients: Gradients, inverse: np.float32) -> None:
        from halfbyte.cpu import amp as cpu

        keys, all_products = gradients.keys, self._state["beta_products"]
        with np.errstate(all="ignore"):
            products = all_products[keys] * self.betas
            rest = 1 - products
            step, root = self.lr / rest[:, 0], np.sqrt(rest[:, 1])
        coefficients = cpu.coefficients(
            len(self._views), keys, inverse=inverse, step=step, root=root, **self._numbers
        )
        owners = self._places, gradients
        for size, table in list(self._tables(gradients)):
            cpu.adam(table, owners, size, coefficients, decaying=self._decaying)
        all_products[keys] = products

    def _launch(self, table: Any, condition: Condition) -> None:
        from halfbyte.cuda import amp as cuda

        products = self._state["beta_products"]
        cuda.adam(
            table, products, self.betas, self.lr, condition,
            decaying=self._decaying, **self._numbers,
        )  # fmt: skip

    @property
    def _decaying(self) -> bool:
        """Whether weight decay is added to the gradient."""
        return self.weight_decay != 0 and not self._DECOUPLED

    @property
    def _numbers(self) -> dict[str, float]:
        """The coefficients that all parameters share."""
        beta1, beta2 = self.betas
        return {
            "keep": 1 - self.lr * self.weight_decay if self._DECOUPLED else 1.0,
            "decay": self.weight_decay,
            "beta1": beta1, "rest1": 1 - beta1,
            "beta2": beta2, "rest2": 1 - beta2,
            "eps": self.eps,
        }  # fmt: skip

    def _check_state(self, function: str, state: dict[str, Any]) -> None:
        products = state["beta_products"]
        if not ((products >= 0) & (products <= 1)).all():
            msg = f"{function}: a parameter's beta_products are no numbers from 0 to 1"
            raise ValueError(msg)


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter, 2019).

    ``p *= 1 - lr weight_decay`` instead of ``g += weight_decay p``. All else is as in `Adam`.

    Examples
    --------
    >>> w = np.ones(2, np.float16)
    >>> optimizer = AdamW([w], lr=0.5, weight_decay=0.25)
    >>> optimizer.grads = [np.array([2.0, -1.0], np.float16)]
    >>> optimizer.step()
    >>> w
    array([0.375, 1.375], dtype=float16)
    """

    _DECOUPLED = True

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = _BETAS,
        eps: float = _EPS, weight_decay: float = 1e-2,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay)
