# SPDX-License-Identifier: Apache-2.0
"""relu, gelu and silu of float32.

relu is exact. gelu and silu are computed in FP64, far below half an ulp of FP32, and rounded once;
`gelu64` and `silu64` are the values before that rounding, which `bounds.activation_error` is about.
"""

import math
from collections.abc import Callable

import numpy as np

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def relu(x: np.ndarray) -> np.ndarray:
    """Keep x where x > 0 or NaN; +0 elsewhere, also for -0."""
    with np.errstate(invalid="ignore"):
        return np.where((x > 0) | np.isnan(x), x, np.float32(0))


def gelu64(x: np.ndarray) -> np.ndarray:
    """x times the normal distribution function of x, the erf form, in FP64."""
    # erfc keeps its relative accuracy in the left tail, where 1 + erf would cancel.
    with np.errstate(invalid="ignore", under="ignore"):
        x = np.asarray(x, np.float64)
        y = 0.5 * x * _erfc(-x / math.sqrt(2))
    return np.where(x == -np.inf, -0.0, y)


def silu64(x: np.ndarray) -> np.ndarray:
    """x / (1 + exp(-x)) in FP64."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        x = np.asarray(x, np.float64)
        y = x / (1 + np.exp(-x))
    return np.where(x == -np.inf, -0.0, y)


def gelu(x: np.ndarray) -> np.ndarray:
    """`gelu64`, rounded once to float32."""
    with np.errstate(under="ignore"):
        return gelu64(x).astype(np.float32)


def silu(x: np.ndarray) -> np.ndarray:
    """`silu64`, rounded once to float32."""
    with np.errstate(under="ignore"):
        return silu64(x).astype(np.float32)


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": relu,
    "gelu": gelu,
    "silu": silu,
}
