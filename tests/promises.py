# SPDX-License-Identifier: Apache-2.0
"""What each operation promises on each backend, and the table of it in README.

A row is a function of a backend and a `Judge`: it calls the operation, and has its results judged
against the NumPy reference. What the judge was asked, and found kept, is what the table says.
"""

from collections.abc import Callable

import numpy as np

import halfbyte_reference as reference
from assertions import assert_same_bits, assert_within
from backends import kind_of
from halfbyte_reference import bounds, inputs, inputs_quantized
from halfbyte_reference.channels import gather
from quantized_cases import assert_best_scale, stored
from quantized_tensors import tensor

SAME = "same bits"
BOUND_OF_CORES = "gamma(k + splits) abs(A) abs(B), u = 2^-23"
HEAD = ("operation", "NumPy reference", "CPU", "CUDA")

ROWS: dict[str, Callable] = {}


class Judge:
    """Results that were held against the reference, and what was asked of them."""

    def __init__(self, backend) -> None:
        self.backend = backend
        self.asked = {}

    def same(self, got, want, what="") -> None:
        assert_same_bits(got, want, self.backend)
        self._note(what, SAME)

    def within(self, got, bounded, text, what="") -> None:
        assert_within(got, bounded, self.backend)
        self._note(what, text)

    def _note(self, what, text) -> None:
        self.asked[f"{what}: {text}" if what else text] = None

    @property
    def cell(self) -> str:
        return "; ".join(self.asked)


def row(title):
    """Add a row."""

    def add(function):
        ROWS[title] = function
        return function

    return add


