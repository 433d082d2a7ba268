# SPDX-License-Identifier: Apache-2.0
"""Whose array is this, and may it be used: checks shared by the public functions."""

from __future__ import annotations

import contextlib
import ctypes
import math
import numbers
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Array = np.ndarray[Any, Any]

F16 = np.dtype(np.float16)
F32 = np.dtype(np.float32)

_DLPACK_CPU = 1
_DLPACK_CUDA = (2, 13)  # a GPU's memory, and memory that moves
# Subclasses whose elements or indexing mean something else than an array's.
REFUSED = (np.ma.MaskedArray, np.matrix)


def require_dtype(
    function: str, name: str, array: Array, allowed: tuple[np.dtype[Any], ...], more: str = ""
) -> None:
    """Raise TypeError unless the array has one of the dtypes, in native byte order.

    more: what else the argument may be.
    """
    if array.dtype not in allowed:
        needs = [*map(str, allowed), *([more] if more else [])]
        need = ", ".join(needs[:-1]) + " or " * (len(needs) > 1) + needs[-1]
        msg = f"{function}: {name} has dtype {describe_dtype(array.dtype)}; need {need}"
        raise TypeError(msg)


def describe_dtype(dtype: np.dtype[Any]) -> str:
    """Name of a dtype that tells a byte-swapped one from a native one."""
    return str(dtype) if dtype.isnative else f"{dtype} (byte-swapped)"


def single_bits(x: float) -> int:
    """Bits of x rounded to float32, to nearest, ties to even, in any rounding mode."""
    sign = 0x80000000 if math.copysign(1.0, x) < 0 else 0
    mantissa, exponent = math.frexp(abs(x))
    if not math.isfinite(x):
        return sign | (0x7F800000 if math.isinf(x) else 0x7FC00000)
    if mantissa == 0:
        return sign
    # The rounded mantissa's top bit adds 1 to the exponent field, and so does a carry.
    place = max(exponent - 24, -149)
    steps = round(math.ldexp(mantissa, exponent - place))
    return sign | min(((place + 149) << 23) + steps, 0x7F800000)


def exact_float(x: Any) -> float:
    """Return x as a float; a subnormal float32 exactly even where the process flushes them."""
    if not isinstance(x, np.float32):
        return float(x)
    bits = int(x.view(np.uint32))
    exponent, mantissa = bits >> 23 & 0xFF, bits & 0x7FFFFF
    if exponent == 0xFF:
        return float(x)
    magnitude = math.ldexp(mantissa | (0x800000 if exponent else 0), max(exponent, 1) - 150)
    return -magnitude if bits >> 31 else magnitude


def checked_real(function: str, argument: str, value: Any) -> float:
    """Return a real number as a float, an infinity where it is too large for one."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        msg = f"{function}: {argument} is a {kind_of(value)}; need a real number"
        raise TypeError(msg)
    try:
        return exact_float(value)
    except OverflowError:
        return -math.inf if operator.lt(value, 0) else math.inf


def is_numpy(x: object) -> bool:
    """Whether x is a NumPy array as it stands: what most calls are made with."""
    return type(x) is np.ndarray


def kind_of(x: object) -> str:
    """Name the type of an argument, ours as users import it, for an error's text."""
    typ = type(x)
    module = typ.__module__
    for public in ("halfbyte.formats", "halfbyte"):
        if module.startswith(f"{public}."):
            module = public
    return typ.__name__ if module == "builtins" else f"{module}.{typ.__name__}"


def on_device(x: object) -> bool:
    """Whether an array that passed `as_array` is on a GPU; a number is not."""
    # Those in the CPU's memory are NumPy's by then.
    return type(x) is not np.ndarray and _is_foreign(x)


def is_on_gpu(function: str, name: str, x: Any) -> bool:
    """Whether any object is an array of another library on a GPU."""
    return _is_foreign(x) and _device_of(function, name, x) in _DLPACK_CUDA


def place_of(x: object) -> str:
    """Say where an array is that passed `as_array`, for an error's text."""
    return "on a GPU" if on_device(x) else "in the CPU's memory"


def as_array(function: str, name: str, x: Any) -> tuple[Any, Any]:
    """View of x as a NumPy array, as a CuPy array where x is on a GPU, and x's library."""
    if is_on_gpu(function, name, x):
        from halfbyte.cuda import runtime

        return runtime.array(function, name, x), _library_of(x)
    return as_numpy(function, name, x)


def as_numpy(function: str, name: str, x: Any) -> tuple[Array, Any]:
    """View of x as a plain NumPy array, and the namespace of x's library."""
    if isinstance(x, np.ndarray) and not isinstance(x, REFUSED):
        return x.view(np.ndarray), np
    if _is_foreign(x):
        if _device_of(function, name, x) == _DLPACK_CPU:
            with _viewing(function, name, x):
                return np.from_dlpack(x), _library_of(x)
        msg = f"{function}: {name} is a {kind_of(x)} on a device; need an array in the CPU's memory"
        raise TypeError(msg)
    msg = f"{function}: {name} is a {kind_of(x)}; need a NumPy array, or one with __dlpack__"
    raise TypeError(msg + getattr(type(x), "_INSTEAD", ""))


