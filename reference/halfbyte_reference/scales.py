# SPDX-License-Identifier: Apache-2.0
"""Code ranges, and the scales and zero points that come from data."""

import numpy as np

CANDIDATES = 41
"""How many scales the method "mse" compares: 1 down to 24/64 of the one from the extremes."""

_SMALLEST_SCALE = np.float32(2.0**-126)


def code_range(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """Return the smallest and the largest code."""
    if not signed:
        return 0, 2**bits - 1
    qmax = 2 ** (bits - 1) - 1
    return (-qmax if narrow else -qmax - 1), qmax


def scale_zero_point(
    lo, hi, *, bits: int, signed: bool, symmetric: bool, narrow: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the scale and zero point (None when symmetric) for data from lo to hi, and for 0.

    lo > hi (inf and -inf, say) stands for no data.
    """
    qmin, qmax = code_range(bits, signed, narrow)
    lo = np.minimum(np.asarray(lo, np.float32), np.float32(0))
    hi = np.maximum(np.asarray(hi, np.float32), np.float32(0))
    with np.errstate(over="ignore", under="ignore"):
        if symmetric:
            scale = np.maximum(-lo, hi) / np.float32(qmax)
        else:
            d = np.float32(qmax - qmin)
            scale = np.where(np.isfinite(hi - lo), (hi - lo) / d, hi / d - lo / d)
        scale = np.where(scale < _SMALLEST_SCALE, np.float32(1), scale)
        if symmetric:
            return scale, None
        zero_point = np.rint(np.float32(qmin) - lo / scale)
    return scale, np.asarray(np.clip(zero_point, qmin, qmax)).astype(np.int32)


def mse_candidates(scale: np.ndarray) -> np.ndarray:
    """Return scale * (1 - i / 64) for i = 0 .. 40 along a new first axis, each rounded to FP32."""
    scale = np.asarray(scale, np.float32)
    factor = np.float32([1 - i / 64 for i in range(CANDIDATES)])
    with np.errstate(under="ignore"):
        return factor.reshape(-1, *(1,) * scale.ndim) * scale


def mse_errors(x, scale, zero_point, qmin: int, qmax: int, counts=1) -> np.ndarray:
    """Return the FP64 sum of squared errors of each candidate: (41, *scale.shape).

    x holds the finite elements of each channel along its last axis (see `gather`), each `counts`
    times; scale and zero_point are those of the first candidate.
    """
    z = np.float32(0 if zero_point is None else zero_point)[..., None]
    errors = []
    with np.errstate(over="ignore", under="ignore"):
        for candidate in mse_candidates(scale)[..., None]:
            code = np.clip(np.rint(x / candidate) + z, np.float32(qmin), np.float32(qmax))
            difference = x.astype(np.float64) - ((code - z) * candidate).astype(np.float64)
            errors.append(np.sum(difference**2 * counts, axis=-1))
    return np.stack(errors)


def best_scale(x, scale, zero_point, qmin: int, qmax: int, counts=1) -> np.ndarray:
    """Return the candidate with the smallest error, the first of equal ones."""
    errors = mse_errors(x, scale, zero_point, qmin, qmax, counts)
    best = np.argmin(errors, axis=0)
    return np.asarray(np.take_along_axis(mse_candidates(scale), best[None], axis=0)[0])
