# SPDX-License-Identifier: Apache-2.0
"""Philox4x32-10, the generator behind stochastic rounding.

Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011: a bijection of
128-bit counters chosen by a 64-bit key, so the number of element i needs no other element's.
"""

import numpy as np

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)


def philox4x32(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Return the words (..., 4) of counters (..., 4) under keys (..., 2), all uint32."""
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter, np.uint64), -1, 0)
    k0, k1 = np.moveaxis(np.asarray(key, np.uint64), -1, 0)
    for _ in range(_ROUNDS):
        left, right = c0 * np.uint64(_MULTIPLIERS[0]), c2 * np.uint64(_MULTIPLIERS[1])
        c0, c1 = (right >> np.uint64(32)) ^ c1 ^ k0, right & _LOW
        c2, c3 = (left >> np.uint64(32)) ^ c3 ^ k1, left & _LOW
        k0, k1 = (k0 + np.uint64(_KEY_STEPS[0])) & _LOW, (k1 + np.uint64(_KEY_STEPS[1])) & _LOW
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)


def uniforms(seed: int, start: int, count: int) -> np.ndarray:
    """Return the float32 numbers in [0, 1), multiples of 2^-24, of elements start, start + 1, ...

    Element i takes word i % 4 of counter i // 4 under the key `seed`.
    """
    element = np.arange(count, dtype=np.uint64) + np.uint64(start)
    block = element >> np.uint64(2)
    zero = np.zeros_like(block)
    counter = np.stack([block & _LOW, block >> np.uint64(32), zero, zero], axis=-1)
    words = philox4x32(counter, np.uint64([seed & 0xFFFFFFFF, seed >> 32]))
    word = np.take_along_axis(words, (element & np.uint64(3)).astype(np.intp)[:, None], 1)[:, 0]
    return (word >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
