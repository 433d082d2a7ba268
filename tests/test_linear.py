# SPDX-License-Identifier: Apache-2.0
"""linear with float16 weights: x rounded to FP16, then gemm_f16 with w transposed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_same_bits, assert_within
from backends import threads
from halfbyte_reference import bounds, linear, to_f16
from halfbyte_reference.inputs import floats, halves, strided
from strategies import (
    few_rows,
    kinds,
    laid_out,
    layouts,
    out_layouts,
    seeds,
    sizes,
    thread_counts,
)

leading = st.one_of(
    st.just(()), st.tuples(few_rows), st.tuples(sizes), st.sampled_from(((2, 3), (3, 1, 5), (2, 0)))
)
biases = st.sampled_from((None, halves, floats))
packings = st.sampled_from((False, True))


@given(
    *(leading, sizes, sizes, seeds, kinds, layouts, layouts, packings, biases, layouts),
    st.booleans(),
    st.sampled_from((None, "relu")),
    thread_counts,
)
def test_layer_has_the_bits_of_the_reference(
    backend,
    rows,
    k,
    n,
    seed,
    kind,
    layout_x,
    layout_w,
    packed,
    bias,
    layout_bias,
    half,
    activation,
    count,
):
    x = laid_out(halves((*rows, k), [seed, 0], kind), layout_x)
    w = laid_out(halves((n, k), [seed, 1], kind), layout_w)
    bias = None if bias is None else laid_out(bias(n, [seed, 2], kind), layout_bias)
    arguments = {"activation": activation, "out_dtype": np.float16 if half else None}
    with threads(count):
        got = backend.linear(x, backend.prepack(w.T) if packed else w, bias, **arguments)
    assert_same_bits(got, linear(x, w, bias, **arguments), backend)


@given(leading, sizes, sizes, seeds, kinds, layouts, packings)
def test_float32_input_is_rounded_to_halves(backend, rows, k, n, seed, kind, layout, packed):
    x = laid_out(floats((*rows, k), [seed, 0], kind), layout)
    w = halves((n, k), [seed, 1])
    got = backend.linear(x, backend.prepack(w.T) if packed else w)
    assert_same_bits(got, linear(x, w), backend)


@given(few_rows, st.sampled_from((511, 1025, 2049)), sizes, seeds, layouts, packings)
def test_decoding_has_the_bits_of_the_reference(backend, rows, k, n, seed, layout, packed):
    x, w = halves((rows, k), [seed, 0]), strided(halves((n, k), [seed, 1]), layout)
    got = backend.linear(x, backend.prepack(w.T) if packed else w)
    assert_same_bits(got, linear(x, w), backend)


@given(leading, sizes, sizes, seeds, out_layouts, st.booleans(), packings)
def test_out_of_any_strides_is_filled_and_returned(backend, rows, k, n, seed, layout, half, packed):
    x, w = halves((*rows, k), [seed, 0]), halves((n, k), [seed, 1])
    out = strided(np.zeros((*rows, n), np.float16 if half else np.float32), layout)
    backend.linear(x, backend.prepack(w.T) if packed else w, out=out)
    assert_same_bits(out, linear(x, w, out_dtype=out.dtype), backend)


@pytest.mark.parametrize("rows", [1, 2, 8, 64])
@pytest.mark.parametrize("packed", [False, True])
def test_wide_layer_on_two_threads_has_the_bits_of_the_reference(rows, packed, backend):
    x, w = halves((rows, 600), 1), halves((4001, 600), 2)
    with threads(2):
        got = backend.linear(x, backend.prepack(w.T) if packed else w)
    assert_same_bits(got, linear(x, w), backend)


def test_vector_gives_a_vector(backend):
    x, w = halves(40, 1), halves((70, 40), 2)
    assert_same_bits(backend.linear(x, w), linear(x, w), backend)


def test_row_of_a_batch_is_the_layer_of_that_row(backend):
    x, w = halves((33, 300), 1), halves((70, 300), 2)
    assert_same_bits(backend.linear(x, w)[32], backend.linear(x[32], w), backend)


def test_layer_is_the_product_with_the_transposed_weights(backend):
    x, w = halves((33, 300), 1), halves((70, 300), 2)
    assert_same_bits(backend.linear(x, w), backend.gemm_f16(x, w.T), backend)


def test_x_bits_says_nothing_about_float16_weights(backend):
    x, w = halves((3, 40), 1), halves((70, 40), 2)
    assert_same_bits(backend.linear(x, w, x_bits=16), backend.linear(x, w), backend)


def test_float32_input_beyond_halves_becomes_infinite(backend):
    x, w = np.float32([[65520.0]]), np.ones((1, 1), np.float16)
    assert_same_bits(backend.linear(x, w), np.float32([[np.inf]]), backend)


@pytest.mark.parametrize("name", ["gelu", "silu"])
@given(rows=few_rows, k=sizes, n=sizes, seed=seeds, half=st.booleans(), packed=packings)
def test_smooth_activation_is_within_its_tolerance(backend, name, rows, k, n, seed, half, packed):
    x, w, bias = halves((rows, k), [seed, 0]), halves((n, k), [seed, 1]), floats(n, [seed, 2])
    dtype = np.float16 if half else np.float32
    weights = backend.prepack(w.T) if packed else w
    got = backend.linear(x, weights, bias, activation=name, out_dtype=dtype)
    assert_within(got, bounds.activated(linear(x, w, bias), name, dtype), backend)


@given(rows=few_rows, k=sizes, n=sizes, seed=seeds)
def test_torch_linear_in_float32_agrees_within_both_bounds(rows, k, n, seed, backend, torch):
    x, w = floats((rows, k), [seed, 0]), halves((n, k), [seed, 1])
    x16 = to_f16(x).astype(np.float32)
    want = torch.nn.functional.linear(torch.from_numpy(x16), torch.from_numpy(np.float32(w)))
    error = 2 * bounds.gemm_cpu(bounds.magnitude(x16, w.T), k)
    bounded = bounds.cast(want.numpy().astype(np.float64), error)
    assert_within(backend.linear(x, w), bounded, backend)
