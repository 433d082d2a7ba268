# SPDX-License-Identifier: Apache-2.0
"""What Hypothesis draws for the linear layer with quantized weights, and its result of scalars."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import halfbyte_reference as reference
from halfbyte_reference.inputs import floats, halves
from halfbyte_reference.inputs_quantized import codes, scales
from rational_linear import dynamic_row, finished, half, scalar_sum
from strategies import kinds, seeds, small_sizes

X_FORMS = ("floats", "halves", "codes", "affine codes", "weight-only floats", "weight-only halves")
CODES = ("codes", "affine codes")
few = st.sampled_from((1, 2, 3, 0, 4))


@dataclass(frozen=True)
class Case:
    """A layer with quantized weights, and what goes in."""

    m: int
    k: int
    n: int
    x_form: str
    x_bits: int
    x_signed: bool
    x_each: bool
    kind: str
    bits: int
    signed: bool
    affine: bool
    how: str  # "tensor", "axis" or "group"
    group_size: int
    scale_kind: str
    bias_of: object
    activation: str | None
    seed: int

    @property
    def group(self):
        """The argument group_size."""
        return self.group_size if self.how == "group" else None

    @property
    def scale_shape(self):
        """The shape of the weights' scale."""
        groups = -(-self.k // self.group_size)
        return {"tensor": (), "axis": (self.n,), "group": (self.n, groups)}[self.how]

    @property
    def weights(self):
        """Codes, scale and zero point."""
        values, zero_point = (
            codes(shape, [self.seed, i], self.bits, self.signed)
            for i, shape in enumerate(((self.n, self.k), self.scale_shape))
        )
        scale = scales(self.scale_shape, [self.seed, 2], self.scale_kind)
        affine = self.affine or not self.signed
        return values, scale, zero_point.astype(np.int32) if affine else None

    @property
    def x_format(self):
        """Bits and sign of an x of codes."""
        return self.x_bits, self.x_signed or self.x_form == "codes"

    @property
    def x(self):
        """(m, k), numbers or codes."""
        if self.x_form in CODES:
            return codes((self.m, self.k), [self.seed, 3], *self.x_format)
        make = halves if self.x_form.endswith("halves") else floats
        return make((self.m, self.k), [self.seed, 3], self.kind)

    @property
    def x_named(self):
        """The keyword arguments that say what x is."""
        if self.x_form.startswith("weight-only"):
            return {"x_bits": 16}
        if self.x_form not in CODES:
            return {}
        shape, axis = (self.m, 0) if self.x_each else ((), None)
        named = {"x_scale": scales(shape, [self.seed, 4], self.scale_kind), "x_axis": axis}
        if self.x_form == "affine codes":
            zero_point = codes(shape, [self.seed, 5], *self.x_format)
            named["x_zero_point"] = zero_point.astype(np.int32)
        return named

    @property
    def bias(self):
        """None, or (n,) of either type and every size."""
        return None if self.bias_of is None else self.bias_of(self.n, [self.seed, 6], "wide")

    @property
    def named(self):
        """The keyword arguments of the reference, without those of the output."""
        axis = 0 if self.how == "axis" else None
        shared = {"axis": axis, "group_size": self.group, "activation": self.activation}
        return shared | self.x_named

    def called(self, x=None, **named):
        """Return the reference's result, for another x or with other arguments if given."""
        x = self.x if x is None else x
        return reference.linear_int(x, *self.weights, self.bias, **self.named | named)

    def one_by_one(self):
        """Return the result of the scalar layer, as FP32."""
        values, scale, zero_point = self.weights
        groups = range(self.scale_shape[1] if self.how == "group" else 1)
        w = [
            [int(code) - self.entry(zero_point, j, p) for p, code in enumerate(values[j])]
            for j in range(self.n)
        ]
        own = [[self.entry(scale, j, g * self.group_size) for g in groups] for j in range(self.n)]
        y = np.zeros((self.m, self.n), np.float32)
        for i in range(self.m):
            xs, row_scale = self.row(i)
            for j in range(self.n):
                of_w = own[j] if self.how == "group" else own[j][0]
                total = scalar_sum(xs, w[j], of_w, self.group, row_scale)
                bias = None if self.bias is None else float(self.bias[j])
                y[i, j] = finished(total, bias, self.activation is not None)
        return y

    def entry(self, values, j, p):
        """Return the scale or the zero point of weight (j, p)."""
        at = {"tensor": (), "axis": (j,), "group": (j, p // self.group_size)}[self.how]
        return 0 if values is None else values[at].item()

    def row(self, i):
        """Return row i of x as the scalar layer takes it, and its scale."""
        row = self.x[i].tolist()
        if self.x_form.startswith("weight-only"):
            return [half(x) for x in row], None
        if self.x_form not in CODES:
            return dynamic_row(row)
        scale, zero_point = (
            np.broadcast_to(self.x_named.get(name, 0), self.m)[i].item()
            for name in ("x_scale", "x_zero_point")
        )
        return [code - zero_point for code in row], scale


def cases(x_form, m=few, k=small_sizes, n=few, how=("tensor", "axis", "group")):
    """Draw a layer."""
    return st.builds(
        Case,
        m=m,
        k=k,
        n=n,
        x_form=st.just(x_form),
        x_bits=st.sampled_from((8, 4)),
        x_signed=st.booleans(),
        x_each=st.booleans(),
        kind=kinds,
        bits=st.sampled_from((8, 4, 2, 3)),
        signed=st.booleans(),
        affine=st.booleans(),
        how=st.sampled_from(how),
        group_size=st.sampled_from((1, 2, 3, 5, 8, 16, 100)),
        scale_kind=st.sampled_from(("normal", "mixed", "power")),
        bias_of=st.sampled_from((None, halves, floats)),
        activation=st.sampled_from((None, "relu")),
        seed=seeds,
    )
