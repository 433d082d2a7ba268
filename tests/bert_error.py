# SPDX-License-Identifier: Apache-2.0
"""The network of `bench.pipeline.bert` in FP64, and how far another FP64 result may lie from it.

Running error analysis (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section
3.3): each number carries a bound of its error, which every step passes on and adds its own rounding
to. A step may be computed in any way that is backward stable: sums in any order, a variance in one
pass or two. Bounds of products with weights add up absolute values, so that what comes out is far
above what rounding does; in FP64 it is still far below what any other function would.
"""

import numpy as np

from halfbyte_reference.activations import gelu64
from halfbyte_reference.bounds import gamma

U = 2.0**-53
FUNCTION = 8 * U
"""Relative error of exp, and of gelu by |x|: libraries claim a few units in the last place."""
EPSILON = float(np.float32(1e-12))
SLOPE = 1.13
"""Of gelu, at most (bounds._LIPSCHITZ)."""


class Erring:
    """FP64 values, and how far those of another computation may lie from them."""

    def __init__(self, value, error=0.0):
        self.value = np.asarray(value, np.float64)
        self.error = np.broadcast_to(np.float64(error), self.value.shape)

    @property
    def size(self):
        return np.abs(self.value) + self.error

    def rounded(self, count=1):
        return Erring(self.value, self.error + gamma(count, U) * self.size)

    def __getitem__(self, key):
        return Erring(self.value[key], self.error[key])

    def map(self, function):
        """Move elements about."""
        return Erring(function(self.value), function(self.error))

    def __add__(self, other):
        return Erring(self.value + other.value, self.error + other.error).rounded()

    def __sub__(self, other):
        return self + Erring(-other.value, other.error)

    def __mul__(self, other):
        error = self.error * other.size + np.abs(self.value) * other.error
        return Erring(self.value * other.value, error).rounded()

    def __matmul__(self, other):
        error = self.error @ other.size + np.abs(self.value) @ other.error
        error += gamma(self.value.shape[-1], U) * (self.size @ other.size)
        return Erring(self.value @ other.value, error)

    def mean(self, axis):
        value, error, size = (
            x.mean(axis, keepdims=True) for x in (self.value, self.error, self.size)
        )
        return Erring(value, error + gamma(self.value.shape[axis], U) * size)

    def inverse(self):
        least = np.abs(self.value) - self.error
        assert (least > 0).all()
        return Erring(1 / self.value, self.error / (least * np.abs(self.value))).rounded()

    def root(self):
        assert (self.value > self.error).all()
        root = np.sqrt(self.value)
        return Erring(root, self.error / root).rounded()  # |a - b| / (sqrt(a) + sqrt(b))

    def exp(self):
        value = np.exp(self.value)
        error = value * np.expm1(self.error)
        return Erring(value, error + FUNCTION * (value + error))

    def gelu(self):
        return Erring(gelu64(self.value), SLOPE * self.error + FUNCTION * self.size)


def embed(model, ids):
    """`bench.pipeline.bert.embed` of FP32 weights, step by step, with errors."""
    b, t = ids.shape
    h = Erring(model.words[ids]) + Erring(model.positions[:t])
    h = layer_norm(h.map(lambda x: x.reshape(b * t, -1)), model.norm)
    for block in model.blocks:
        mixed = attention(linear(h, block.query_key_value), b, model.heads)
        h = layer_norm(h + linear(mixed, block.project), block.norm_attention)
        h = layer_norm(h + linear(linear(h, block.expand), block.contract), block.norm)
    mean = h.map(lambda x: x.reshape(b, t, -1)).mean(1).map(lambda x: x[:, 0])
    return mean * of_square(mean).root().inverse()


def of_square(x):
    """Sums of squares along rows."""
    length = x.value.shape[-1]
    square = (x * x).mean(-1)
    return Erring(length * square.value, length * square.error).rounded()


def linear(x, weights):
    y = x @ Erring(weights.w.T) + Erring(weights.bias)
    return y.gelu() if weights.activation else y


def attention(query_key_value, b, heads):
    rows, width = query_key_value.value.shape

    def divided(x):
        parts = x.reshape(b, rows // b, 3, heads, width // (3 * heads))
        return parts.transpose(2, 0, 3, 1, 4)

    query, key, value = (query_key_value.map(divided)[i] for i in range(3))
    scores = query @ key.map(lambda x: x.swapaxes(-1, -2))
    scores = scores * Erring(query.value.shape[-1] ** -0.5)
    largest = Erring(scores.value.max(-1, keepdims=True), 0.0)  # any number near it would do
    p = (scores - largest).exp()
    length = p.value.shape[-1]
    total = p.mean(-1)
    p = p * Erring(length * total.value, length * total.error).rounded().inverse()
    return (p @ value).map(lambda x: x.transpose(0, 2, 1, 3).reshape(rows, width // 3))


def layer_norm(h, norm):
    """The variance may be a mean of squares less the square of the mean: its error grows by the
    ratio of the two."""
    mean = h.mean(-1)
    centred = h - mean
    variance = (centred * centred).mean(-1)
    squares = (h * h).mean(-1)
    once = gamma(h.value.shape[-1] + 3, U) * 2 * squares.size
    variance = Erring(variance.value + EPSILON, variance.error + once).rounded()
    scaled = centred * variance.root().inverse()
    return scaled * Erring(norm.weight) + Erring(norm.bias)
