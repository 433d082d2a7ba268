# SPDX-License-Identifier: Apache-2.0
"""What a test claims of a result: these bits, within this bound, in its place, refused with a text.

Nothing here computes with the values it compares, so it also holds while the caller flushes
subnormals or rounds upward.
"""

import re
from contextlib import contextmanager

import numpy as np
import pytest

from halfbyte_reference.inputs import memory_of


def assert_same_bits(got, want, where="") -> None:
    """Claim the same type, dtype, shape and bit patterns; NaNs of any payload are equal."""
    _assert_like(got, want.shape, where)
    if got.dtype != want.dtype:
        msg = f"{where}: dtype is {got.dtype}, want {want.dtype}"
        raise AssertionError(msg)
    word = np.dtype(f"u{want.itemsize}")
    got_bits = np.array(got, order="C").view(word)
    want_bits = np.array(want, order="C").view(word)
    bad = (got_bits != want_bits) & ~(np.isnan(got) & np.isnan(want))
    if bad.any():
        index = _first(bad)
        digits = 2 * want.itemsize
        msg = (
            f"{where}: {_extent(bad)}, the first at {index}: "
            f"got {got_bits[index]:#0{digits + 2}x} ({got[index]}), "
            f"want {want_bits[index]:#0{digits + 2}x} ({want[index]})"
        )
        raise AssertionError(msg)


def assert_within(got, bounded, where="") -> None:
    """Claim that `got` is within `bounded.bound` of `bounded.value`.

    Where `bounded.inf_allowed`, an infinity of the value's sign does as well. Where the value is
    infinite or NaN, so is the result.
    """
    value, bound, inf_allowed = bounded
    _assert_like(got, value.shape, where)
    x = np.asarray(got, np.float64)
    right_inf = inf_allowed & (x == np.copysign(np.inf, value))
    with np.errstate(invalid="ignore"):
        close = np.isfinite(value) & (np.abs(x - value) <= bound)
    bad = ~(close | (x == value) | (np.isnan(x) & np.isnan(value)) | right_inf)
    if bad.any():
        index = _first(bad)
        msg = (
            f"{where}: {_extent(bad)}, the first at {index}: got {x[index]!r}, "
            f"want {value[index]!r} within {np.broadcast_to(bound, value.shape)[index]!r}"
        )
        raise AssertionError(msg)


@contextmanager
def refuses(kind, function, *words):
    """Claim that the block raises `kind` with a text that starts with `function` and names `words`.

    A word counts only where no letter or digit touches it.
    """
    with pytest.raises(kind) as caught:
        yield
    text = str(caught.value)
    missing = [word for word in words if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)]
    if missing or not text.startswith(f"{function}:"):
        msg = f"{text!r} does not start with '{function}:' and name {missing}"
        raise AssertionError(msg)


def assert_only_elements_change(out, call) -> None:
    """Claim that `call()` writes the elements of `out` and no byte between or around them."""
    memory = memory_of(out).reshape(-1).view(np.uint8)
    before, elements = memory.copy(), out.copy()
    call()
    out[...] = elements
    touched = np.flatnonzero(memory != before)
    if touched.size:
        msg = f"byte {touched[0]} of {memory.size} is no element's and changed"
        raise AssertionError(msg)


def _assert_like(got, shape, where):
    if type(got) is not np.ndarray:
        msg = f"{where}: got a {type(got).__name__}, want a numpy array"
        raise AssertionError(msg)
    if got.shape != shape:
        msg = f"{where}: shape is {got.shape}, want {shape}"
        raise AssertionError(msg)


def _first(bad):
    return tuple(int(i) for i in np.argwhere(bad)[0])


def _extent(bad):
    return f"{int(bad.sum())} of {bad.size} elements of shape {bad.shape} differ"
