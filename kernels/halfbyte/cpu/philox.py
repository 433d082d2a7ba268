# SPDX-License-Identifier: Apache-2.0
"""Philox4x32-10, a counter-based random number generator (Salmon, Moraes, Dror, Shaw, SC 2011)."""

import numpy as np

from halfbyte.cpu.compile import inlined, inner
from halfbyte.cpu.simd import SINGLE, store_scalar

_LOW = np.uint64(0xFFFFFFFF)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_32 = np.uint64(32)


@inlined
def philox(counter, seed):
    """Four words of 32 bits, each in a uint64, for a counter and a key of 64 bits."""
    c0, c1 = counter & _LOW, counter >> _32
    c2, c3 = np.uint64(0), np.uint64(0)
    k0, k1 = seed & _LOW, seed >> _32
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@inlined
def uniform(word):
    """The word's upper 24 bits, a float32 in [0, 1)."""
    return np.float32(np.int64(word >> np.uint64(8))) * np.float32(2.0**-24)


@inner
def fill_uniforms(isa, seed, first, stride, count, target):
    """Numbers first, first + stride, ... of a seed's sequence."""
    key = np.uint64(seed)
    i = 0
    while i < count:
        number = first + i * stride
        w0, w1, w2, w3 = philox(np.uint64(number >> 2), key)
        word = number & 3
        while True:
            w = w0
            if word == 1:
                w = w1
            elif word == 2:
                w = w2
            elif word == 3:
                w = w3
            store_scalar(isa, uniform(w), target + 4 * i, SINGLE)
            i += 1
            word += 1
            if stride != 1 or word == 4 or i == count:
                break
