# SPDX-License-Identifier: Apache-2.0
"""What Hypothesis draws for integer products: operands of 8 and 4 bits and their zero points."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from hypothesis import strategies as st

from halfbyte import Int4Array
from halfbyte_reference import code_range, gemm_int, pack_nibbles
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes
from strategies import laid_out, layouts, no_batch, seeds, sizes

BYTES = ((8, True), (8, False))  # bits, signed
NIBBLES = ((4, True), (4, False))
BYTE_PAIRS = [(a, b) for a in BYTES for b in BYTES]
NIBBLE_PAIRS = [(a, b) for a in BYTES + NIBBLES for b in BYTES + NIBBLES if 4 in (a[0], b[0])]
PANEL = 64  # columns of b that a kernel takes side by side

# Products of two codes with weights in [-64, 64], or [0, 128] less 64, fit in an int16 in pairs,
# and kernels may count on that where they find it.
SMALL = {True: (-64, 64), False: (0, 128)}
SPREADS = (
    "full",  # every code
    "ends",  # the smallest and the largest code only
    "small",  # small weights, the extreme ones likely
    "small ends",  # the extreme ones of these only
    "one beyond",  # the same but for one element
    "small panels",  # small weights in every second panel
)


def operand(shape, seed, bits=8, signed=True, spread="full"):
    """Return codes as `spread` says; of few bits, all are small."""
    if bits < 8 and spread != "ends":
        spread = "full"
    rng = np.random.default_rng([*seed, 1])
    values = codes(shape, [*seed, 0], bits, signed)
    lowest, highest = SMALL[signed]
    if spread.endswith("ends"):
        small = spread == "small ends"
        ends = SMALL[signed] if small else code_range(bits, signed, False)
        return rng.choice(np.array(ends, values.dtype), shape)
    if spread == "full":
        return values
    small = np.clip(values, lowest, highest)
    if spread == "small panels":
        panel = np.arange(shape[-1]) // PANEL
        return np.where((panel + rng.integers(2)) % 2, small, values)
    if spread == "one beyond" and small.size:
        beyond = rng.choice((lowest - 1, highest + 1)) if signed else highest + 1
        small.reshape(-1)[rng.integers(small.size)] = beyond
    return small


def zero_point(form, length, seed, bits, signed):
    """Return None, one zero point for all or one each, as one of the things that may be passed."""
    if form is None:
        return None
    made = codes(() if form == "one" else length, seed, bits, signed)
    kind = np.random.default_rng(seed).integers(3)
    if form == "one" and kind == 0:
        return int(made)
    if kind == 1:
        return made
    return strided(made.astype(np.int32), "sliced")


@dataclass(frozen=True)
class IntegerCase:
    """The operands of one product."""

    m: int
    k: int
    n: int
    batch: tuple  # leading dimensions of a and of b
    of_a: tuple  # bits and sign
    of_b: tuple
    zero_points: tuple  # of a and of b: None, "one" or "each"
    spread_a: str
    spread_b: str
    layout_a: str
    layout_b: str
    seed: int

    @cached_property
    def codes_a(self):
        """(..., m, k), one code an element."""
        made = operand((*self.batch[0], self.m, self.k), [self.seed, 0], *self.of_a, self.spread_a)
        return laid_out(made, self.layout_a)

    @cached_property
    def codes_b(self):
        """(..., k, n), one code an element."""
        made = operand((*self.batch[1], self.k, self.n), [self.seed, 1], *self.of_b, self.spread_b)
        return laid_out(made, self.layout_b)

    @cached_property
    def a(self):
        """The argument: an array, or an Int4Array whose bytes have the layout."""
        return argument(self.codes_a, *self.of_a, self.layout_a)

    @cached_property
    def b(self):
        """The argument."""
        return argument(self.codes_b, *self.of_b, self.layout_b)

    @cached_property
    def named(self):
        """The zero points."""
        form_a, form_b = self.zero_points
        return {
            "a_zero_point": zero_point(form_a, self.m, [self.seed, 2], *self.of_a),
            "b_zero_point": zero_point(form_b, self.n, [self.seed, 3], *self.of_b),
        }

    @property
    def shape(self):
        """The product's."""
        return (*np.broadcast_shapes(*self.batch), self.m, self.n)

    @cached_property
    def want(self):
        """The reference's product."""
        return gemm_int(self.codes_a, self.codes_b, **self.named)


def argument(values, bits, signed, layout="c"):
    """Return codes as an operand is passed."""
    if bits == 8:
        return values
    return Int4Array(strided(pack_nibbles(values), layout), values.shape, signed)


bytes_only = st.sampled_from(BYTE_PAIRS)
with_nibbles = st.sampled_from(NIBBLE_PAIRS)
every_pair = st.one_of(bytes_only, with_nibbles)
zero_point_forms = st.sampled_from((None, "one", "each"))
packings = st.sampled_from((False, True))


@st.composite
def integer_cases(draw, m=sizes, k=sizes, n=sizes, batch=no_batch, of=every_pair, layout=layouts):
    """Draw operands; each argument is the strategy for that part."""
    of_a, of_b = draw(of)
    return IntegerCase(
        m=draw(m),
        k=draw(k),
        n=draw(n),
        batch=draw(batch),
        of_a=of_a,
        of_b=of_b,
        zero_points=(draw(zero_point_forms), draw(zero_point_forms)),
        spread_a=draw(st.sampled_from(("full", "ends"))),
        spread_b=draw(st.sampled_from(SPREADS)),
        layout_a=draw(layout),
        layout_b=draw(layout),
        seed=draw(seeds),
    )
