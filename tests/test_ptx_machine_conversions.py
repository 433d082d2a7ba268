# SPDX-License-Identifier: Apache-2.0
"""Conversions of the PTX machine: integers, halves, floats and doubles, every way they are used."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptx_kernels import ARCHITECTURES, scalars
from ptx_kernels.instructions import REGISTERS, Family, name_of, op
from ptx_kernels.scalars import F16, F32, F64, ROUNDINGS
from ptx_kernels.values import NASTY_F16, NASTY_F32, NASTY_F64, around, edges_of_integers

pytestmark = pytest.mark.usefixtures("nvrtc")


def width_of(kind):
    return int(kind.strip("busfhr"))


def ends(kind):
    """Return the least and the greatest number of an integer type."""
    width = width_of(kind)
    return (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if kind[0] == "s" else (0, 2**width - 1)


def clamped(x, kind):
    lo, hi = ends(kind)
    return min(max(x, lo), hi)


# --------------------------------------------------------------------- integers to integers

WORDS = [
    *(0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000),
    *(0xFFFFFFFF, 0xFFFFFF7F, 0xFFFFFF80, 0xFFFF7FFF, 0xFFFF8000, 2**32, 2**63 - 1, 2**63),
    *(2**64 - 1, 2**64 - 128, 2**64 - 129, 0x0123456789ABCDEF, 0xFEDCBA9876543210),
]
INTEGERS = [f"{sign}{width}" for width in (8, 16, 32, 64) for sign in "us"]


def between_integers():
    """Describe the conversions between two integer types, plain and saturating."""
    for target in INTEGERS:
        for source in [*INTEGERS, "s8h", "u8h", "s16r", "u16r"]:
            name = source.rstrip("hr")
            place = "" if name == source else f"-from-{REGISTERS[source][1]}"
            if target == name:
                continue
            yield op(
                f"cvt.{target}.{name}{place}",
                f"{target} {source}",
                int,
                f"cvt.{target}.{name} %0, %1;",
            )
            if ends(target)[0] <= ends(name)[0] and ends(name)[1] <= ends(target)[1]:
                continue  # no value to saturate
            if not place:
                yield op(
                    f"cvt.sat.{target}.{name}",
                    f"{target} {source}",
                    lambda x, kind=target: clamped(x, kind),
                )


# ----------------------------------------------------------------------- floats and integers

FORMATS = {"f16": F16, "f32": F32, "f64": F64}


def nan_as_integer(target, source):
    """Return what NaN becomes: zero, but the highest bit where either type has 64 bits."""
    width = width_of(target)
    if source != "f64" and width != 64:
        return 0
    return -(2 ** (width - 1)) if target[0] == "s" else 2 ** (width - 1)


def to_integers(source):
    # From FP64 to 8 and 16 bits, compilers go by way of 32.
    for target in INTEGERS[4:] if source == "f64" else INTEGERS:
        for rounding in ROUNDINGS:
            yield op(
                f"cvt.{rounding}.{target}.{source}",
                f"{target} {source}",
                lambda x, kind=target, mode=rounding: scalars.to_integer(
                    x, mode, *ends(kind), nan_as_integer(kind, source)
                ),
            )


def from_integers():
    for source in INTEGERS:
        for target in ("f32", "f64"):
            yield op(
                f"cvt.rn.{target}.{source}",
                f"{target} {source}",
                lambda x, fmt=FORMATS[target]: scalars.rounded(x, fmt) if x else 0.0,
            )


# ---------------------------------------------------------------------------- among floats


def integral(kind):
    """Describe rounding to an integer without leaving the format."""
    for rounding in ROUNDINGS:
        yield op(
            f"cvt.{rounding}.{kind}.{kind}",
            f"{kind} {kind}",
            lambda x, mode=rounding: scalars.integral(x, mode),
        )


def saturated(x):
    """Clamp to [0, 1]; NaN becomes 0."""
    return min(max(x, 0.0), 1.0) if x == x else 0.0


def to_others(source):
    if source == "f32":
        yield op("cvt.rn.f16.f32", "f16 f32", lambda x: scalars.cast(x, F16))
        yield op("cvt.f64.f32", "f64 f32", float)
        yield op("cvt.sat.f32.f32", "f32 f32", lambda x: saturated(x) + 0.0)
    elif source == "f16":
        yield op("cvt.f32.f16", "f32 f16", float)
        yield op("cvt.f64.f16", "f64 f16", float)
    else:
        yield op("cvt.rn.f32.f64", "f32 f64", lambda x: scalars.cast(x, F32))
        yield op("cvt.rn.f16.f64", "f16 f64", lambda x: scalars.cast(x, F16))


PACKED = [
    op(
        "cvt.rn.f16x2.f32",
        "f16x2 f32 f32",
        lambda hi, lo: (scalars.cast(lo, F16), scalars.cast(hi, F16)),
        since=80,
    )
]


def f16_ties_in_f32():
    """Return the FP32 numbers at and around ties of FP16, subnormal ones and the overflow too."""
    steps = [(2.0**-24, 2), (2.0**-24, 1023), (2.0**-10, 1024), (2.0**-10, 1025), (32.0, 2047)]
    ties = [2.0**-25, *(unit * (n + 0.5) for unit, n in steps)]
    return [bits for x in ties for s in (x, -x) for bits in around(s, F32)]


def ties_in_f64(fmt):
    """Return FP64 numbers at and around ties of a narrower format."""
    unit = 2.0 ** (1 - fmt.precision)
    ties = [1 + unit / 2, 1 + 3 * unit / 2, 2.0**fmt.smallest / 2, 2.0**fmt.bound * (1 - unit / 4)]
    return [bits for x in ties for s in (x, -x) for bits in around(s, F64)]


# 64-bit integers next to a tie of FP32, by less than FP64 sees: rounded twice, they round wrong.
NEAR_TIES = [
    sign * (base + offset) % 2**64
    for base in (2**62 + 2**38, 2**62 + 3 * 2**38, 2**53 + 2**29, 2**24 + 1, 2**63 + 2**39)
    for offset in (-1, 0, 1)
    for sign in (1, -1)
]


def singly(values):
    return [(x, values[i - 1], 0) for i, x in enumerate(values)]


FROM_F16 = sorted({*NASTY_F16, *edges_of_integers(F16), *range(0, 2**16, 97)})
FROM_F32 = sorted({*NASTY_F32, *edges_of_integers(F32), *f16_ties_in_f32()})
FROM_F64 = sorted({*NASTY_F64, *edges_of_integers(F64), *ties_in_f64(F32), *ties_in_f64(F16)})
FAMILIES = {
    "integers": Family(between_integers(), singly(WORDS)),
    "integers to floats": Family(from_integers(), singly(WORDS + NEAR_TIES)),
    "f16": Family([*to_integers("f16"), *integral("f16"), *to_others("f16")], singly(FROM_F16)),
    "f32": Family(
        [*to_integers("f32"), *integral("f32"), *to_others("f32"), *PACKED], singly(FROM_F32)
    ),
    "f64": Family([*to_integers("f64"), *integral("f64"), *to_others("f64")], singly(FROM_F64)),
}
CASES = [(family, *case) for family in FAMILIES for case in FAMILIES[family].cases(ARCHITECTURES)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: name_of(case[1:]))
def test_conversion_computes_what_python_does(case):
    family, architecture, instruction = case
    assert FAMILIES[family].wrong(architecture, instruction) == []


SLOTS = {
    "f16": st.one_of(st.sampled_from(FROM_F16), st.integers(0, 2**16 - 1)),
    "f32": st.one_of(st.sampled_from(FROM_F32), st.integers(0, 2**32 - 1)),
}
words = st.one_of(st.sampled_from(WORDS), st.sampled_from(FROM_F64), st.integers(0, 2**64 - 1))


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
@settings(max_examples=20)
def test_conversions_take_any_operand(family, data):
    slot = SLOTS.get(family, words)
    slots = data.draw(st.lists(st.tuples(slot, slot, slot), min_size=1, max_size=20))
    assert FAMILIES[family].wrong_on(80, slots) == {}
