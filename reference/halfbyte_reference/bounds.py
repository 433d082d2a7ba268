# SPDX-License-Identifier: Apache-2.0
"""Every tolerance of the tests, each with its source. There is no other.

Bounds compare with |A||B|, the product of the absolute values, never with |C|: cancellation makes C
as small as it likes and the error of a sum does not follow. All are computed in FP64, whose own
roundings (k * 2^-53 relative to |A||B|) hide in the slack of `gamma`: the first addition of a chain
goes to zero and is exact, so a chain of k products makes k - 1 roundings where k are allowed.
"""

import math
from typing import NamedTuple

import numpy as np

from halfbyte_reference.activations import gelu64, relu, silu64
from halfbyte_reference.running import Running, coefficient, either

U32 = 2.0**-24
"""Unit roundoff of FP32, rounding to nearest."""

U_TENSOR_CORE = 2.0**-23
"""Unit roundoff of FP32, rounding toward zero with at least 24 fraction bits kept."""

F16_OVERFLOW = 65520.0
"""The tie between 65504, the largest half, and 65536: from here on a cast gives infinity."""

F32_OVERFLOW = 2.0**128 - 2.0**103
"""The tie between FLT_MAX and 2^128: from here on a rounding to FP32 gives infinity."""

MSE_TIE = 2.0**-40
"""How far apart, relatively, two sums of squared errors may be and still count as equal.

A sum of n squares in FP64 is off by n 2^-53 at most, whatever the order: 2^-40 for n = 8192.
"""

_LIPSCHITZ = {"relu": 1.0, "gelu": 1.13, "silu": 1.10}
"""Largest slopes: gelu' peaks at 1.1290 (x = 1.4142), silu' at 1.0999 (x = 2.3994)."""

_ACTIVATIONS64 = {
    "relu": lambda x: relu(x).astype(np.float64),
    "gelu": gelu64,
    "silu": silu64,
}


class Bounded(NamedTuple):
    """An FP64 value, how far a result may lie from it, and where it may be infinite instead."""

    value: np.ndarray
    bound: np.ndarray
    inf_allowed: np.ndarray


def gamma(j: int, u: float) -> float:
    """j u / (1 - j u), infinite from j u = 1.

    The relative growth of j roundings: Higham, Accuracy and Stability of Numerical Algorithms, 2nd
    edition, lemma 3.1.
    """
    return j * u / (1 - j * u) if j * u < 1 else np.inf


