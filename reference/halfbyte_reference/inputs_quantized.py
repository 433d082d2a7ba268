# SPDX-License-Identifier: Apache-2.0
"""Seeded and extreme codes, accumulators, scales, and data that hugs the edges between codes."""

import numpy as np

from halfbyte_reference.scales import code_range

SATURATING_PAIR = ((211, 171), (71, 107))
"""Two uint8 and two int8 codes: 211 * 71 + 171 * 107 = 33278 is no int16.

Instructions that add two products to an int16 (pmaddubsw, and vpdpbusd when it is emulated by it)
saturate at 32767, although each product fits.
"""

SCALE_KINDS = (
    "normal",  # around 1, full mantissas
    "power",  # powers of two: quotients are exact, ties are ties
    "subnormal",  # below 2^-126
    "huge",  # the largest float32 numbers: a few steps overflow
    "mixed",  # any of them
)

_FLT_MAX = np.finfo(np.float32).max
_ACCUMULATORS = (
    *(0, 1, -1, 127, -128, 255, -(2**31), 2**31 - 1, 2**24, -(2**24)),
    *(2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**30 + 64, 2**30 + 192),  # ties of the cast to float32
)


def codes(shape, seed, bits=8, signed=True, narrow=False) -> np.ndarray:
    """Return int8 (uint8 when unsigned) codes, the extreme ones and 0 likely."""
    rng = np.random.default_rng(seed)
    qmin, qmax = code_range(bits, signed, narrow)
    drawn = rng.integers(qmin, qmax + 1, shape)
    special = rng.choice((qmin, qmax, 0), shape)
    return np.where(rng.random(shape) < 0.25, special, drawn).astype(
        np.int8 if signed else np.uint8
    )


def saturating(m, k, n) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 a (m, k) and int8 b (k, n) of which every pair of products saturates int16.

    It does whether a pair starts at an even or at an odd k.
    """
    a = np.resize(np.uint8(SATURATING_PAIR[0]), k)
    b = np.resize(np.int8(SATURATING_PAIR[1]), k)
    return np.tile(a, (m, 1)), np.tile(b[:, None], (1, n))


def extreme_codes(shape, bits=8, signed=True, shifted=False, up=True) -> tuple[np.ndarray, int]:
    """Return codes as far from their zero point as any can be, all the same, and that zero point.

    shifted: the zero point is the other end of the range, and `up` says which end the codes are.
    Else it is 0 and the codes are the one farthest from it: the smallest when signed.
    """
    qmin, qmax = code_range(bits, signed, False)
    code, zero_point = (qmax, qmin) if up else (qmin, qmax)
    if not shifted:
        code, zero_point = (qmin if signed else qmax), 0
    return np.full(shape, code, np.int8 if signed else np.uint8), zero_point


def accumulators(shape, seed) -> np.ndarray:
    """Return int32 numbers of every size, the extreme ones and ties of the cast likely."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(-(2**31), 2**31, shape) >> rng.integers(0, 32, shape)
    special = rng.choice(_ACCUMULATORS, shape)
    return np.where(rng.random(shape) < 0.125, special, drawn).astype(np.int32)


def scales(shape, seed, kind="normal") -> np.ndarray:
    """Return positive finite float32 numbers of one of SCALE_KINDS."""
    rng = np.random.default_rng(seed)
    mantissa = 1 + rng.integers(0, 2**23, shape) * 2.0**-23
    made = {
        "normal": mantissa * 2.0 ** rng.integers(-8, 8, shape),
        "power": 2.0 ** rng.integers(-20, 20, shape),
        "subnormal": rng.integers(1, 2**23, shape) * 2.0**-149,
        "huge": mantissa * 2.0 ** rng.integers(119, 128, shape),
    }
    if kind == "mixed":
        return np.asarray(np.choose(rng.integers(0, 4, shape), list(made.values())), np.float32)
    return np.asarray(made[kind], np.float32)


def near_ties(scale, seed, reach=300, non_finite=False) -> np.ndarray:
    """Return float32 numbers of scale's shape, at most about `reach` of its steps from zero.

    Half of them lie on a tie between two codes or next to it, others on a code or anywhere, a few
    are zeros of both signs and the largest numbers. `non_finite` adds infinities and NaNs.
    """
    scale = np.asarray(scale, np.float64)
    rng = np.random.default_rng(seed)
    steps = rng.integers(-reach, reach + 1, scale.shape)
    part = np.choose(
        rng.integers(0, 4, scale.shape), [0.5, 0.5, 0.0, rng.random(scale.shape) - 0.5]
    )
    toward = np.asarray(rng.choice((-np.inf, 0, np.inf), scale.shape), np.float32)
    with np.errstate(over="ignore", under="ignore"):
        x = np.clip((steps + part) * scale, -_FLT_MAX, _FLT_MAX).astype(np.float32)
        x = np.where(toward == 0, x, np.clip(np.nextafter(x, toward), -_FLT_MAX, _FLT_MAX))
    special = np.float32([0.0, -0.0, 2.0**-149, _FLT_MAX, -_FLT_MAX])
    if non_finite:
        special = np.float32([*special, np.inf, -np.inf, np.nan])
    return np.where(rng.random(scale.shape) < 0.06, rng.choice(special, scale.shape), x)
