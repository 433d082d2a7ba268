# SPDX-License-Identifier: Apache-2.0
"""Seeded arrays that tests and benches share, and every memory layout an argument may have.

Kinds: `normal` is the standard normal distribution. `wide` has every finite exponent and many
zeros, subnormals and largest numbers, so a sum shows in which order it was added. `nasty` is `wide`
with a few infinities and NaNs, few so that most of a product stays finite. `bits` is uniform over
bit patterns.
"""

import numpy as np

KINDS = ("normal", "wide", "nasty", "bits")

LAYOUTS = (
    "c",  # C order
    "transposed",  # the last two axes exchanged in memory
    "sliced",  # every second element along every axis
    "negative",  # every axis runs backwards
    "padded",  # rows three elements further apart than they are long
    "broadcast",  # a stride of zero along every axis that has equal entries only
    "offset",  # starts two bytes after a multiple of 64
    "unaligned",  # starts one byte after a multiple of 64
    "field",  # a field of a packed record: strides are no multiple of the item size
)

_F16_SPECIAL = (0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0x7BFF, 0xFBFF)
_F16_NON_FINITE = (0x7C00, 0xFC00, 0x7E00, 0xFE01, 0x7D00)
_F32_SPECIAL = (
    *(0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000),
    *(0x33000000, 0x33000001, 0x387FC000, 0x38800000),  # 2^-25, its successor, near 2^-14
    *(0x477FE000, 0x477FEFFF, 0x477FF000, 0xC77FF000, 0x7F7FFFFF),  # 65504 .. 65520, FLT_MAX
)
_F32_NON_FINITE = (0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001, 0x7F800001)


def halves(shape, seed, kind="normal") -> np.ndarray:
    """Return float16 numbers; the same seed gives the same ones. `seed`: what default_rng takes."""
    bits = _bits(shape, np.random.default_rng(seed), kind, np.uint16, 10, 5)
    if bits is None:
        return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float16)
    return bits.view(np.float16)


def floats(shape, seed, kind="normal") -> np.ndarray:
    """Return float32 numbers; the same seed gives the same ones."""
    bits = _bits(shape, np.random.default_rng(seed), kind, np.uint32, 23, 8)
    if bits is None:
        return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)
    return bits.view(np.float32)


def _bits(shape, rng, kind, word, fraction_bits, exponent_bits):
    if kind == "normal":
        return None
    width = 1 + exponent_bits + fraction_bits
    if kind == "bits":
        return np.asarray(rng.integers(0, 2**width, shape), word)
    sign = rng.integers(0, 2, shape) << (width - 1)
    exponent = rng.integers(0, 2**exponent_bits - 1, shape) << fraction_bits
    bits = np.asarray(sign | exponent | rng.integers(0, 2**fraction_bits, shape), word)
    special = _F16_SPECIAL if word is np.uint16 else _F32_SPECIAL
    chosen = rng.random(shape) < 0.125
    bits = np.asarray(np.where(chosen, rng.choice(special, shape), bits), word)
    if kind == "nasty" and bits.size:
        non_finite = _F16_NON_FINITE if word is np.uint16 else _F32_NON_FINITE
        count = rng.integers(0, 4)
        bits.reshape(-1)[rng.integers(0, bits.size, count)] = rng.choice(non_finite, count)
    return bits


def ties() -> np.ndarray:
    """Return every tie between adjacent halves and the two floats on either side, both signs.

    65520, the tie between 65504 and what would be 65536, is among them, and so is 2^-25.
    """
    below = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    above = np.append(below[1:], 65536.0)
    tie = ((below + above) / 2).astype(np.float32).view(np.uint32)
    near = (tie[:, None] + np.arange(-2, 3)).astype(np.uint32).view(np.float32)
    return np.concatenate([near.ravel(), -near.ravel()])


def every_half() -> np.ndarray:
    """Return all 65,536 halves."""
    return np.arange(2**16, dtype=np.uint32).astype(np.uint16).view(np.float16)


def strided(array, layout) -> np.ndarray:
    """Return a new array of equal values and the asked memory layout.

    Bytes between the elements are 0xFF, NaN in both formats: who reads them shows it. `broadcast`
    gives a read-only view; every other layout is writeable.
    """
    return _LAYOUT_MAKERS[layout](np.asarray(array))


def far_rows(array) -> np.ndarray:
    """Return a matrix of equal values whose last row starts more than 2^31 bytes after its first.

    Untouched pages of zeros take no memory, so the rows are all there is.
    """
    rows, columns = array.shape
    step = -(-(2**31 + 4096) // (rows - 1)) // array.itemsize
    memory = np.zeros((rows - 1) * step + columns, array.dtype)
    strides = (step * array.itemsize, array.itemsize)
    return _filled(np.lib.stride_tricks.as_strided(memory, array.shape, strides), array)


def memory_of(array: np.ndarray) -> np.ndarray:
    """Return the array that owns `array`'s memory, to see what lies between its elements."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _poisoned(shape, dtype) -> np.ndarray:
    buffer = np.empty(shape, dtype)
    buffer.reshape(-1).view(np.uint8)[...] = 0xFF
    return buffer


def _filled(view, array):
    view[...] = array
    return view


def _transposed(array):
    if array.ndim < 2:
        return array.copy()
    return array.swapaxes(-1, -2).copy(order="C").swapaxes(-1, -2)


def _sliced(array):
    buffer = _poisoned([2 * size + 1 for size in array.shape], array.dtype)
    return _filled(buffer[(..., *(slice(1, None, 2) for _ in array.shape))], array)


def _negative(array):
    if not array.ndim:
        return array.copy()
    return np.flip(np.flip(array).copy(order="C"))


def _padded(array):
    if not array.ndim:
        return array.copy()
    buffer = _poisoned((*array.shape[:-1], array.shape[-1] + 3), array.dtype)
    return _filled(buffer[..., : array.shape[-1]], array)


def _broadcast(array):
    view = array.copy(order="C")
    bits = view.view(f"u{array.itemsize}")
    for axis, size in enumerate(array.shape):
        first = [slice(None)] * array.ndim
        first[axis] = slice(0, 1)
        if size > 1 and (bits == bits[tuple(first)]).all():
            view = view[tuple(first)]
    return np.broadcast_to(view, array.shape)


def _at_offset(array, offset):
    buffer = _poisoned(array.nbytes + 64 + offset, np.uint8)
    start = -buffer.ctypes.data % 64 + offset
    memory = buffer[start : start + array.nbytes]
    return _filled(memory.view(array.dtype).reshape(array.shape), array)


def _field(array):
    record = np.dtype(
        {
            "names": ["gap", "value"],
            "formats": ["u1", array.dtype],
            "offsets": [0, 1],
            "itemsize": 1 + array.itemsize,
        }
    )
    return _filled(_poisoned(array.shape, record)["value"], array)


_LAYOUT_MAKERS = {
    "c": lambda array: array.copy(order="C"),
    "transposed": _transposed,
    "sliced": _sliced,
    "negative": _negative,
    "padded": _padded,
    "broadcast": _broadcast,
    "offset": lambda array: _at_offset(array, 2),
    "unaligned": lambda array: _at_offset(array, 1),
    "field": _field,
}