def magnitude(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|A||B| in FP64."""
    return np.abs(np.asarray(a, np.float64)) @ np.abs(np.asarray(b, np.float64))


def gemm_cpu(magnitude: np.ndarray, k: int) -> np.ndarray:
    """Bound a chain of k FP32 additions, in any order, against the exact product.

    Products of halves are exact, so only additions round: gamma_k |A||B| with u = 2^-24 (Higham,
    section 3.1).
    """
    return gamma(k, U32) * magnitude


def gemm_tensor_core(magnitude: np.ndarray, k: int, splits: int = 1) -> np.ndarray:
    """Bound a tensor-core product of depth k whose k range was cut into `splits` partial sums.

    Tensor cores align blocks of products, truncate at 24 fraction bits or more (sm_75 and later)
    and round toward zero: gamma_(k + splits) |A||B| with u = 2^-23 (Fasi, Higham, Mikaitis,
    Pranesh, PeerJ CS 7:e330, 2021; Blanchard, Higham, Lopez, Mary, Pranesh, SISC 42(3), 2020).
    """
    return gamma(k + splits, U_TENSOR_CORE) * magnitude


def weight_only_tensor_core(x, differences, scale, group_size=None, splits=1):
    """Return the FP64 value of a weight-only layer's sums and their bound on tensor cores.

    x is (m, k) float16; differences (n, k) are q - z; scale is (n, groups) with group_size, else ()
    or (n,). With M_g = (|x||q - z|)_g and E_g its tensor-core bound, each of G groups lies within
    E_g, is at most M_g + E_g, and is multiplied by its scale s_g and added to the others, which
    rounds G times where G + 1 are allowed, and underflows by 2^-150 at most:

        sum s_g E_g + gamma_(G+1) sum s_g (M_g + E_g) + G 2^-150, gamma of u = 2^-24

    No product and no sum may reach FLT_MAX.
    """
    k = x.shape[1]
    x, differences = np.asarray(x, np.float64), np.asarray(differences, np.float64)
    scale = np.asarray(scale, np.float64)
    starts = [0] if group_size is None else range(0, k, group_size)
    size = k if group_size is None else group_size
    value, off, largest = (np.zeros((x.shape[0], differences.shape[0])) for _ in range(3))
    for g, start in enumerate(starts):
        part_x, part_w = x[:, start : start + size], differences[:, start : start + size]
        own = scale if group_size is None else scale[:, g]
        of_group = magnitude(part_x, part_w.T)
        error = gemm_tensor_core(of_group, part_x.shape[1], splits)
        value += own * (part_x @ part_w.T)
        off += own * error
        largest += own * (of_group + error)
    groups = len(starts)
    return value, off + gamma(groups + 1, U32) * largest + groups * 2.0**-150


def activation_error(x: np.ndarray) -> np.ndarray:
    """Bound gelu and silu of an FP32 number x against their exact values.

    4 * 2^-24 |x| + 2^-149. Plain FP32 operations reach 1.9 * 2^-24 |x|; the constant is one
    subnormal step, which any result near zero may be off by.
    """
    with np.errstate(invalid="ignore"):
        return 4 * U32 * np.abs(np.asarray(x, np.float64)) + 2.0**-149


def between_backends(x: np.ndarray) -> np.ndarray:
    """Bound the difference of two backends' gelu or silu of one x: each keeps its own bound."""
    return 2 * activation_error(x)


def f16_output(value: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Widen a bound on an FP32 result by its rounding to FP16.

    Half an ulp is at most 2^-11 of what is rounded, itself at most |value| + bound, or 2^-25 where
    that is subnormal.
    """
    return bound + 2.0**-11 * (np.abs(value) + bound) + 2.0**-25


def epilogue(
    product, bound, *, alpha=1.0, beta=0.0, c=None, bias=None, activation=None, out_dtype=None
) -> Bounded:
    """Propagate |acc - product| <= bound through the epilogue's steps.

    Each step rounds its result, at most |value| + bound, by 2^-24 of it; each product may underflow
    and adds 2^-150, half the smallest subnormal (a sum of FP32 numbers never underflows inexactly).
    gelu and silu multiply the incoming bound by their largest slope and add `activation_error` at
    the largest argument the bound lets in.
    """
    alpha, beta = float(np.float32(alpha)), float(np.float32(beta))
    value = alpha * np.asarray(product, np.float64)
    bound = _rounded(value, abs(alpha) * bound) + 2.0**-150
    if beta != 0:
        term = beta * np.asarray(c, np.float64)
        value = value + term
        bound = _rounded(value, bound + U32 * np.abs(term) + 2.0**-150)
    return layer_epilogue(value, bound, bias=bias, activation=activation, out_dtype=out_dtype)


def layer_epilogue(value, bound, *, bias=None, activation=None, out_dtype=None) -> Bounded:
    """Propagate |y - value| <= bound through the steps that end a layer, as `epilogue` does."""
    if bias is not None:
        value = value + np.asarray(bias, np.float64)
        bound = _rounded(value, bound)
    if activation is not None:
        own = 0.0 if activation == "relu" else activation_error(np.abs(value) + bound)
        value = _ACTIVATIONS64[activation](value)
        bound = _LIPSCHITZ[activation] * bound + own
    return cast(value, bound, out_dtype)


def activated(x, activation: str, out_dtype=None) -> Bounded:
    """Bound an activation of FP32 numbers x that are known to the bit.

    At an infinity nothing is allowed: gelu and silu give +inf and -0.
    """
    smooth = np.isfinite(x) & (activation != "relu")
    error = np.where(smooth, activation_error(x), 0.0)
    return cast(_ACTIVATIONS64[activation](x), error, out_dtype)


def cast(value: np.ndarray, bound: np.ndarray, out_dtype=None) -> Bounded:
    """Account for the last step, the cast to `out_dtype`; None is float32, which is no step.

    A half may be infinite iff |value| + bound >= 65520.
    """
    if out_dtype is None or np.dtype(out_dtype) == np.float32:
        return Bounded(value, bound, np.zeros(value.shape, bool))
    return Bounded(value, f16_output(value, bound), np.abs(value) + bound >= F16_OVERFLOW)


def round_trip(scale: np.ndarray, bits: int) -> np.ndarray:
    """Bound |x - dequantize(quantize(x))| in FP32 where the code was not clipped.

    (1/2 + 2^(bits - 23)) scale: half a step for the rounding to an integer, and 2^-24 each of the
    quotient and of the product, whose integers are below 2^bits. A subnormal scale adds nothing:
    its multiples are exact. Near FLT_MAX the product may be infinite instead.
    """
    return (0.5 + 2.0 ** (bits - 23)) * np.asarray(scale, np.float64)


def dscale(value: np.ndarray, magnitude: np.ndarray, n: int) -> Bounded:
    """Bound an FP64 sum of n exact products in any order, rounded to FP32, against their sum.

    `magnitude` is the sum of the absolute values. n 2^-52 magnitude covers gamma_n of FP64
    (Higham, section 4.2), the slack factor of 2 also the sum's own rounding in the reference; the
    last step rounds by 2^-24 of the sum or, where that is subnormal, by less than 2^-149. Beyond
    FLT_MAX and half a step that last step gives infinity.
    """
    with np.errstate(invalid="ignore"):
        bound = n * 2.0**-52 * magnitude + U32 * np.abs(value) + 2.0**-149
        return Bounded(value, bound, np.abs(value) + bound >= F32_OVERFLOW)


def sampled_mean(p: float, n: int) -> float:
    """Bound the mean of n independent draws that are 1 with probability p, 0 otherwise, around p.

    Five standard deviations, sqrt(p (1 - p) / n) each: a fair generator exceeds them for one seed
    in 1.7 million. Tests fix the seed, so a passing one never starts to fail.
    """
    return 5 * math.sqrt(p * (1 - p) / n)


def grad_norm(norm: np.ndarray, n: int) -> np.ndarray:
    """Bound the FP64 norm of n numbers over a scale, summed in any order.

    A quotient rounds by 2^-53, its square doubles that and rounds, the sum of positive terms adds
    n - 1 times as much. The root halves the n + 2 of these, and rounds: (n + 4) 2^-54. There is
    room for the error of two, and for other ways to scale.
    """
    return (n + 8) * 2.0**-52 * norm


def clip_factors(norm: float, max_norm: float, n: int) -> list[np.float32]:
    """Return every FP32 number that min(1, max_norm / (norm + 1e-6)) may be, for an exact norm.

    It is within one ulp, and 1 where no norm within its bound brings the quotient below 1. Clipped
    gradients are rounded products with one of these numbers: equal bits, for one of them.
    """
    quotient = max_norm / (norm + 1e-6)
    # The error of the norm, and the roundings of the sum, the quotient and the one above.
    if quotient * (1 - (n + 12) * 2.0**-52) >= 1:
        return [np.float32(1)]
    near = np.float32(min(quotient, 1.0))
    around = sorted({near, *(np.nextafter(near, np.float32(end)) for end in (0, 1))})
    return [x for x in around if abs(float(x) - quotient) <= np.spacing(near)]


class AdamError:
    """Adam or AdamW in FP64; `p.error` bounds how far FP32 lies from `p.value`, ours and torch's.

    Rule 14's operations round one by one. Torch (`_single_tensor_adam`) rounds the same
    coefficients and differs in three places: m is lerp(m, g, w) with w = 1 - b1, which is
    m + w (g - m), or g + (w - 1) (g - m) from w = 1/2 on; addcdiv multiplies m by the step before
    it divides; vector code may fuse a product and a sum. FP64's error in 1 - b^t, relatively
    t 2^-53 / (1 - b^t), has room in `Running` while b <= 1 - 2^-12. Betas stay the same.
    """

    def __init__(self, p, decoupled: bool) -> None:
        self.p, self.decoupled = Running(p), decoupled
        self.m = self.v = Running(np.zeros(np.shape(p)))
        self.products = (1.0, 1.0)

    def step(self, g, lr, betas, eps, weight_decay) -> None:
        """Take one step, as an optimizer with these hyperparameters does."""
        p, g, (b1, b2) = self.p, Running(g), betas
        self.products = (self.products[0] * b1, self.products[1] * b2)
        rate = coefficient(lr / (1 - self.products[0]))
        r = coefficient(math.sqrt(1 - self.products[1]))
        if weight_decay != 0 and self.decoupled:
            p = p * coefficient(1 - lr * weight_decay)
        elif weight_decay != 0:
            g = g + coefficient(weight_decay) * p
        w, m = coefficient(1 - b1), self.m
        lerp = m + w * (g - m) if 1 - b1 < 0.5 else g + (w - Running(1.0)) * (g - m)
        self.m = either(coefficient(b1) * m + w * g, lerp)
        self.v = coefficient(b2) * self.v + coefficient(1 - b2) * g * g
        denominator = self.v.sqrt() / r + coefficient(eps)
        self.p = p - either(rate * (self.m / denominator), rate * self.m / denominator)


class SgdError:
    """SGD in FP64; `p.error` bounds how far FP32 lies from `p.value`, ours and torch's.

    Torch (`_single_tensor_sgd`) makes rule 14's operations in its order, but for a first buffer
    that is a copy of the gradient; vector code may fuse a product and a sum.
    """

    def __init__(self, p) -> None:
        self.p, self.buffer = Running(p), None

    def step(self, g, lr, momentum, nesterov, weight_decay) -> None:
        """Take one step, as an optimizer with these hyperparameters does."""
        g = Running(g)
        if weight_decay != 0:
            g = g + coefficient(weight_decay) * self.p
        if momentum != 0:
            kept = self.buffer
            self.buffer = g if kept is None else coefficient(momentum) * kept + g
            g = g + coefficient(momentum) * self.buffer if nesterov else self.buffer
        self.p = self.p - coefficient(lr) * g


def _rounded(value, bound):
    return bound + U32 * (np.abs(value) + bound)