def table(backends) -> list[str]:
    """Return the table in Markdown: a column for each backend, after the reference."""
    lines = [f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
    for title, function in ROWS.items():
        cells = [title, "defines them"]
        for backend in backends:
            judge = Judge(backend)
            function(backend, judge)
            cells.append(judge.cell)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def on_cores(backend) -> bool:
    """Whether products of halves are those of tensor cores."""
    return kind_of(backend) != "cpu"


# ---------------------------------------------------------------------------------- products


@row("`gemm_f16`, `linear` of `float16` weights")
def products_of_halves(backend, judge):
    a, b = inputs.halves((70, 203), 1), inputs.halves((203, 90), 2)
    for got in (
        backend.gemm_f16(a, b),
        backend.linear(a, b.T),
        backend.gemm_f16(a, backend.prepack(b)),
    ):
        if on_cores(backend):
            value, k = a.astype(np.float64) @ b, a.shape[1]
            bound = bounds.gemm_tensor_core(bounds.magnitude(a, b), k)
            judge.within(got, bounds.Bounded(value, bound, np.zeros(1, bool)), BOUND_OF_CORES)
        else:
            judge.same(got, reference.gemm_f16(a, b))


@row('`activation="gelu"`, `"silu"`')
def smooth_activations(backend, judge):
    a, b = np.zeros((1, 0), np.float16), np.zeros((0, 1000), np.float16)
    x = inputs.floats(1000, 1)
    for name in ("gelu", "silu"):
        got = backend.gemm_f16(a, b, bias=x, activation=name)[0]
        judge.within(got, bounds.activated(x, name), "4 2^-24 abs(x) + 2^-149")


@row("`gemm_int`")
def products_of_codes(backend, judge):
    a, b = (inputs_quantized.codes(shape, 1) for shape in ((70, 203), (203, 90)))
    judge.same(backend.gemm_int(a, b), reference.gemm_int(a, b))
    judge.same(
        backend.gemm_int(a, backend.prepack(b), a_zero_point=3, b_zero_point=-128),
        reference.gemm_int(a, b, a_zero_point=3, b_zero_point=-128),
    )


LAYERS = {
    "W8A8": {"axis": 0},
    "W4A8": {"axis": 0, "bits": 4},
    "W4A8, groups": {"group_size": 32, "bits": 4, "affine": True},
}


@row("`linear` of quantized weights, `x_bits=8`")
def layers_of_codes(backend, judge):
    x, bias = inputs.floats((40, 203), 1), inputs.floats(90, 2)
    for form in LAYERS.values():
        w = tensor((90, 203), 3, **form)
        named = {"bias": bias, "activation": "relu"}
        want = reference.linear_int(
            x, w._codes(), w.scale, w.zero_point, axis=w.axis, group_size=w.group_size, **named
        )
        judge.same(backend.linear(x, w, **named), want)
        judge.same(backend.linear(x[:3], backend.prepack(w), **named), want[:3])


@row("`linear` of quantized weights, `x_bits=16`")
def layers_of_halves(backend, judge):
    x = inputs.halves((40, 203), 1)
    for form in LAYERS.values():
        w = tensor((90, 203), 3, **form)
        for rows in (x, x[:3]):
            got = backend.linear(rows, w, x_bits=16)
            if on_cores(backend):
                zero = 0 if w.zero_point is None else gather_back(w, w.zero_point)
                value, bound = bounds.weight_only_tensor_core(
                    rows, w._codes().astype(np.int32) - zero, w.scale, w.group_size
                )
                bounded = bounds.Bounded(value, bound, np.zeros(1, bool))
                judge.within(got, bounded, "that of each group, scaled, and gamma(groups + 1)")
            else:
                want = reference.linear_int(
                    rows, w._codes(), w.scale, w.zero_point,
                    axis=w.axis, group_size=w.group_size, x_bits=16,
                )  # fmt: skip
                judge.same(got, want)


def gather_back(w, values):
    """Return one value for each element of a matrix of weights."""
    if w.group_size is not None:
        return np.repeat(values, w.group_size, -1)[:, : w.shape[1]]
    return values[:, None] if w.axis == 0 else values


# ------------------------------------------------------------------------------ quantization


@row("`to_f16`, `to_f32`")
def casts(backend, judge):
    x, halves = inputs.floats(1000, 1, "wide"), inputs.every_half()
    judge.same(backend.to_f16(x), reference.to_f16(x))
    judge.same(backend.to_f32(halves), reference.to_f32(halves))


@row("`quantize`, `dequantize`")
def quantization(backend, judge):
    x = inputs.floats((30, 203), 1)
    for form in ({}, {"axis": 0}, {"bits": 4, "group_size": 32, "symmetric": False}):
        for how in ({}, {"rounding": "stochastic", "seed": 7}):
            q, want = backend.quantize(x, **form, **how), reference.quantize(x, **form, **how)
            judge.same(q.values, stored(want.codes, q.bits))
            judge.same(q.scale, want.scale)
            back = reference.dequantize(
                want.codes, want.scale, want.zero_point,
                axis=form.get("axis"), group_size=form.get("group_size"),
            )  # fmt: skip
            judge.same(backend.dequantize(q), back)


@row('`method="mse"`')
def least_squares(backend, judge):
    x, form = inputs.floats((30, 203), 1), {"axis": 0, "bits": 4}
    got = backend.quantize(x, method="mse", **form)
    assert_best_scale(got, x, form, reference.code_range(4, True, True))
    judge._note("scale", "an error within 2^-40 of the least")
    want = reference.quantize(x, scale=got.scale, **form)
    judge.same(got.values, stored(want.codes, 4), "codes")


@row("`requantize`, `fake_quantize`")
def sums_and_fakes(backend, judge):
    acc, x = inputs_quantized.accumulators((30, 203), 1), inputs.floats((30, 203), 2)
    scale = np.abs(inputs.floats(203, 3)) + np.float32(1e-3)
    judge.same(backend.requantize(acc, scale), reference.requantize(acc, scale))
    judge.same(backend.fake_quantize(x, scale, axis=1), reference.fake_quantize(x, scale, axis=1))


@row("`fake_quantize_backward`")
def gradients(backend, judge):
    dy, x = inputs.floats((30, 203), 1), inputs.floats((30, 203), 2)
    scale = np.abs(inputs.floats(30, 3)) * np.float32(0.01) + np.float32(1e-3)
    dx, dscale = backend.fake_quantize_backward(dy, x, scale, axis=0)
    want, value, magnitude = reference.fake_quantize_backward(dy, x, scale, axis=0)
    judge.same(dx, want, "dx")
    bounded = bounds.dscale(value, magnitude, gather(x, 0, None).shape[-1])
    judge.within(dscale, bounded, "n 2^-52 Σ abs(terms) + 2^-24 abs(dscale) + 2^-149", "dscale")


@row("`MinMaxObserver`, `MovingAverageObserver`, `HistogramObserver`")
def observers(backend, judge):
    batches = [inputs.floats((30, 203), seed) for seed in (1, 2)]
    for name, arguments in (
        ("MinMaxObserver", (0,)),
        ("MovingAverageObserver", (1,)),
        ("HistogramObserver", ("percentile", 99.0)),
    ):
        ours, theirs = (getattr(x, name)(*arguments) for x in (backend, reference))
        for batch in batches:
            ours.update(batch)
            theirs.update(batch)
        got, want = (x.scale_zero_point(symmetric=False) for x in (ours, theirs))
        for one, other in zip(got, want, strict=True):
            judge.same(one, other)


# ----------------------------------------------------------------------------------- training


@row("`unscale`, `GradScaler`, `SGD`, `Adam`, `AdamW`")
def steps(backend, judge):
    grads = [inputs.halves((3, 50), 1), inputs.floats(203, 2)]
    outs = [np.empty(g.shape, np.float32) for g in grads]
    found = backend.unscale(grads, 1024.0, out=outs)
    wants = [reference.unscale(g, 1024.0) for g in grads]
    for got, want in zip(outs, wants, strict=True):
        judge.same(got, want)
    judge.same(found, np.array(False))
    for name in ("SGD", "Adam", "AdamW"):
        params = [inputs.halves((3, 50), 3), inputs.floats(203, 4)]
        theirs = getattr(reference, name)([p.copy() for p in params], lr=0.01)
        ours = getattr(backend, name)(params, lr=0.01)
        scaler = backend.GradScaler(1024.0)
        for _ in range(3):
            ours.grads = [g.copy() for g in grads]
            scaler.step(ours)
            scaler.update()
            theirs.step(wants)
        for got, want in zip(ours.params, theirs.params, strict=True):
            judge.same(got, want)


@row("`clip_grad_norm`")
def clipping(backend, judge):
    grads = [inputs.floats((30, 203), 1), inputs.floats(50, 2)]
    size = sum(g.size for g in grads)
    norm = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in grads))
    clipped = [g.copy() for g in grads]
    got = backend.clip_grad_norm(clipped, 1.0)
    bounded = bounds.Bounded(norm, bounds.grad_norm(norm, size), np.zeros((), bool))
    judge.within(got, bounded, "(n + 8) 2^-52", "norm")
    factors = bounds.clip_factors(float(norm), 1.0, size)
    assert any(
        all(np.array_equal(x, g * f) for x, g in zip(clipped, grads, strict=True)) for f in factors
    )
    judge._note("factor", "an ulp")
