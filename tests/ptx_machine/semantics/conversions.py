# SPDX-License-Identifier: Apache-2.0
"""cvt: between integers, between floats, and from one to the other."""

import math

import numpy as np

from ptx_machine.semantics.operations import (
    FLOATS,
    INTEGERS,
    Operation,
    numbers_of,
    on_numbers,
    width_of,
)

KINDS = [f"{kind}{width}" for width in INTEGERS for kind in "us"]
INTEGRAL = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def _ends(kind):
    """Return the least and the greatest number of an integer type."""
    about = np.iinfo(numbers_of(kind))
    return int(about.min), int(about.max)


# --------------------------------------------------------------------- integers to integers


def _between_integers(target, source) -> dict[str, Operation]:
    out, dtype = numbers_of(target), numbers_of(source)
    types = f"{target} {source}"
    (lo, hi), (least, most) = _ends(target), _ends(source)
    found = {f"cvt.{target}.{source}": on_numbers(types, lambda a: a.astype(out))}
    # Bounds that the source has: the others never matter.
    lo, hi = dtype(max(lo, least)), dtype(min(hi, most))
    if (lo, hi) != (least, most):
        found[f"cvt.sat.{target}.{source}"] = on_numbers(
            types, lambda a: np.minimum(np.maximum(a, lo), hi).astype(out)
        )
    return found


# ----------------------------------------------------------------------- floats to integers


def _to_integer(target, source, rounding):
    """Round, and clamp to what the target has."""
    lo, hi = _ends(target)
    out, width = numbers_of(target), width_of(target)
    wide = np.float64 if source == "f64" else np.float32
    # The greatest float that is not above hi: often less, as 32 bits do not fit in FP32.
    top = wide(hi)
    if int(top) > hi:
        top = np.nextafter(top, wide(0))
    lo, limit = wide(lo), top if int(top) < hi else wide(math.inf)
    # NaN is zero, but the highest bit where either type has 64 bits.
    nan = 0
    if 64 in (width, width_of(source)):
        nan = -(2 ** (width - 1)) if target[0] == "s" else 2 ** (width - 1)
    nan, hi = out(nan), out(hi)

    def convert(a):
        whole = rounding(a, dtype=wide)
        result = np.minimum(np.maximum(whole, lo), top).astype(out)
        usual = whole <= limit
        if usual.all():
            return result
        return np.where(usual, result, np.where(np.isnan(whole), nan, hi))

    return convert


def _to_integers(source) -> dict[str, Operation]:
    # What FP64 becomes in 8 and 16 bits is not described: compilers go by way of 32.
    kinds = [kind for kind in KINDS if source != "f64" or width_of(kind) >= 32]
    return {
        f"cvt.{name}.{target}.{source}": on_numbers(
            f"{target} {source}", _to_integer(target, source, rounding)
        )
        for target in kinds
        for name, rounding in INTEGRAL.items()
    }


# --------------------------------------------------------------------------- rounding floats


def _to_nearest(a, out):
    return a.astype(out)


def _toward(goal, beyond):
    """Return a cast that rounds to one side: what is beyond the number goes one step back."""

    def cast(a, out):
        exact = a.astype(np.float64)
        near = exact.astype(out)
        return np.where(beyond(near, exact), np.nextafter(near, out(goal)), near)

    return cast


CASTS = {
    "rn": _to_nearest,
    "rz": _toward(0, lambda near, exact: np.abs(near) > np.abs(exact)),
    "rm": _toward(-math.inf, np.greater),
    "rp": _toward(math.inf, np.less),
}


def _from_integers(source) -> dict[str, Operation]:
    found = {}
    for target, out in FLOATS.items():
        types = f"{target} {source}"
        if width_of(source) == 64 and target != "f16":
            found[f"cvt.rn.{target}.{source}"] = on_numbers(types, lambda a, x=out: a.astype(x))
            continue
        # FP64 has every number of 32 bits, and every number below FP16's infinity.
        for name, cast in CASTS.items():
            found[f"cvt.{name}.{target}.{source}"] = on_numbers(
                types, lambda a, cast=cast, x=out: cast(a.astype(np.float64), x)
            )
    return found


def _between_floats(target, source) -> dict[str, Operation]:
    out = FLOATS[target]
    types = f"{target} {source}"
    if width_of(target) > width_of(source):
        return {f"cvt.{target}.{source}": on_numbers(types, lambda a: a.astype(out))}
    if target == source:
        return {f"cvt.{name}.{types.replace(' ', '.')}": on_numbers(types, rounding)
                for name, rounding in INTEGRAL.items()}  # fmt: skip
    return {
        f"cvt.{name}.{target}.{source}": on_numbers(types, lambda a, cast=cast: cast(a, out))
        for name, cast in CASTS.items()
    }


# ------------------------------------------------------------------------------- other forms


def _to_unit_interval(a):
    """Clamp to [0, 1]; NaN becomes 0, and -0 too."""
    inside = np.minimum(np.maximum(a, 0), 1) + np.float32(0)
    return np.where(np.isnan(a), np.float32(0), inside)


def _packed(cast):
    """Return two FP16 numbers in a word, the first in its upper half."""

    def pack(high, low):
        high, low = (cast(x, np.float16).view(np.uint16) for x in (high, low))
        return high.astype(np.uint32) << 16 | low

    return pack


OPERATIONS: dict[str, Operation] = {
    "cvt.sat.f32.f32": on_numbers("f32 f32", _to_unit_interval),
    "cvt.rn.f16x2.f32": on_numbers("f16x2 f32 f32", _packed(CASTS["rn"])),
    "cvt.rz.f16x2.f32": on_numbers("f16x2 f32 f32", _packed(CASTS["rz"])),
}
for _target in KINDS:
    for _source in KINDS:
        if _target != _source:
            OPERATIONS |= _between_integers(_target, _source)
for _source in KINDS:
    OPERATIONS |= _from_integers(_source)
for _source in FLOATS:
    OPERATIONS |= _to_integers(_source)
    for _target in FLOATS:
        OPERATIONS |= _between_floats(_target, _source)