def _is_foreign(x: Any) -> bool:
    """Whether x is an array of another library."""
    return not isinstance(x, (np.ndarray, np.generic)) and hasattr(x, "__dlpack_device__")


def _device_of(function: str, name: str, x: Any) -> int:
    """Return DLPack's number of the kind of device that x is on."""
    with _viewing(function, name, x):
        return int(x.__dlpack_device__()[0])


def _library_of(x: Any) -> Any:
    from array_api_compat import array_namespace

    return array_namespace(x)


@contextlib.contextmanager
def _viewing(function: str, name: str, x: Any) -> Iterator[None]:
    """Turn what a library says of an array that it cannot show into a TypeError."""
    try:
        yield
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        msg = f"{function}: {name} is a {kind_of(x)} with dtype {getattr(x, 'dtype', None)} that "
        msg += f"NumPy cannot view: {error}; need {_viewable(x)}"
        raise TypeError(msg) from error


def _viewable(x: Any) -> str:
    """Name what there is to give instead of an array that NumPy cannot view."""
    if getattr(x, "requires_grad", False):
        return "its values alone, x.detach() in torch"
    if "bfloat16" in str(getattr(x, "dtype", None)):
        return "float16, float32 or integer values: convert bfloat16 first, to float32 without loss"
    return "float16, float32 or integer values in plain memory"


_ADDRESS = object.__basicsize__  # where an ndarray holds it: after what every object has


def address_of(x: Array) -> int:
    """Return the address of the first element."""
    return _word_at(id(x) + _ADDRESS).value


def _documented_address_of(x: Array) -> int:
    return int(x.__array_interface__["data"][0])


# The documented way makes a dict of seven entries: 1 us, ten times as long, and calls need several.
_word_at = ctypes.c_size_t.from_address
if address_of(_sample := np.empty(1)) != _documented_address_of(_sample):
    address_of = _documented_address_of  # another layout of objects than NumPy's C headers have


def header(x: Any) -> Array:
    """Return a NumPy array that says where x lies. On a GPU it must not be read."""
    if not on_device(x):
        return x  # type: ignore[no-any-return]
    from halfbyte.cuda import runtime

    return runtime.header(x)


def check_out(
    function: str, out: Array, shape: tuple[int, ...], inputs: Iterable[tuple[str, Array]],
    itself: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """Raise ValueError unless `out` has this shape, can be written, and shares no byte with inputs.

    An input named in `itself` may be `out`: same address, shape, strides and dtype. All are on one
    device.
    """
    if on_device(out):
        out, inputs = header(out), [(name, header(x)) for name, x in inputs]
    if out.shape != shape:
        msg = f"{function}: out has shape {out.shape}; need {shape}"
        raise ValueError(msg)
    if not out.flags.writeable:
        msg = f"{function}: out is read-only; need a writeable array"
        raise ValueError(msg)
    for name, x in inputs:
        if np.may_share_memory(out, x):
            if name in itself and same_array(out, x):
                continue
            if share_memory(out, x):
                msg = f"{function}: out overlaps {name}; need memory of its own"
                msg += f", or {name} itself" if name in itself else ""
                raise ValueError(msg)
    if overlaps_itself(out):
        msg = f"{function}: out has strides {out.strides} for shape {out.shape}, which overlap"
        raise ValueError(msg + "; need distinct elements")


def same_array(x: Array, y: Array) -> bool:
    """Whether x and y have the same address, shape, strides and dtype."""
    return (
        address_of(x) == address_of(y)
        and x.shape == y.shape
        and x.strides == y.strides
        and x.dtype == y.dtype
    )


def share_memory(x: Array, y: Array) -> bool:
    """Whether x and y share a byte, or that takes too long to find out."""
    try:
        return bool(np.shares_memory(x, y, max_work=100_000))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:  # refuse what cannot be decided in a millisecond
        return True


def overlaps_itself(x: Array) -> bool:
    """Whether two elements of x share a byte."""
    if x.size < 2 or x.flags.forc:
        return False
    reach = x.itemsize
    sizes = sorted((abs(stride), size) for stride, size in zip(x.strides, x.shape, strict=True))
    for stride, size in sizes:
        if size > 1:
            if stride < reach:
                break
            reach += stride * (size - 1)
    else:
        return False
    # Interleaved dimensions: look at every address.
    offsets = np.zeros(1, np.int64)
    for stride, size in zip(x.strides, x.shape, strict=True):
        offsets = (offsets[:, None] + stride * np.arange(size)).ravel()
    offsets.sort()
    return bool((np.diff(offsets) < x.itemsize).any())
