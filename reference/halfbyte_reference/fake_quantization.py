# SPDX-License-Identifier: Apache-2.0
"""Quantize and dequantize in one step, for training, and its gradient (LSQ's for the scale).

Esser, McKinstry, Bablani, Appuswamy, Modha, Learned step size quantization, ICLR 2020; without its
factor 1 / sqrt(n qmax).
"""

import math

import numpy as np

from halfbyte_reference.casts import to_f32
from halfbyte_reference.channels import gather, spread
from halfbyte_reference.quantization import dequantize, quantize
from halfbyte_reference.scales import code_range


def fake_quantize(
    x,
    scale,
    zero_point=None,
    *,
    bits=8,
    axis=None,
    group_size=None,
    narrow_range=None,
    signed=True,
) -> np.ndarray:
    """Return dequantize(quantize(x)) in x's dtype; symmetric and narrow iff there is no zero point.

    A given `narrow_range` has its way.
    """
    q = quantize(
        x,
        bits=bits,
        axis=axis,
        group_size=group_size,
        symmetric=zero_point is None,
        signed=signed,
        narrow_range=narrow_range,
        scale=scale,
        zero_point=zero_point,
    )
    return dequantize(*q, axis=axis, group_size=group_size, dtype=x.dtype)


def fake_quantize_backward(
    dy,
    x,
    scale,
    zero_point=None,
    *,
    bits=8,
    axis=None,
    group_size=None,
    narrow_range=None,
    signed=True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx, dscale and the sum of the absolute values of dscale's terms, for `bounds.dscale`.

    Products are exact in FP64 and dscale is their correctly rounded FP64 sum.
    """
    narrow = zero_point is None if narrow_range is None else narrow_range
    qmin, qmax = code_range(bits, signed, narrow)
    s = spread(np.asarray(scale, np.float32), x.shape, axis, group_size)
    z = np.asarray(0 if zero_point is None else zero_point, np.float32)
    z = spread(z, x.shape, axis, group_size)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        t = to_f32(x) / s
        code = np.rint(t) + z
        inside = (code >= qmin) & (code <= qmax)
        slope = np.where(inside, np.rint(t) - t, np.where(code < qmin, qmin - z, qmax - z))
        terms = dy.astype(np.float64) * slope.astype(np.float64)
        terms = gather(np.where(np.isnan(x), 0.0, terms), axis, group_size)
        dscale = np.zeros(terms.shape[:-1])
        for channel in np.ndindex(dscale.shape):
            # fsum refuses infinities of both signs, whose sum is NaN in any order.
            exact = np.isfinite(terms[channel]).all()
            dscale[channel] = math.fsum(terms[channel]) if exact else np.sum(terms[channel])
        magnitude = np.sum(np.abs(terms), axis=-1)
    return np.where(inside, dy, dy.dtype.type(0)), dscale, np.asarray(magnitude)
