# SPDX-License-Identifier: Apache-2.0
"""What Hypothesis draws for quantization, and what a test claims of the tensor that comes back.

Sizes hug the blocks of 32 that kernels work in and the registers of 8 and 16 lanes; groups are
shorter, as long as and longer than a row, and seldom divide it.
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from assertions import assert_same_bits
from halfbyte_reference import (
    bounds,
    code_range,
    mse_candidates,
    mse_errors,
    pack_nibbles,
    quantize,
    to_f16,
)
from halfbyte_reference.channels import gather, spread
from halfbyte_reference.inputs import floats, halves
from halfbyte_reference.inputs_quantized import SCALE_KINDS, codes, near_ties, scales
from strategies import finite_kinds, laid_out, layouts, seeds

BITS = (2, 3, 4, 8)
RANGES = [(True, False), (True, True), (False, False)]  # signed, narrow
LENGTHS = (1, 2, 3, 0, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
GROUPS = (1, 2, 3, 5, 16, 31, 32, 33, 64, 128, 1000)
FORMS = ((True, True), (True, False), (False, False))  # signed, symmetric

every_bits = st.sampled_from(BITS)
every_range = st.sampled_from(RANGES)
lengths = st.sampled_from(LENGTHS)
scale_kinds = st.sampled_from(SCALE_KINDS)
few = st.sampled_from((1, 2, 3, 0, 5))


def affine_case(shape, seed, kind, bits, signed, narrow):
    """Return numbers around the edges between codes, and each one's own scale and zero point."""
    scale = scales(shape, [seed, 0], kind)
    zero_point = codes(shape, [seed, 1], bits, signed, narrow).astype(np.int32)
    return near_ties(scale, [seed, 2], 2**bits, non_finite=True), scale, zero_point


@dataclass(frozen=True)
class Case:
    """An array, and how it is to be quantized."""

    shape: tuple
    axis: int | None
    group_size: int | None
    bits: int
    signed: bool
    symmetric: bool
    narrow_range: bool | None
    half: bool
    layout: str
    seed: int
    kind: str
    scale_kind: str
    scale_layout: str

    @property
    def channel(self):
        """The arguments that say which elements share a scale."""
        return {"axis": self.axis, "group_size": self.group_size}

    @property
    def form(self):
        """The arguments of quantize that need no array."""
        return self.channel | {
            "bits": self.bits,
            "symmetric": self.symmetric,
            "signed": self.signed,
            "narrow_range": self.narrow_range,
        }

    @property
    def limits(self):
        """The smallest and the largest code."""
        narrow = self.symmetric if self.narrow_range is None else self.narrow_range
        return code_range(self.bits, self.signed, narrow)

    @property
    def scale_shape(self):
        if self.axis is not None:
            return (self.shape[self.axis],)
        if self.group_size is not None:
            return (*self.shape[:-1], -(-self.shape[-1] // self.group_size))
        return ()

    @property
    def scale(self):
        made = scales(self.scale_shape, [self.seed, 1], self.scale_kind)
        return laid_out(made, self.scale_layout)

    @property
    def zero_point(self):
        """None when symmetric."""
        if self.symmetric:
            return None
        qmin, qmax = self.limits
        made = codes(self.scale_shape, [self.seed, 2], self.bits, self.signed, qmin == -qmax)
        return laid_out(made.astype(np.int32), self.scale_layout)

    @property
    def given(self):
        """The arguments `scale` and `zero_point`."""
        return {"scale": self.scale, "zero_point": self.zero_point}

    @property
    def x_near_ties(self):
        """Numbers around the edges between the codes of `scale`, NaNs and infinities among them."""
        own = spread(self.scale, self.shape, self.axis, self.group_size)
        x = near_ties(own, [self.seed, 3], 2**self.bits, non_finite=True)
        return laid_out(to_f16(x) if self.half else x, self.layout)

    @property
    def x_finite(self):
        """Finite numbers of an ordinary or of every size."""
        make = halves if self.half else floats
        return laid_out(make(self.shape, [self.seed, 4], self.kind), self.layout)

    @property
    def codes(self):
        """All codes, one in a byte."""
        qmin, qmax = self.limits
        return codes(self.shape, [self.seed, 5], self.bits, self.signed, qmin == -qmax)


@st.composite
def cases(draw, bits=every_bits, kind=finite_kinds, channels=("tensor", "axis", "group")):
    """Draw a case; `channels` names the ways to share scales."""
    bits = draw(bits)
    channel = draw(st.sampled_from(channels))
    shape = draw(st.lists(few, max_size=2))
    # 4 bits are packed along a last axis, groups lie along one, an axis is one.
    if shape or bits == 4 or channel != "tensor" or draw(st.booleans()):
        at = len(shape) if channel == "group" else draw(st.integers(0, len(shape)))
        shape.insert(at, draw(lengths))
    signed, symmetric = draw(st.sampled_from(FORMS))
    ndim = len(shape)
    return Case(
        shape=tuple(shape),
        axis=draw(st.integers(-ndim, ndim - 1)) if channel == "axis" else None,
        group_size=draw(st.sampled_from(GROUPS)) if channel == "group" else None,
        bits=bits,
        signed=signed,
        symmetric=symmetric,
        narrow_range=draw(st.sampled_from((None, False, True) if signed else (None, False))),
        half=draw(st.booleans()),
        layout=draw(layouts),
        seed=draw(seeds),
        kind=draw(kind),
        scale_kind=draw(scale_kinds),
        scale_layout=draw(layouts),
    )


def stored(codes, bits):
    """Return codes as a QuantizedTensor's `values` hold them."""
    return pack_nibbles(codes) if bits == 4 else codes


def assert_tensor(got, want, case, where) -> None:
    """Claim that a QuantizedTensor holds the reference's codes, scale and zero point, to the bit.

    `case` tells the rest: bits, axis, group_size, signed and shape.
    """
    assert_same_bits(got.values, stored(want.codes, case.bits), f"{where}, values")
    assert_same_bits(got.scale, want.scale, f"{where}, scale")
    if want.zero_point is None:
        assert got.zero_point is None
    else:
        assert_same_bits(got.zero_point, want.zero_point, f"{where}, zero_point")
    axis = None if case.axis is None else case.axis % len(case.shape)
    told = (got.bits, got.axis, got.group_size, got.signed, got.shape)
    assert told == (case.bits, axis, case.group_size, case.signed, case.shape)


def assert_best_scale(got, x, form, limits) -> None:
    """Claim that each scale is the candidate with the smallest squared error.

    Sums differ in their last bits, so another candidate may win where errors agree.
    """
    first = quantize(x, **form)
    channel = [form.get(name) for name in ("axis", "group_size")]
    held = gather(np.asarray(x, np.float32), *channel)
    errors = mse_errors(held, first.scale, first.zero_point, *limits)
    chosen = np.where(mse_candidates(first.scale) == got.scale, errors, np.inf).min(axis=0)
    with np.errstate(over="ignore"):
        bad = ~(chosen <= errors.min(axis=0) * (1 + bounds.MSE_TIE))
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        msg = f"scale {index} is {got.scale[index]}, whose error is {chosen[index]}; "
        msg += f"the smallest is {errors.min(axis=0)[index]}"
        raise AssertionError(msg)
