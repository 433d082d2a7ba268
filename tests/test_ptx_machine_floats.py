# SPDX-License-Identifier: Apache-2.0
"""Floating-point instructions of the PTX machine, against fractions rounded once."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptx_kernels import ARCHITECTURES, each_architecture, scalars
from ptx_kernels.instructions import Family, decoded, mixed, name_of, op, results
from ptx_kernels.scalars import F16, F32, F64
from ptx_kernels.values import (
    NASTY_F16,
    NASTY_F32,
    NASTY_F64,
    double_rounding_sums,
    subnormal_sums,
)

pytestmark = pytest.mark.usefixtures("nvrtc")

FORMATS = {"f16": F16, "f32": F32, "f64": F64}


def of_two(function, kind):
    """Return an operation of scalars as one of this format."""
    return lambda *operands: function(*operands, FORMATS[kind])


def unless_zeros(function):
    """Leave open which of two zeros of different signs is the less: hardware and IEEE differ."""
    return lambda a, b: None if a == b == 0 and str(a) != str(b) else function(a, b)


def propagating(function):
    """Return NaN where an operand is NaN."""
    return lambda a, b: math.nan if math.isnan(a) or math.isnan(b) else function(a, b)


def arithmetic(kind):
    """Describe what every format has."""
    two, three = f"{kind} {kind} {kind}", f"{kind} {kind} {kind} {kind}"
    rn = "" if kind == "f16" else ".rn"
    yield op(f"add{rn}.{kind}", two, of_two(scalars.add, kind))
    yield op(f"sub{rn}.{kind}", two, of_two(scalars.sub, kind))
    yield op(f"mul{rn}.{kind}", two, of_two(scalars.mul, kind))
    yield op(f"fma.rn.{kind}", three, of_two(scalars.fma, kind))
    yield op(f"neg.{kind}", f"{kind} {kind}", lambda x: -x)
    yield op(f"abs.{kind}", f"{kind} {kind}", abs)
    since = 80 if kind == "f16" else 75
    yield op(f"min.{kind}", two, unless_zeros(scalars.minimum), since=since)
    yield op(f"max.{kind}", two, unless_zeros(scalars.maximum), since=since)


def wide(kind):
    """Describe what FP32 and FP64 have beyond that."""
    yield op(f"add.{kind}", f"{kind} {kind} {kind}", of_two(scalars.add, kind))
    yield op(f"div.rn.{kind}", f"{kind} {kind} {kind}", of_two(scalars.div, kind))
    yield op(f"sqrt.rn.{kind}", f"{kind} {kind}", of_two(scalars.sqrt, kind))
    yield op(f"rcp.rn.{kind}", f"{kind} {kind}", lambda x: scalars.div(1.0, x, FORMATS[kind]))
    # The sign comes from the first operand, the rest from the second.
    yield op(f"copysign.{kind}", f"{kind} {kind} {kind}", lambda a, b: math.copysign(b, a))


def of_halves(function):
    """Apply an operation of FP16 to the two halves of registers."""
    return lambda *operands: tuple(function(*halves) for halves in zip(*operands, strict=True))


def packed():
    """Describe the operations on two FP16 numbers at once."""
    for name in ("add", "sub", "mul"):
        function = of_two(getattr(scalars, name), "f16")
        for rounding in ("", ".rn"):
            yield op(f"{name}{rounding}.f16x2", "f16x2 f16x2 f16x2", of_halves(function))
    yield op("fma.rn.f16x2", "f16x2 f16x2 f16x2 f16x2", of_halves(of_two(scalars.fma, "f16")))
    yield op("neg.f16x2", "f16x2 f16x2", of_halves(lambda x: -x))
    yield op("abs.f16x2", "f16x2 f16x2", of_halves(abs))


ONLY_F32 = [
    op("min.NaN.f32", "f32 f32 f32", propagating(unless_zeros(scalars.minimum)), since=80),
    op("max.NaN.f32", "f32 f32 f32", propagating(unless_zeros(scalars.maximum)), since=80),
]

# Both halves are nasty, and differ.
PAIRS = [x | NASTY_F16[i * 7 % len(NASTY_F16)] << 16 for i, x in enumerate(NASTY_F16)]
# Where FP64 as an intermediate format rounds wrong, or must not lose what lies below it.
SUMS = [*double_rounding_sums(300, 1), *subnormal_sums(100, 2)]

FAMILIES = {
    "f16": Family(arithmetic("f16"), mixed(NASTY_F16, 16)),
    "f16x2": Family(packed(), mixed(PAIRS, 32)),
    "f32": Family([*arithmetic("f32"), *wide("f32"), *ONLY_F32], [*mixed(NASTY_F32, 32), *SUMS]),
    "f64": Family([*arithmetic("f64"), *wide("f64")], mixed(NASTY_F64, 64, 200)),
}
CASES = [(family, *case) for family in FAMILIES for case in FAMILIES[family].cases(ARCHITECTURES)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: name_of(case[1:]))
def test_float_instruction_rounds_the_exact_result_once(case):
    family, architecture, instruction = case
    assert FAMILIES[family].wrong(architecture, instruction) == []


def slots_of(bits):
    fmt = {16: F16, 32: F32, 64: F64}[bits]
    nasty = {16: NASTY_F16, 32: NASTY_F32, 64: NASTY_F64}[bits]
    near_one = st.floats(0.25, 4, width=bits).map(lambda x: scalars.to_bits(x, fmt))
    return st.one_of(st.sampled_from(nasty), near_one, st.integers(0, 2**bits - 1))


SLOTS = {
    "f16": slots_of(16),
    "f16x2": st.builds(lambda lo, hi: hi << 16 | lo, slots_of(16), slots_of(16)),
    "f32": slots_of(32),
    "f64": slots_of(64),
}


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
@settings(max_examples=20)
def test_float_instructions_take_any_operands(family, data):
    slot = SLOTS[family]
    slots = data.draw(st.lists(st.tuples(slot, slot, slot), min_size=1, max_size=20))
    assert FAMILIES[family].wrong_on(80, slots) == {}


FMA = [op("fma.rn.f32", "f32 f32 f32 f32", of_two(scalars.fma, "f32"))]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_fma_of_f32_never_rounds_twice(seed):
    slots = [*double_rounding_sums(60, seed), *subnormal_sums(20, seed)]
    assert Family(FMA, slots).wrong_on(80, slots) == {}


def test_sums_meant_to_round_twice_do():
    """The test above is about something: FP64 as an intermediate format is often wrong there."""
    twice = 0
    for row in SUMS:
        a, b, c = (scalars.from_bits(x, F32) for x in row)
        through_f64 = scalars.cast(scalars.fma(a, b, c, F64), F32)
        twice += through_f64 != scalars.fma(a, b, c, F32)
    assert twice > len(SUMS) // 5


FMA_64 = [op("fma.rn.f64", "f64 f64 f64 f64", of_two(scalars.fma, "f64"))]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_fma_of_f64_adds_the_products_of_short_numbers(seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3, 40))
    x[:2] = x[:2].astype(np.float32)
    x = np.ldexp(x, rng.integers(-500, 500, (3, 40)))
    slots = [tuple(scalars.to_bits(float(n), F64) for n in row) for row in x.T]
    assert Family(FMA_64, slots).wrong_on(80, slots) == {}


# --------------------------------------------------------------------------- approximations

# What is approximated, the manual's bound on the relative error, and numbers with normal results.
WIDE = np.geomspace(2.0**-100, 2.0**100, 500)
APPROXIMATIONS = {
    "ex2.approx.f32": (lambda x: 2.0**x, 2.0**-22, np.linspace(-100, 100, 500)),
    "lg2.approx.f32": (math.log2, 2.0**-22, WIDE[WIDE > 2]),
    "rcp.approx.f32": (lambda x: 1 / x, 2.0**-23, np.concatenate([WIDE, -WIDE])),
    "rsqrt.approx.f32": (lambda x: 1 / math.sqrt(x), 2.0**-22.9, WIDE),
    "sqrt.approx.f32": (math.sqrt, 2.0**-23, WIDE),
}
APPROXIMATE = tuple(op(name, "f32 f32", lambda x: None) for name in APPROXIMATIONS)


@each_architecture
@pytest.mark.parametrize("instruction", APPROXIMATE, ids=str)
def test_approximation_is_within_the_bound_of_the_manual(instruction, architecture):
    function, bound, numbers = APPROXIMATIONS[instruction.name]
    x = numbers.astype(np.float32)
    rows = [(bits, 0, 0) for bits in map(int, x.view(np.uint32))]
    got = results(APPROXIMATE, architecture, rows)[APPROXIMATE.index(instruction)]
    values = [Fraction(decoded(bits, "f32")) for bits in map(int, got)]
    wants = [Fraction(function(value)) for value in map(float, x)]
    errors = [abs(y - want) / abs(want) for y, want in zip(values, wants, strict=True)]
    assert max(errors) <= bound
