# SPDX-License-Identifier: Apache-2.0
"""fake_quantize and its gradients: y and dx have the reference's bits, dscale is within its bound.

Symmetric here means that there is no zero point.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_only_elements_change, assert_same_bits, assert_within
from backends import on_threads, one_generation, threads
from halfbyte_reference import bounds, fake_quantize, fake_quantize_backward
from halfbyte_reference.channels import gather
from halfbyte_reference.inputs import every_half, floats, halves, strided
from halfbyte_reference.inputs_quantized import near_ties, scales
from quantized_cases import cases
from strategies import finite_kinds, kinds, laid_out, layouts, out_layouts, thread_counts


def form_of(case):
    """Return the arguments that fake_quantize has in common with quantize."""
    return {name: value for name, value in case.form.items() if name != "symmetric"}


def dtype_of(case):
    return np.float16 if case.half else np.float32


def gradient(case, half, kind, layout):
    made = (halves if half else floats)(case.shape, [case.seed, 9], kind)
    return laid_out(made, layout)


def dscale_bound(x, dscale, magnitude, axis, group_size):
    return bounds.dscale(dscale, magnitude, gather(x, axis, group_size).shape[-1])


@given(case=cases(), count=thread_counts)
def test_y_has_the_bits_of_the_reference(case, count, backend):
    arguments = (case.x_near_ties, case.scale, case.zero_point)
    with threads(count):
        got = backend.fake_quantize(*arguments, **form_of(case))
    assert_same_bits(got, fake_quantize(*arguments, **form_of(case)), backend)


@given(case=cases())
def test_y_is_quantized_and_dequantized_x(case, backend):
    x = case.x_near_ties
    got = backend.fake_quantize(x, case.scale, case.zero_point, **form_of(case))
    q = backend.quantize(x, **case.form, **case.given)
    assert_same_bits(got, backend.dequantize(q, dtype=x.dtype), backend)


@given(case=cases(), layout=out_layouts, count=thread_counts)
def test_out_of_any_strides_is_filled(case, layout, count, backend):
    arguments = (case.x_near_ties, case.scale, case.zero_point)
    out = strided(np.zeros(case.shape, dtype_of(case)), layout)
    with threads(count):
        backend.fake_quantize(*arguments, **form_of(case), out=out)
    assert_same_bits(out, fake_quantize(*arguments, **form_of(case)), backend)


@given(case=cases(), layout=out_layouts)
def test_only_elements_of_out_are_written(case, layout, backend):
    arguments = (case.x_near_ties, case.scale, case.zero_point)
    out = strided(np.zeros(case.shape, dtype_of(case)), layout)
    assert_only_elements_change(
        out, lambda: backend.fake_quantize(*arguments, **form_of(case), out=out)
    )


@given(case=cases(), half=st.booleans(), kind=kinds, layout=layouts, count=thread_counts)
def test_dx_has_the_bits_of_the_reference(case, half, kind, layout, count, backend):
    dy = gradient(case, half, kind, layout)
    arguments = (dy, case.x_near_ties, case.scale, case.zero_point)
    with threads(count):
        got, _ = backend.fake_quantize_backward(*arguments, **form_of(case))
    want, _, _ = fake_quantize_backward(*arguments, **form_of(case))
    assert_same_bits(got, want, backend)


@given(case=cases(), half=st.booleans(), kind=kinds, layout=layouts, count=thread_counts)
def test_dscale_is_within_its_bound(case, half, kind, layout, count, backend):
    dy = gradient(case, half, kind, layout)
    x = case.x_near_ties
    with threads(count):
        _, got = backend.fake_quantize_backward(dy, x, case.scale, case.zero_point, **form_of(case))
    _, dscale, magnitude = fake_quantize_backward(
        dy, x, case.scale, case.zero_point, **form_of(case)
    )
    assert got.dtype == np.float32
    assert_within(got, dscale_bound(x, dscale, magnitude, case.axis, case.group_size), backend)


@given(case=cases(), kind=finite_kinds, layout=out_layouts, count=thread_counts)
def test_dx_goes_to_out_of_any_strides(case, kind, layout, count, backend):
    dy = gradient(case, case.half, kind, "c")
    arguments = (dy, case.x_near_ties, case.scale, case.zero_point)
    out = strided(np.zeros(case.shape, dy.dtype), layout)
    with threads(count):
        backend.fake_quantize_backward(*arguments, **form_of(case), out=out)
    want, _, _ = fake_quantize_backward(*arguments, **form_of(case))
    assert_same_bits(out, want, backend)


@given(case=cases(), layout=out_layouts)
def test_only_elements_of_dx_are_written(case, layout, backend):
    dy = gradient(case, case.half, "normal", "c")
    arguments = (dy, case.x_near_ties, case.scale, case.zero_point)
    out = strided(np.zeros(case.shape, dy.dtype), layout)
    assert_only_elements_change(
        out, lambda: backend.fake_quantize_backward(*arguments, **form_of(case), out=out)
    )


@given(case=cases(), kind=kinds)
def test_inputs_are_left_alone(case, kind, backend):
    dy = gradient(case, case.half, kind, "c")
    arguments = [dy, case.x_near_ties, case.scale, case.zero_point]
    arrays = [array for array in arguments if array is not None]
    before = [array.tobytes() for array in arrays]
    backend.fake_quantize(*arguments[1:], **form_of(case))
    backend.fake_quantize_backward(*arguments, **form_of(case))
    assert [array.tobytes() for array in arrays] == before


CHANNELS = pytest.mark.parametrize(
    ("channel", "shape"),
    [
        ({}, ()),
        ({"axis": 0}, (301,)),
        ({"axis": 1}, (1003,)),
        ({"group_size": 32}, (301, 32)),
        ({"group_size": 100}, (301, 11)),
    ],
    ids=str,
)
large_layouts = pytest.mark.parametrize("layout", ["c", "transposed", "sliced", "unaligned"])


@one_generation
@CHANNELS
@large_layouts
def test_large_y_on_three_threads_has_the_bits_of_the_reference(layout, channel, shape, backend):
    x, scale = strided(floats((301, 1003), 1), layout), scales(shape, 2) * np.float32(0.01)
    with threads(3):
        got = backend.fake_quantize(x, np.asarray(scale), **channel)
    assert_same_bits(got, fake_quantize(x, scale, **channel), backend)


@one_generation
@CHANNELS
@large_layouts
@pytest.mark.parametrize("count", on_threads(1, 3))
def test_large_gradients_are_those_of_the_reference(layout, channel, shape, count, backend):
    dy, x = floats((301, 1003), 1), strided(floats((301, 1003), 2), layout)
    scale = np.asarray(scales(shape, 3) * np.float32(0.01))
    with threads(count):
        dx, got = backend.fake_quantize_backward(dy, x, scale, **channel)
    want, dscale, magnitude = fake_quantize_backward(dy, x, scale, **channel)
    assert_same_bits(dx, want, backend)
    channel = {"axis": None, "group_size": None} | channel
    assert_within(got, dscale_bound(x, dscale, magnitude, **channel), backend)


@pytest.mark.parametrize("k", [4095, 4096, 4097, 8191, 12289, 32769])
def test_gradients_of_a_long_row_are_those_of_the_reference(k, backend):
    scale = np.float32([0.02, 0.03])
    dy, x = floats((2, k), 1), near_ties(np.broadcast_to(scale[:, None], (2, k)), 2)
    dx, got = backend.fake_quantize_backward(dy, x, scale, axis=0)
    want, dscale, magnitude = fake_quantize_backward(dy, x, scale, axis=0)
    assert_same_bits(dx, want, backend)
    assert_within(got, dscale_bound(x, dscale, magnitude, 0, None), backend)


@given(case=cases(), kind=kinds)
def test_dscale_has_the_same_bits_from_run_to_run(case, kind, backend):
    dy = gradient(case, case.half, kind, "c")
    arguments = (dy, case.x_near_ties, case.scale, case.zero_point)
    first, second = (
        backend.fake_quantize_backward(*arguments, **form_of(case))[1] for _ in range(2)
    )
    assert_same_bits(first, second, backend)


def test_terms_that_cancel_leave_what_is_left(backend):
    # 127 * 3e7, as often positive as negative, and -0.25, which a sum in FP32 loses.
    x = np.resize(np.float32([200.0, 200.0]), 4001)
    dy = np.resize(np.float32([3e7, -3e7]), 4001)
    x[-1], dy[-1] = 0.25, 1.0
    _, got = backend.fake_quantize_backward(dy, x, 1.0)
    assert_same_bits(got, np.array(-0.25, np.float32), backend)


@pytest.mark.parametrize("zero_point", [None, 3])
@pytest.mark.parametrize("scale", [1.0, 0.37, 2.0**-24, 515.0])
def test_every_half_has_the_y_of_the_reference(zero_point, scale, backend):
    got = backend.fake_quantize(every_half(), scale, zero_point)
    want = fake_quantize(every_half(), np.float32(scale), zero_point)
    assert_same_bits(got, want, backend)


@pytest.mark.parametrize("k", [5, 40])
def test_codes_at_the_ends_let_the_gradient_through(k, backend):
    x = np.resize(np.float32([127.4, 127.6, -127.5, -127.6, 0.0]), k)
    dx, _ = backend.fake_quantize_backward(np.ones(k, np.float32), x, 1.0)
    assert dx.tolist() == np.resize([1, 0, 0, 0, 1], k).tolist()


def test_zero_point_makes_the_range_full(backend):
    x = np.resize(np.float32([-128.0, -127.0]), 40)
    dx, _ = backend.fake_quantize_backward(np.ones(40, np.float32), x, 1.0, 0)
    assert dx.tolist() == [1.0] * 40


@pytest.mark.parametrize("dy", [1.0, np.nan, np.inf])
def test_nan_has_no_gradient(dy, backend):
    x = np.full(40, np.nan, np.float32)
    dx, dscale = backend.fake_quantize_backward(np.full(40, dy, np.float32), x, 1.0)
    assert_same_bits(dx, np.zeros(40, np.float32), backend)
    assert_same_bits(dscale, np.array(0, np.float32), backend)


def test_nan_becomes_zero(backend):
    x = np.full(40, np.nan, np.float32)
    assert_same_bits(backend.fake_quantize(x, 0.5, 3), np.zeros(40, np.float32), backend)


@pytest.mark.parametrize("x", [np.inf, -np.inf])
def test_infinity_saturates_and_has_no_gradient_but_the_scales(x, backend):
    x = np.full(40, x, np.float32)
    dx, dscale = backend.fake_quantize_backward(np.ones(40, np.float32), x, 1.0)
    assert_same_bits(dx, np.zeros(40, np.float32), backend)
    assert_same_bits(dscale, np.array(np.sign(x[0]) * 127 * 40, np.float32), backend)


def test_gradients_of_nothing_are_zero(backend):
    empty = np.zeros((3, 0), np.float32)
    dx, dscale = backend.fake_quantize_backward(empty, empty, np.ones(3, np.float32), axis=0)
    assert_same_bits(dx, empty, backend)
    assert_same_bits(dscale, np.zeros(3, np.float32), backend)


def test_y_goes_where_out_says(backend):
    out = np.empty((3, 5), np.float32)
    assert backend.fake_quantize(floats((3, 5), 1), 0.1, out=out) is out


def test_dx_goes_where_out_says(backend):
    out = np.empty((3, 5), np.float32)
    dx, _ = backend.fake_quantize_backward(floats((3, 5), 1), floats((3, 5), 2), 0.1, out=out)
    assert dx is out
