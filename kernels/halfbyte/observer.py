# SPDX-License-Identifier: Apache-2.0
"""What all observers have in common."""

from __future__ import annotations

import importlib
from typing import Any, Self

import numpy as np

from halfbyte import ranges
from halfbyte.arrays import F16, F32, Array, kind_of, on_device, place_of, require_dtype
from halfbyte.devices import beside, check_current, copied, on_host
from halfbyte.quantized import I32, check_axis, check_bits, check_flag, is_integer
from halfbyte.tensors import library

_ON_GPU = "parts on a GPU"


class Observer:
    """What all observers share: the extremes so far, and whose arrays they came from.

    What has been seen is kept where it was seen. On a GPU nothing is asked for until
    `scale_zero_point` is: whether all was finite is a flag there.
    """

    axis: int | None = None
    _lo: Any = None  # inf where there was no element yet
    _hi: Any = None
    _bad: Any = None  # on a GPU: int32, 1 after an element that is not finite
    _library: str | None = None  # name of a module, so that an observer pickles

    def update(self, x: Any) -> None:
        """Take the elements of an array into account.

        Parameters
        ----------
        x : float32 or float16 array
            Any strides, any shape; may be empty. All updates are of one library.

        Raises
        ------
        TypeError
            Another kind of array, another dtype or another library.
        ValueError
            A NaN or an infinity, or another number of channels than before. Nothing is changed. On
            a GPU nothing waits for the elements: from then on `scale_zero_point` raises it.
        """
        name = f"{type(self).__name__}.update"
        (seen,), home = library.device_views(name, x=x)
        require_dtype(name, "x", seen, (F32, F16))
        axis = check_axis(name, self.axis, seen.ndim)
        if self._library not in (None, home.__name__):
            msg = f"{name}: x is a {kind_of(x)} and earlier ones were of {self._library}"
            msg += "; need arrays of one library"
            raise TypeError(msg)
        if self._lo is not None and on_device(self._lo) != on_device(seen):
            msg = f"{name}: x is {place_of(seen)} and earlier ones were not; "
            raise TypeError(msg + f"need arrays {place_of(self._lo)}")
        check_current(name, "what was seen before", self._lo)
        count = None if axis is None else seen.shape[axis]
        if count is not None and self._lo is not None and count != len(self._lo):
            msg = f"{name}: x has {count} channels along axis {self.axis}"
            msg += f"; need {len(self._lo)} as before"
            raise ValueError(msg)
        if on_device(seen):
            self._take_on_device(seen, axis)
        else:
            lo, hi, finite = ranges.extremes(seen, axis)
            if not finite:
                msg = f"{name}: x has a NaN or an infinity{_first_bad(seen, axis)}; "
                raise ValueError(msg + "need finite values")
            self._take(seen, lo, hi)
        self._library = home.__name__

    def scale_zero_point(self, bits: int = 8, symmetric: bool = True) -> tuple[Any, Any]:
        """Return the scale and zero point of signed codes.

        Parameters
        ----------
        bits : {8, 4, 3, 2}
        symmetric : bool

        Returns
        -------
        scale : float32 array, shape () or (channels,)
            1 where it would be subnormal, as where there was nothing but zeros or nothing at all.
        zero_point : int32 array of the same shape, or None if symmetric

        Raises
        ------
        TypeError
            Another kind of argument.
        ValueError
            Another width, no update yet, or a NaN or an infinity in an update on a GPU.
        """
        name = f"{type(self).__name__}.scale_zero_point"
        bits = check_bits(name, bits)
        symmetric = check_flag(name, "symmetric", symmetric)
        if self._lo is None or self._hi is None or self._library is None:
            msg = f"{name}: no update yet; need update(x) first"
            raise ValueError(msg)
        check_current(name, "what was seen", self._lo)
        home = importlib.import_module(self._library)
        seen = self._on_host()
        if seen._bad:
            msg = f"{name}: an update had a NaN or an infinity; need finite values"
            raise ValueError(msg)
        scale, zero_point = seen._scale_zero_point(seen._lo, seen._hi, bits, symmetric)
        return _given(home, self._lo, scale, F32), _given(home, self._lo, zero_point, I32)

    def _take(self, x: Array, lo: Array, hi: Array) -> None:
        """Remember what there is to x, whose extremes are lo and hi."""
        raise NotImplementedError

    def _take_on_device(self, x: Any, axis: int | None) -> None:
        """Remember what there is to x, on a GPU."""
        raise NotImplementedError

    def _alias(self) -> Self:
        """Return an observer that holds the same arrays."""
        alias = object.__new__(type(self))
        alias.__dict__.update(self.__dict__)
        return alias

    def __copy__(self) -> Self:
        other = self._alias()
        for name, part in vars(self).items():
            if on_device(part):  # where updates write in place
                setattr(other, name, copied(part))
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()  # what is not on a GPU is replaced, and never written to

    def __getstate__(self) -> dict[str, Any]:
        # Not by CuPy, which compiles a kernel to make an array without dimensions.
        state = dict(vars(self))
        there = [name for name, part in state.items() if on_device(part)]
        state |= {name: on_host(state[name]) for name in there}
        return state | ({_ON_GPU: there} if there else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in state.pop(_ON_GPU, ()):
            from halfbyte.cuda import runtime

            state[name] = runtime.upload(state[name])
        vars(self).update(state)

    def _on_host(self) -> Self:
        """Return an observer that has seen the same, in the CPU's memory."""
        if not on_device(self._lo):
            return self
        seen = self._alias()
        seen._lo, seen._hi, seen._bad = map(on_host, (self._lo, self._hi, self._bad))
        return seen

    def _scale_zero_point(
        self, lo: Array, hi: Array, bits: int, symmetric: bool
    ) -> tuple[Array, Array | None]:
        return ranges.scale_zero_point(lo, hi, bits, symmetric)

    def _join(self, lo: Array, hi: Array) -> None:
        """Widen the extremes."""
        if self._lo is not None:
            lo, hi = ranges.joined(self._lo, self._hi, lo, hi)
        self._lo, self._hi = lo, hi

    def _join_on_device(self, lo: Any, hi: Any, bad: Any) -> None:
        """Widen the extremes, on a GPU, in place; the first ones given become the observer's."""
        if self._lo is None:
            self._lo, self._hi, self._bad = lo, hi, bad
            return
        from halfbyte.cuda import observers

        observers.join(self._lo, self._hi, self._bad, lo, hi, bad)

    def _check_merge(self, other: Any) -> None:
        name = f"{type(self).__name__}.merge"
        if type(other) is not type(self):
            msg = f"{name}: other is a {kind_of(other)}; need a {type(self).__name__}"
            raise TypeError(msg)
        if self._arguments() != other._arguments():
            msg = f"{name}: other is {other!r}; need one with {self._arguments()}"
            raise ValueError(msg)
        check_current(name, "what this one saw", self._lo)
        check_current(name, "what other saw", other._lo)
        if self._lo is None or other._lo is None:
            return
        if self._library != other._library:
            msg = f"{name}: other has seen arrays of {other._library}; need {self._library}"
            raise TypeError(msg)
        library.check_place(name, {"this one": self._lo, "other": other._lo})
        if self._lo.shape != other._lo.shape:
            msg = f"{name}: other has {len(other._lo)} channels; need {len(self._lo)}"
            raise ValueError(msg)

    def _arguments(self) -> str:
        """Return what the constructor was given, as text."""
        return f"axis={self.axis}"

    def __repr__(self) -> str:
        seen = "no update yet"
        if on_device(self._lo):
            seen = "on a GPU"
        elif self._lo is not None:
            channels = f"{len(self._lo)} channels, " if self._lo.ndim else ""
            some = np.isfinite(self._lo).any()
            lo, hi = self._lo.min(initial=np.inf), self._hi.max(initial=-np.inf)
            seen = channels + (f"{lo} .. {hi}" if some else "no elements yet")
        return f"{type(self).__name__}({self._arguments()}; {seen})"


def _given(home: Any, like: Any, part: Array | None, dtype: np.dtype[Any]) -> Any:
    """Give an array to a library, on the device that `like` is on."""
    if part is None:
        return None
    return library.of(home, beside(like, part, dtype) if on_device(like) else part)


def _first_bad(x: Array, axis: int | None) -> str:
    """In which channel x is not finite, where there are channels."""
    if axis is None:
        return ""
    others = tuple(d for d in range(x.ndim) if d != axis)
    return f" in channel {int(np.argmax(~np.isfinite(x).all(axis=others)))}"


def checked_axis(name: str, axis: Any) -> int | None:
    """Return an axis, of arrays yet to come, as an int, or None."""
    if axis is not None and not is_integer(axis):
        msg = f"{name}: axis is a {kind_of(axis)}; need an integer or None"
        raise TypeError(msg)
    return None if axis is None else int(axis)
