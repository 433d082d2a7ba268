# SPDX-License-Identifier: Apache-2.0
"""What Hypothesis draws for the linear layer with quantized weights, and its result of scalars."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import strategies as st

import halfbyte_reference as reference
from backends import sums_differ
from halfbyte import QuantizedTensor
from halfbyte_reference import bounds
from halfbyte_reference.channels import spread
from halfbyte_reference.inputs import floats, halves, strided
from halfbyte_reference.inputs_quantized import codes, scales
from integer_cases import SPREADS, operand
from rational_linear import dynamic_row, finished, half, scalar_sum
from strategies import kinds, laid_out, layouts, seeds, sizes, small_sizes

CODES = ("codes", "affine codes")
INTEGER_FORMS = ("floats", "halves", *CODES)
WEIGHT_ONLY_FORMS = ("weight-only floats", "weight-only halves")
X_FORMS = (*INTEGER_FORMS, *WEIGHT_ONLY_FORMS)
# As parameters of tests whose claims of bits hold of halves on the CPU alone.
FORMS_OF_BITS = [*INTEGER_FORMS, *(pytest.param(x, marks=sums_differ) for x in WEIGHT_ONLY_FORMS)]
few = st.sampled_from((1, 2, 3, 0, 4))
plain = st.just("c")
short_groups = st.sampled_from((1, 2, 3, 5, 8, 16, 100))
group_sizes = st.sampled_from((1, 3, 5, 8, 16, 32, 33, 64, 100, 128, 1000))
rows = st.sampled_from((1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 13, 33, 97, 200))


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
    spread: str
    layout_x: str
    layout_w: str

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
        form = self.bits, self.signed
        values = operand((self.k, self.n), [self.seed, 0], *form, self.spread).T
        zero_point = codes(self.scale_shape, [self.seed, 1], *form).astype(np.int32)
        scale = scales(self.scale_shape, [self.seed, 2], self.scale_kind)
        affine = self.affine or not self.signed
        return laid_out(values, self.layout_w), scale, zero_point if affine else None

    @property
    def w(self):
        """The argument w, whose arrays have the layout."""
        values, scale, zero_point = self.weights
        if self.bits == 4:
            values = reference.pack_nibbles(values)
        values, scale, zero_point = (
            None if part is None else strided(part, self.layout_w)
            for part in (values, scale, zero_point)
        )
        return QuantizedTensor(
            values, scale, zero_point, bits=self.bits, axis=0 if self.how == "axis" else None,
            group_size=self.group, signed=self.signed, shape=(self.n, self.k),
        )  # fmt: skip

    @property
    def x_format(self):
        """Bits and sign of an x of codes."""
        return self.x_bits, self.x_signed or self.x_form == "codes"

    @property
    def x(self):
        """(m, k), numbers or codes."""
        shape, seed = (self.m, self.k), [self.seed, 3]
        if self.x_form in CODES:
            spread = "ends" if self.spread.endswith("ends") else "full"
            made = operand(shape, seed, *self.x_format, spread)
        else:
            make = halves if self.x_form.endswith("halves") else floats
            made = make(shape, seed, self.kind)
        return laid_out(made, self.layout_x)

    @property
    def x_given(self):
        """The argument x: an array or a QuantizedTensor, whose array of codes has the layout."""
        x = self.x
        if self.x_form not in CODES:
            return x
        bits, signed = self.x_format
        if bits == 4:
            x = strided(reference.pack_nibbles(x), self.layout_x)
        scale, zero_point = (self.x_named.get(name) for name in ("x_scale", "x_zero_point"))
        return QuantizedTensor(
            x, scale, zero_point,
            bits=bits, axis=self.x_named["x_axis"], signed=signed, shape=(self.m, self.k),
        )  # fmt: skip

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

    def layer(self, backend, packed=False, **named):
        """Return a backend's result, of the weights prepacked or not."""
        shared = {"activation": self.activation, "x_bits": self.x_named.get("x_bits", 8)}
        w = backend.prepack(self.w) if packed else self.w
        return backend.linear(self.x_given, w, self.bias, **shared | named)

    def called(self, x=None, **named):
        """Return the reference's result, for another x or with other arguments if given."""
        x = self.x if x is None else x
        return reference.linear_int(x, *self.weights, self.bias, **self.named | named)

    def bounded(self, out_dtype=None):
        """Return where a weight-only layer's result may lie on tensor cores."""
        values, scale, zero_point = self.weights
        zero_point = np.asarray(0 if zero_point is None else zero_point, np.int32)
        axis = 0 if self.how == "axis" else None
        differences = values - spread(zero_point, values.shape, axis, self.group)
        x = self.x if self.x.dtype == np.float16 else reference.to_f16(self.x)
        # Few rows: 8 warps have parts of k; with groups every 32 steps of k are a part.
        splits = 8 if self.group is None else -(-min(self.group, self.k) // 32)
        found = bounds.weight_only_tensor_core(x, differences, scale, self.group, splits)
        return bounds.layer_epilogue(
            *found, bias=self.bias, activation=self.activation, out_dtype=out_dtype
        )

    def output(self, dtype, affine):
        """Return arguments that quantize the result, the scale such that many codes occur."""
        zero_point = None
        if affine or dtype is np.uint8:
            zero_point = int(codes((), [self.seed, 8], 8, dtype is not np.uint8))
        y = self.called().astype(np.float64)
        y = np.append(np.abs(y[np.isfinite(y) & (y != 0)]), 1)
        scale = np.median(y) * 2.0 ** np.random.default_rng([self.seed, 7]).uniform(-8, 0)
        scale = np.float32(np.clip(scale, 2.0**-149, np.finfo(np.float32).max))
        return {"out_dtype": dtype, "out_scale": scale, "out_zero_point": zero_point}

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


@st.composite
def cases(
    draw, x_form, m=few, k=small_sizes, n=few, how=("tensor", "axis", "group"),
    group_size=short_groups, bits=(8, 4, 2, 3), spread=("full",), layout=plain,
):  # fmt: skip
    """Draw a layer; each argument is the strategy, or the choices, for that part."""
    return Case(
        m=draw(m),
        k=draw(k),
        n=draw(n),
        x_form=x_form,
        x_bits=draw(st.sampled_from((8, 4))),
        x_signed=draw(st.booleans()),
        x_each=draw(st.booleans()),
        kind=draw(kinds),
        bits=draw(st.sampled_from(bits)),
        signed=draw(st.booleans()),
        affine=draw(st.booleans()),
        how=draw(st.sampled_from(how)),
        group_size=draw(group_size),
        scale_kind=draw(st.sampled_from(("normal", "mixed", "power"))),
        bias_of=draw(st.sampled_from((None, halves, floats))),
        activation=draw(st.sampled_from((None, "relu"))),
        seed=draw(seeds),
        spread=draw(st.sampled_from(spread)),
        layout_x=draw(layout),
        layout_w=draw(layout),
    )


def layers(x_form, m=rows, k=sizes, n=sizes, **named):
    """Draw a layer for a backend: of every size and layout."""
    named = {"group_size": group_sizes, "spread": SPREADS, "layout": layouts} | named
    return cases(x_form, m, k, n, **named)
