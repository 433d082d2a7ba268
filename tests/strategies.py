# SPDX-License-Identifier: Apache-2.0
"""What Hypothesis draws: shapes, layouts, seeds and choices, never elements of a matrix.

A case makes its arrays when they are asked for, so a failure prints the few numbers that rebuild
it. Sizes hug the edges of register tiles and vectors; `deep_k` hugs those of cache blocks.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from hypothesis import strategies as st

from halfbyte_reference.inputs import LAYOUTS, floats, halves, strided

_SMALL = (1, 2, 3, 0, 5, 6, 7, 8, 12, 13, 15, 16, 17)
_EDGES = (*_SMALL, 31, 32, 33, 47, 48, 49, 63, 64, 65, 95, 96, 97, 101, 127, 128, 129)
_BATCHES = (
    *(((), ()), ((1,), ()), ((2,), (2,)), ((), (3,)), ((3,), ())),
    *(((2, 1), (1, 3)), ((2,), (3, 1)), ((0,), ()), ((2, 0), (2, 1))),
)

sizes = st.sampled_from(_EDGES)
small_sizes = st.sampled_from(_SMALL)
deep_k = st.sampled_from((255, 256, 257, 511, 513, 1023, 1024, 1025, 2049, 4097))
few_rows = st.sampled_from((1, 2, 3, 4, 5, 6, 7, 8, 9))
seeds = st.integers(0, 2**32 - 1)
layouts = st.sampled_from(LAYOUTS)
out_layouts = st.sampled_from([layout for layout in LAYOUTS if layout != "broadcast"])
kinds = st.sampled_from(("normal", "wide", "nasty"))
finite_kinds = st.sampled_from(("normal", "wide"))
thread_counts = st.sampled_from((1, 2, 3))
batches = st.sampled_from(_BATCHES)
no_batch = st.just(((), ()))
coefficients = st.sampled_from((1.0, -1.0, 0.5, 1 / 3, -2.5, 0.1, 2.0**-140, 3e38))


def laid_out(values, layout):
    """`strided`, after making all rows of `values` equal where the layout is to repeat them."""
    if layout == "broadcast" and values.ndim > 1 and values.shape[-2]:
        values = np.broadcast_to(values[..., :1, :], values.shape)
    return strided(values, layout)


@dataclass(frozen=True)
class GemmCase:
    """The operands of one product."""

    m: int
    k: int
    n: int
    batch: tuple  # leading dimensions of a and of b
    seed: int
    kind: str
    layout_a: str
    layout_b: str

    @cached_property
    def a(self):
        """(..., m, k) float16."""
        return laid_out(
            halves((*self.batch[0], self.m, self.k), [self.seed, 0], self.kind), self.layout_a
        )

    @cached_property
    def b(self):
        """(..., k, n) float16."""
        return laid_out(
            halves((*self.batch[1], self.k, self.n), [self.seed, 1], self.kind), self.layout_b
        )

    @property
    def shape(self):
        """The product's."""
        return (*np.broadcast_shapes(*self.batch), self.m, self.n)


@dataclass(frozen=True)
class Epilogue:
    """What happens to a product, and where the result goes."""

    seed: int
    kind: str
    alpha: float
    beta: float
    c_form: str | None
    c_half: bool
    c_layout: str
    bias_half: bool | None
    bias_layout: str
    activation: str | None
    out_half: bool
    out_layout: str | None

    def arguments(self, shape):
        """Return the keyword arguments for a product of `shape`, without `out`."""
        arguments = {"alpha": self.alpha, "activation": self.activation}
        if self.c_form is not None:
            make = halves if self.c_half else floats
            c = make(_c_shape(self.c_form, shape), [self.seed, 2], self.kind)
            arguments |= {"beta": self.beta, "c": laid_out(c, self.c_layout)}
        if self.bias_half is not None:
            make = halves if self.bias_half else floats
            bias = make(shape[-1:], [self.seed, 3], self.kind)
            arguments["bias"] = laid_out(bias, self.bias_layout)
        if self.out_half:
            arguments["out_dtype"] = np.float16
        return arguments

    def out(self, shape):
        """Return None or an array for the result."""
        if self.out_layout is None:
            return None
        return strided(
            np.zeros(shape, np.float16 if self.out_half else np.float32), self.out_layout
        )


def _c_shape(form, shape):
    return {
        "full": shape,
        "matrix": shape[-2:],
        "row": shape[-1:],
        "column": (shape[-2], 1),
        "scalar": (),
        "ones": (1,) * len(shape),
    }[form]


def gemm_cases(m=sizes, k=sizes, n=sizes, batch=no_batch, kind=kinds, layout=layouts):
    """Draw operands; each argument is the strategy for that part."""
    return st.builds(
        GemmCase,
        m=m,
        k=k,
        n=n,
        batch=batch,
        seed=seeds,
        kind=kind,
        layout_a=layout,
        layout_b=layout,
    )


def batched_cases(kind=kinds):
    """Draw operands with leading dimensions, and few elements each."""
    return gemm_cases(small_sizes, small_sizes, small_sizes, batches, kind)


def epilogues(kind=kinds, activation=(None, "relu")):
    """Draw an epilogue."""
    return st.builds(
        Epilogue,
        seed=seeds,
        kind=kind,
        alpha=st.one_of(coefficients, st.sampled_from((0.0, -0.0))),
        beta=st.one_of(coefficients, st.sampled_from((0.0, 1e-60))),
        c_form=st.sampled_from((None, "full", "matrix", "row", "column", "scalar", "ones")),
        c_half=st.booleans(),
        c_layout=layouts,
        bias_half=st.sampled_from((None, True, False)),
        bias_layout=layouts,
        activation=st.sampled_from(activation),
        out_half=st.booleans(),
        out_layout=st.one_of(st.none(), out_layouts),
    )
