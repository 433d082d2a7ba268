# SPDX-License-Identifier: Apache-2.0
"""Every cell of (instruction set, x, weights, scales, rows, prepacked), sizes, and worst cases."""

import functools
import itertools

import numpy as np
import pytest

import halfbyte_reference as reference
from assertions import assert_same_bits
from backends import threads
from halfbyte import QuantizedTensor
from halfbyte_reference.inputs import floats, halves
from halfbyte_reference.inputs_quantized import codes, extreme_codes, scales
from linear_cases import CODES, Case
from quantized_cases import stored
from quantized_tensors import tensor

WEIGHTS = [(8, True, False), (8, True, True), (8, False, True)]  # bits, signed, affine
WEIGHTS += [(4, *form) for _, *form in WEIGHTS]
SCALES = [("axis", None), ("group", 32), ("group", 37)]

prepacked_or_not = pytest.mark.parametrize("packed", [False, True], ids=["plain", "prepacked"])


@functools.cache
def cell(x_form, weights, sharing, m):
    """Return a layer with extreme codes only, and its result."""
    bits, signed, affine = weights
    how, group_size = sharing
    case = Case(
        m, 150, 131, x_form, x_bits=8, x_signed=False, x_each=True, kind="normal", bits=bits,
        signed=signed, affine=affine, how=how, group_size=group_size or 1, scale_kind="normal",
        bias_of=floats, activation="relu", seed=1, spread="ends", layout_x="c", layout_w="c",
    )  # fmt: skip
    return case, case.called()


@prepacked_or_not
@pytest.mark.parametrize("rows", [1, 3, 8, 97])
@pytest.mark.parametrize("sharing", SCALES, ids=lambda s: f"{s[0]}{s[1] or ''}")
@pytest.mark.parametrize(
    "weights", WEIGHTS, ids=lambda w: f"{'s' if w[1] else 'u'}{w[0]}{'z' if w[2] else ''}"
)
@pytest.mark.parametrize("x_form", ["floats", *CODES])
def test_cell_has_the_bits_of_the_reference(
    x_form, weights, sharing, rows, packed, integer_backend
):
    case, want = cell(x_form, weights, sharing, rows)
    assert_same_bits(case.layer(integer_backend, packed), want, integer_backend)


# ---- sizes ---------------------------------------------------------------------------------------
@functools.cache
def wide(m, bits, group_size):
    """Return x, a wide layer's weights and bias, and its result."""
    x, bias = halves((m, 600), 1), floats(4001, 3)
    w = tensor((4001, 600), 2, bits=bits, group_size=group_size, affine=True)
    want = reference.linear_int(
        x, w._codes(), w.scale, w.zero_point, bias, group_size=group_size, activation="relu"
    )
    return x, w, bias, want


@prepacked_or_not
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("group_size", [None, 128])
@pytest.mark.parametrize("rows", [1, 8, 70])
def test_wide_layer_on_two_threads_has_the_bits_of_the_reference(
    rows, group_size, bits, packed, integer_backend
):
    x, w, bias, want = wide(rows, bits, group_size)
    w = integer_backend.prepack(w) if packed else w
    with threads(2):
        got = integer_backend.linear(x, w, bias, activation="relu")
    assert_same_bits(got, want, integer_backend)


@prepacked_or_not
@pytest.mark.parametrize("group_size", [None, 32])
@pytest.mark.parametrize("count", [1, 2])
def test_tall_layer_has_the_bits_of_the_reference(count, group_size, packed, integer_backend):
    x, w = floats((2003, 65), 1), tensor((70, 65), 2, bits=4, group_size=group_size)
    want = reference.linear_int(x, w._codes(), w.scale, group_size=group_size)
    w = integer_backend.prepack(w) if packed else w
    with threads(count):
        got = integer_backend.linear(x, w)
    assert_same_bits(got, want, integer_backend)


# ---- as long as int32 allows ---------------------------------------------------------------------
@prepacked_or_not
@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize(
    ("of_x", "of_w"),
    [
        *itertools.product(
            [(8, True, False), (8, False, True)], [(8, True, False), (4, False, True)]
        )
    ],
)
def test_two_groups_as_long_as_can_be_have_the_right_sums(
    of_x, of_w, up, rows, packed, integer_backend
):
    k = reference.largest_k(*(reference.largest_difference(*of) for of in (of_x, of_w)))
    x, zx = extreme_codes((rows, 2 * k), *of_x)
    w, zw = extreme_codes((2, 2 * k), *of_w, up=up)
    scale, own = scales((2, 2), 1), scales((), 2)
    # Products that an int32 holds only just, rounded to FP32 each.
    acc = np.float32(k * (int(x[0, 0]) - zx) * (int(w[0, 0]) - zw))
    want = np.broadcast_to((acc * scale[:, 0] + acc * scale[:, 1]) * own, (rows, 2))
    x = QuantizedTensor(x, own, zx if of_x[2] else None, signed=of_x[1])
    zero_point = np.full((2, 2), zw, np.int32) if of_w[2] else None
    w = QuantizedTensor(
        stored(w, of_w[0]), scale, zero_point,
        bits=of_w[0], group_size=k, signed=of_w[1], shape=(2, 2 * k),
    )  # fmt: skip
    got = integer_backend.linear(x, integer_backend.prepack(w) if packed else w)
    assert_same_bits(got, want, integer_backend)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("bits", [8, 4])
def test_k_beyond_16384_has_the_bits_of_the_reference(bits, rows, packed, integer_backend):
    x, values = floats((rows, 16_403), 1), codes((70, 16_403), 2, bits)
    w = QuantizedTensor(stored(values, bits), np.float32(0.1), bits=bits, shape=values.shape)
    got = integer_backend.linear(x, integer_backend.prepack(w) if packed else w)
    assert_same_bits(got, reference.linear_int(x, values, np.float32(0.1)), integer_backend)
