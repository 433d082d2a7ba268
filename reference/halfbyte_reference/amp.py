# SPDX-License-Identifier: Apache-2.0
"""Loss scaling and optimizers. NumPy rounds every operation on float32 arrays once, to FP32.

An optimizer keeps float32 masters of copies of its parameters; `params` are the masters, cast to
what the parameters were. Gradients of a step are a list, None where a parameter has none.
"""

import numpy as np

from halfbyte_reference.casts import to_f16, to_f32

_QUIET = {"over": "ignore", "under": "ignore", "invalid": "ignore", "divide": "ignore"}


def single(x) -> np.float32:
    """Round a number once to FP32."""
    with np.errstate(**_QUIET):
        return np.float32(x)


def unscale(g: np.ndarray, scale: float) -> np.ndarray:
    """Return one gradient times the reciprocal of the loss scale, as float32."""
    inv = single(1 / np.float64(single(scale)))
    with np.errstate(**_QUIET):
        return np.asarray(to_f32(g) * inv)


def found_inf(results) -> np.ndarray:
    """Tell whether any element of any array is infinite or NaN."""
    return np.asarray(any(not np.isfinite(x).all() for x in results))


def grad_norm(grads, scale: float = 1.0) -> np.ndarray:
    """Return the norm of all elements of all arrays over the loss scale, in FP64.

    A float32 number over a float32 scale is between 2^-277 and 2^277: its square fits FP64.
    """
    scale = np.float64(single(scale))
    with np.errstate(invalid="ignore"):
        squares = [np.sum((g.astype(np.float64) / scale) ** 2) for g in grads]
    return np.asarray(np.sqrt(sum(squares, np.float64(0))))


def clip_factor(norm, max_norm: float) -> np.float32:
    """Return what gradients of this norm are multiplied by."""
    with np.errstate(**_QUIET):
        return single(min(1.0, max_norm / (norm + 1e-6)))


def times(g: np.ndarray, factor: np.float32) -> np.ndarray:
    """Return one gradient times a factor, in FP32, as the dtype it has."""
    with np.errstate(**_QUIET):
        product = np.asarray(to_f32(g) * factor)
    return to_f16(product) if g.dtype == np.float16 else product


def clip_grad_norm(grads, max_norm: float, scale: float = 1.0):
    """Return the norm, and the gradients as they are after clipping."""
    norm = grad_norm(grads, scale)
    if not np.isfinite(norm):
        return norm, [g.copy() for g in grads]
    return norm, [times(g, clip_factor(norm, max_norm)) for g in grads]


class _Optimizer:
    def __init__(self, params) -> None:
        self.dtypes = [p.dtype for p in params]
        self.master = [to_f32(p) for p in params]
        self.state = [{} for _ in params]

    @property
    def params(self) -> list:
        """The masters, cast to the parameters' dtypes."""
        cast = {np.dtype(np.float16): to_f16, np.dtype(np.float32): np.copy}
        return [cast[dtype](p) for dtype, p in zip(self.dtypes, self.master, strict=True)]

    def step(self, grads) -> None:
        """Update every parameter that has a gradient."""
        for i, g in enumerate(grads):
            if g is not None:
                with np.errstate(**_QUIET):
                    updated = self._updated(self.master[i], to_f32(g), self.state[i])
                self.master[i] = np.asarray(updated)


class Adam(_Optimizer):
    """Adam; weight decay is added to the gradient."""

    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0) -> None:
        super().__init__(params)
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        for p, state in zip(self.master, self.state, strict=True):
            state["exp_avg"] = np.zeros(p.shape, np.float32)
            state["exp_avg_sq"] = np.zeros(p.shape, np.float32)
            state["beta_products"] = np.ones(2)

    def _updated(self, p, g, state):
        b1, b2 = self.betas
        products = state["beta_products"] * np.float64([b1, b2])
        step = single(np.float64(self.lr) / (1 - products[0]))
        r = single(np.sqrt(1 - products[1]))
        if self.weight_decay != 0 and self.decoupled:
            p = p * single(1 - self.lr * self.weight_decay)
        elif self.weight_decay != 0:
            g = g + single(self.weight_decay) * p
        m = single(b1) * state["exp_avg"] + single(1 - b1) * g
        v = single(b2) * state["exp_avg_sq"] + (single(1 - b2) * g) * g
        state["exp_avg"], state["exp_avg_sq"] = np.asarray(m), np.asarray(v)
        state["beta_products"] = products
        return p - step * (m / (np.sqrt(v) / r + single(self.eps)))


class AdamW(Adam):
    """Adam; weight decay shrinks the parameter before its step."""

    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


class SGD(_Optimizer):
    """Stochastic gradient descent. The buffer starts at -0, to which the first gradient adds."""

    def __init__(self, params, lr, momentum=0.0, nesterov=False, weight_decay=0.0) -> None:
        super().__init__(params)
        self.lr, self.nesterov, self.weight_decay = lr, nesterov, weight_decay
        self.momentum = momentum

    @property
    def momentum(self) -> float:
        """How much of the buffer stays. There is none, and what there was is lost, at 0."""
        return self._momentum

    @momentum.setter
    def momentum(self, momentum: float) -> None:
        self._momentum = momentum
        for p, state in zip(self.master, self.state, strict=True):
            if momentum == 0:
                state["momentum_buffer"] = None
            elif state.get("momentum_buffer") is None:
                state["momentum_buffer"] = np.full(p.shape, -0.0, np.float32)

    def _updated(self, p, g, state):
        lr, momentum = single(self.lr), single(self.momentum)
        if self.weight_decay != 0:
            g = g + single(self.weight_decay) * p
        if self.momentum == 0:
            return p - lr * g
        buf = momentum * state["momentum_buffer"] + g
        state["momentum_buffer"] = np.asarray(buf)
        return p - lr * (g + momentum * buf if self.nesterov else buf)
