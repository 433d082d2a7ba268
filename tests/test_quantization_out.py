# SPDX-License-Identifier: Apache-2.0
"""quantize into a tensor that is there already: its codes, scale and zero point of any strides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_only_elements_change, assert_same_bits
from backends import threads
from halfbyte import QuantizedTensor
from halfbyte_reference import quantize
from halfbyte_reference.inputs import floats, strided
from quantized_cases import assert_tensor, cases, stored
from strategies import out_layouts, thread_counts


def room_for(case, layout="c", scale_layout="c"):
    """Return a tensor of the case's form that holds something else: zeros, scales of one."""
    values = np.zeros(case.shape, np.int8 if case.signed else np.uint8)
    zero_point = np.zeros(case.scale_shape, np.int32)
    return QuantizedTensor(
        strided(stored(values, case.bits), layout),
        strided(np.ones(case.scale_shape, np.float32), scale_layout),
        None if case.symmetric else strided(zero_point, scale_layout),
        bits=case.bits,
        signed=case.signed,
        shape=case.shape,
        **case.channel,
    )


@given(case=cases(), layout=out_layouts, scale_layout=out_layouts, count=thread_counts)
def test_out_is_filled_with_codes_of_a_given_scale(case, layout, scale_layout, count, backend):
    out = room_for(case, layout, scale_layout)
    with threads(count):
        backend.quantize(case.x_near_ties, **case.form, **case.given, out=out)
    assert_tensor(out, quantize(case.x_near_ties, **case.form, **case.given), case, backend)


@given(case=cases(), layout=out_layouts, scale_layout=out_layouts, count=thread_counts)
def test_out_is_filled_with_a_scale_from_data(case, layout, scale_layout, count, backend):
    out = room_for(case, layout, scale_layout)
    with threads(count):
        backend.quantize(case.x_finite, **case.form, out=out)
    assert_tensor(out, quantize(case.x_finite, **case.form), case, backend)


@given(case=cases(), layout=out_layouts)
def test_out_is_filled_as_a_new_tensor_is_by_mse(case, layout, backend):
    out = room_for(case, layout)
    backend.quantize(case.x_finite, **case.form, method="mse", out=out)
    assert out == backend.quantize(case.x_finite, **case.form, method="mse")


@given(case=cases(), layout=out_layouts)
def test_out_is_filled_stochastically(case, layout, backend):
    named = case.form | case.given | {"rounding": "stochastic", "seed": case.seed}
    out = room_for(case, layout)
    backend.quantize(case.x_near_ties, **named, out=out)
    assert_tensor(out, quantize(case.x_near_ties, **named), case, backend)


@given(case=cases(), scale_layout=out_layouts)
def test_scale_of_out_may_be_the_scale(case, scale_layout, backend):
    out = room_for(case, scale_layout=scale_layout)
    out.scale[...] = case.scale
    given = {"scale": out.scale}
    if not case.symmetric:
        out.zero_point[...] = case.zero_point
        given["zero_point"] = out.zero_point
    backend.quantize(case.x_near_ties, **case.form, **given, out=out)
    assert_tensor(out, quantize(case.x_near_ties, **case.form, **case.given), case, backend)


@given(case=cases(), layout=out_layouts, given=st.booleans())
def test_only_elements_of_values_are_written(case, layout, given, backend):
    out = room_for(case, layout)
    named = case.form | (case.given if given else {})
    assert_only_elements_change(
        out.values, lambda: backend.quantize(case.x_finite, **named, out=out)
    )


@given(case=cases(), layout=out_layouts, given=st.booleans())
def test_only_elements_of_scale_are_written(case, layout, given, backend):
    out = room_for(case, "c", layout)
    named = case.form | (case.given if given else {})
    assert_only_elements_change(
        out.scale, lambda: backend.quantize(case.x_finite, **named, out=out)
    )


@given(case=cases())
def test_out_is_what_is_returned(case, backend):
    out = room_for(case)
    assert backend.quantize(case.x_finite, **case.form, out=out) is out


@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 3, 33)], ids=str)
def test_last_nibble_of_an_odd_row_becomes_zero(shape, backend):
    out = backend.quantize(floats(shape, 1), bits=4)
    out.values[...] = 0xFF
    backend.quantize(floats(shape, 2), bits=4, out=out)
    assert (out.values[..., -1] < 16).all()


@pytest.mark.parametrize("offset", range(64))
@pytest.mark.parametrize("bits", [8, 4])
def test_values_may_start_anywhere_in_a_cache_line(offset, bits, backend):
    x = floats(999, offset)
    room = 999 if bits == 8 else 500
    memory = np.zeros(1128, np.int8 if bits == 8 else np.uint8)
    start = -memory.ctypes.data % 64 + offset
    out = QuantizedTensor(memory[start : start + room], 1.0, bits=bits, shape=(999,))
    backend.quantize(x, bits=bits, out=out)
    assert_same_bits(out.values, stored(quantize(x, bits=bits).codes, bits), backend)
