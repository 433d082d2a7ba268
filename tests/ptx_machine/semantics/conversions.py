# SPDX-License-Identifier: Apache-2.0
"""cvt: between integers, between floats, and from one to the other."""

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


def _cast(target, source) -> Operation:
    """Describe what NumPy does as PTX does, rounding to nearest if at all."""
    out = numbers_of(target)
    return on_numbers(f"{target} {source}", lambda a: a.astype(out))


def _saturating(target, source) -> Operation:
    out, a_dtype = numbers_of(target), numbers_of(source)
    ends, own = np.iinfo(out), np.iinfo(a_dtype)
    lo, hi = a_dtype(max(ends.min, own.min)), a_dtype(min(ends.max, own.max))
    return on_numbers(f"{target} {source}", lambda a: np.clip(a, lo, hi).astype(out))


def _to_integer(target, source, rounding) -> Operation:
    """Describe rounding to what the target has; beyond its ends it gives those."""
    out, wide = numbers_of(target), np.float64 if source == "f64" else np.float32
    least, most = int(np.iinfo(out).min), int(np.iinfo(out).max)
    # NaN is zero, but the highest bit where either type has 64 bits.
    nan = (least or most // 2 + 1) if 64 in (width_of(target), width_of(source)) else 0

    def convert(a):
        whole = rounding(a, dtype=wide)
        result = whole.astype(out)
        usual = (whole >= wide(least)) & (whole < wide(most + 1))  # powers of two
        if usual.all():
            return result
        ends = np.where(np.isnan(whole), out(nan), np.where(whole < 0, out(least), out(most)))
        return np.where(usual, result, ends)

    return on_numbers(f"{target} {source}", convert)


def _to_unit_interval(a):
    """Clamp to [0, 1]; NaN becomes 0, and -0 too."""
    return np.where(np.isnan(a), np.float32(0), np.clip(a, 0, 1) + np.float32(0))


def _packed(high, low):
    """Return two FP16 numbers in a word, the first in its upper half."""
    high, low = (x.astype(np.float16).view(np.uint16) for x in (high, low))
    return high.astype(np.uint32) << 16 | low


OPERATIONS: dict[str, Operation] = {
    "cvt.sat.f32.f32": on_numbers("f32 f32", _to_unit_interval),
    "cvt.rn.f16x2.f32": on_numbers("f16x2 f32 f32", _packed),
    **{f"cvt.{x}.{y}": _cast(x, y) for x, y in (("f32", "f16"), ("f64", "f16"), ("f64", "f32"))},
    **{f"cvt.rn.{y}.{x}": _cast(y, x) for x, y in (("f32", "f16"), ("f64", "f16"), ("f64", "f32"))},
    **{f"cvt.rn.{x}.{y}": _cast(x, y) for x in ("f32", "f64") for y in KINDS},
    **{f"cvt.{x}.{y}": _cast(x, y) for x in KINDS for y in KINDS if x != y},
    **{f"cvt.sat.{x}.{y}": _saturating(x, y) for x in KINDS for y in KINDS if x != y},
}
for _name, _rounding in INTEGRAL.items():
    for _source in FLOATS:
        _types = f"{_source} {_source}"
        OPERATIONS[f"cvt.{_name}.{_source}.{_source}"] = on_numbers(_types, _rounding)
        # What FP64 becomes in 8 and 16 bits is not described: compilers go by way of 32.
        for _target in KINDS[4:] if _source == "f64" else KINDS:
            OPERATIONS[f"cvt.{_name}.{_target}.{_source}"] = _to_integer(
                _target, _source, _rounding
            )
