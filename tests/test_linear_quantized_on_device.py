# SPDX-License-Identifier: Apache-2.0
"""A quantized layer on a GPU, Turing and later: few rows and many, groups that fit and do not."""

import pickle
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

import halfbyte
import halfbyte_reference as reference
from assertions import assert_same_bits, assert_within, refuses
from halfbyte import QuantizedTensor
from halfbyte.cuda import linear_layout
from halfbyte_reference.inputs import floats, halves, strided
from linear_cases import WEIGHT_ONLY_FORMS, X_FORMS, Case
from quantized_tensors import tensor

FEW, BATCH, MANY = 3, 12, 70
CASE = Case(
    FEW, 203, 37, "floats", x_bits=8, x_signed=False, x_each=True, kind="normal", bits=4,
    signed=True, affine=False, how="group", group_size=64, scale_kind="normal", bias_of=floats,
    activation="relu", seed=1, spread="full", layout_x="c", layout_w="c",
)  # fmt: skip
GROUPS = (5, 32, 33, 64, 96, 128, 1000)

SIZES = (MANY, FEW, BATCH)


def case(number=0, **changed):
    """Return a layer; the number chooses what is not named: bits, signs, and scales of weights."""
    turn = {
        "bits": (4, 8)[number % 2],
        "signed": number % 3 != 1,
        "affine": number % 3 == 2,
        "x_bits": (8, 4)[number // 2 % 2],
        "packed": number % 4 < 2,
    }
    named = turn | changed
    return replace(CASE, **{k: v for k, v in named.items() if k != "packed"}), named["packed"]


def assert_layer(device, own, packed, **named):
    """Claim the reference's bits, or of halves its bound."""
    got = own.layer(device, packed, **named)
    if own.x_form in WEIGHT_ONLY_FORMS:
        assert_within(got, own.bounded(**named), device)
    else:
        assert_same_bits(got, own.called(**named), device)


@pytest.mark.parametrize(("number", "x_form"), [*enumerate(2 * X_FORMS)])
def test_layer_without_groups(number, x_form, device):
    m = SIZES[number // 2 % 3]
    own, packed = case(number, x_form=x_form, m=m, how=("axis", "tensor")[number % 2])
    assert_layer(device, own, packed)


@pytest.mark.parametrize(("number", "group_size"), [*enumerate(GROUPS)])
def test_groups_of_every_length(number, group_size, device):
    m, x_form = SIZES[number % 3], X_FORMS[number % 6]
    own, packed = case(number, x_form=x_form, m=m, group_size=group_size)
    assert_layer(device, own, packed)


@pytest.mark.parametrize(("number", "k"), [*enumerate((1, 31, 65, 256))])
def test_every_end_of_k(number, k, device):
    m, x_form = SIZES[number % 3], ("halves", "weight-only halves")[number % 2]
    own, packed = case(number, x_form=x_form, m=m, k=k, how=("group", "axis")[number // 2])
    assert_layer(device, own, packed)


@pytest.mark.parametrize(("bits", "m"), [(2, FEW), (3, MANY)])
def test_codes_of_two_and_three_bits(bits, m, device):
    own, packed = case(m, bits=bits, m=m, signed=False, affine=True)
    assert_layer(device, own, packed, out_dtype=np.float16)


def test_weight_only_layer_of_huge_halves_does_not_become_nan(device):
    x, w = np.full((FEW, 64), 65504, np.float16), tensor((5, 64), 1, bits=4)
    want = reference.linear_int(x, w._codes(), w.scale, x_bits=16)
    assert_same_bits(np.isfinite(device.linear(x, w, x_bits=16)), np.isfinite(want), device)


@pytest.mark.parametrize("m", [FEW, MANY])
def test_sums_of_nibbles_reach_beyond_28_bits(m, device):
    x, values = np.ones((m, 72_000), np.float32), np.full((5, 36_000), 0xFF, np.uint8)
    w = QuantizedTensor(values, 1.0, 0, bits=4, signed=False, shape=(5, 72_000))
    want = np.full((m, 5), np.float32(127 * 15 * 72_000) * np.float32(1 / 127))
    assert_same_bits(device.linear(x, w), want, device)


# ---- weights -------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", [
    {"bits": 8}, {"bits": 8, "signed": False, "axis": 0}, {"bits": 2, "group_size": 37},
    {"bits": 4, "affine": True, "group_size": 32}, {"bits": 4, "signed": False, "group_size": 33},
], ids=str)  # fmt: skip
def test_packed_weights_come_back_from_a_pickle(form, device):
    def call(w, x):
        packed = pickle.loads(pickle.dumps(halfbyte.prepack(w)))
        return halfbyte.linear(x, packed), packed.__reduce__()[1][0]

    w, x = tensor((37, 69), 1, **form), floats((FEW, 69), 2)
    got, plain = device.call(call, w, x)
    assert plain == w
    assert_same_bits(got, device.linear(x, w), device)


@pytest.mark.parametrize(("x", "form"), [
    (tensor((FEW, 256), 1), {"bits": 4, "group_size": 64}),
    (halves((FEW, 256), 1), {"axis": 0}),
    (halves((FEW, 256), 1), {"signed": False, "group_size": 32}),
], ids=["codes", "halves", "unsigned"])  # fmt: skip
def test_few_rows_read_what_lies_well_where_it_is(x, form, device):
    w, x = aligned(tensor((37, 256), 2, **form)), aligned(x)
    named = {} if isinstance(x, QuantizedTensor) else {"x_bits": 16}
    want = device.linear(x, device.prepack(w), **named)
    with mock.patch.object(linear_layout, "_launch", side_effect=AssertionError):
        assert_same_bits(device.linear(x, w, **named), want, device)


def aligned(x):
    """Return a copy whose address, or that of its codes, is a multiple of 256."""
    if isinstance(x, QuantizedTensor):
        return QuantizedTensor._trusted(aligned(x.values), x.scale, x.zero_point, *x._arguments())
    memory = np.zeros(x.nbytes + 256, np.uint8)
    first = -memory.ctypes.data % 256
    copy = memory[first : first + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def test_weights_packed_elsewhere_are_refused(device):
    w, x = tensor((37, 69), 1), floats((FEW, 69), 2)
    with refuses(TypeError, "linear", "x", "w"):
        device.linear(x, halfbyte.prepack(w))
    with refuses(TypeError, "linear", "x", "w"):
        halfbyte.linear(x, device.prepack(w))


# ---- x and the result ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("m", "x_form"), [(MANY, "floats"), (FEW, "affine codes"), (MANY, "affine codes")]
)
def test_result_of_codes_goes_anywhere(x_form, m, device):
    own, packed = case(m, x_form=x_form, m=m)
    named = own.output(np.uint8, affine=True)
    scale = np.ndarray((), np.float32, bytearray(5), 1)  # not aligned
    scale[...] = named["out_scale"]
    named["out_scale"] = scale
    named["out_zero_point"] = np.asarray(named["out_zero_point"], np.uint8)
    out = strided(np.zeros((m, own.n), np.uint8), "sliced")
    got = own.layer(device, packed, out=out, **named)
    want = own.called(**named | {"out_zero_point": int(named["out_zero_point"])})
    assert got.values is out
    assert_same_bits(out, want.codes, device)
    # What the next layer reads as int32.
    assert_same_bits(got.zero_point, np.int32(named["out_zero_point"]).reshape(()), device)


@pytest.mark.parametrize("m", [FEW, MANY])
def test_row_that_is_not_finite_is_nan_alone(m, device):
    x, w = floats((m, 1300), 1), tensor((5, 1300), 2, bits=4, group_size=32)
    x[1, 1299] = np.inf
    with_nan = np.isnan(device.linear(x, w))
    assert with_nan.all(axis=1).tolist() == [i == 1 for i in range(m)]
    assert with_nan.any(axis=1).tolist() == [i == 1 for i in range(m)]


@pytest.mark.parametrize("layout", ["transposed", "sliced"])
def test_rows_and_results_need_no_single_stride(layout, device):
    x, w = strided(floats((2, 3, 4, 69), 1), layout), tensor((5, 69), 2, axis=0)
    out = strided(np.zeros((2, 3, 4, 5), np.float32), layout)
    device.linear(x, w, out=out)
    assert_same_bits(out, reference.linear_int(x, w.values, w.scale, axis=0), device)


def test_rows_longer_than_registers_are_read_twice(device):
    x, w = floats((2, 9001), 1), tensor((5, 9001), 2, affine=True)
    want = reference.linear_int(x, w.values, w.scale, w.zero_point)
    assert_same_bits(device.linear(x, w), want, device)
