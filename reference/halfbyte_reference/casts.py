# SPDX-License-Identifier: Apache-2.0
"""The two casts, IEEE 754 round half to even. A NaN stays a NaN; its payload is free."""

import numpy as np


def to_f16(x: np.ndarray) -> np.ndarray:
    """Round float32 to float16: from 65520 on to infinity, below 2^-25 to zero, sign kept."""
    # A signalling NaN raises the invalid flag, and every kind of rounding is asked for here.
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.asarray(x).astype(np.float16)


def to_f32(x: np.ndarray) -> np.ndarray:
    """Widen float16 to float32, exactly."""
    with np.errstate(invalid="ignore"):
        return np.asarray(x).astype(np.float32)
