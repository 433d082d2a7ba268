# SPDX-License-Identifier: Apache-2.0
"""FP16 GEMM: one chain of FP32 additions over k, then the epilogue, every step rounded.

A product of two halves has at most 22 significant bits and is at least 2^-48: exact in FP32, so a
fused and an unfused multiply-add return the same bits and the chain has one value.
"""

import numpy as np

from halfbyte_reference.activations import ACTIVATIONS
from halfbyte_reference.casts import to_f16, to_f32


def chain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the sum of a[i, p] * b[p, j] over p = 0, 1, 2, ..., from +0, in FP32.

    a is (..., m, k) float16, b is (..., k, n) float16; leading dimensions broadcast.
    """
    a = to_f32(a)
    b = to_f32(b)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    acc = np.zeros((*batch, a.shape[-2], b.shape[-1]), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for p in range(a.shape[-1]):
            acc += a[..., :, p, None] * b[..., p, None, :]
    return acc


def epilogue(acc, *, alpha=1.0, beta=0.0, c=None, bias=None) -> np.ndarray:
    """Return alpha * acc + beta * c + bias in FP32, from left to right, each step rounded.

    beta == 0 (once rounded to FP32) omits the term, so that c may hold anything.
    """
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        y = np.float32(alpha) * acc
        if np.float32(beta) != 0:
            y = y + np.float32(beta) * to_f32(c)
        if bias is not None:
            y = y + to_f32(bias)
    return y


def gemm_f16(
    a, b, *, alpha=1.0, beta=0.0, c=None, bias=None, activation=None, out_dtype=None
) -> np.ndarray:
    """Return activation(alpha * (a @ b) + beta * c + bias) as float32 or float16."""
    y = epilogue(chain(a, b), alpha=alpha, beta=beta, c=c, bias=bias)
    if activation is not None:
        y = ACTIVATIONS[activation](y)
    return to_f16(y) if out_dtype is not None and np.dtype(out_dtype) == np.float16 else y
