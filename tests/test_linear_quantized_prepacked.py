# SPDX-License-Identifier: Apache-2.0
"""A PackedMatrix stands for quantized weights: any instruction set, any process."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfbyte
import halfbyte_reference as reference
from assertions import assert_same_bits
from backends import integer_backends, sums_differ, without
from halfbyte_reference.inputs import floats
from linear_cases import X_FORMS, layers
from quantized_tensors import tensor
from strategies import few_rows

FORMS = [  # of the weights
    {"bits": bits, "signed": signed, "affine": affine, **sharing}
    for bits in (8, 4, 2)
    for signed, affine in ((True, False), (False, True))
    for sharing in ({}, {"axis": 0}, {"group_size": 32}, {"group_size": 37})
]

every_form = pytest.mark.parametrize(
    "form", FORMS, ids=lambda form: "-".join(map(str, form.values()))
)


def layer_of(x, w, **named):
    return reference.linear_int(
        x, w._codes(), w.scale, w.zero_point, axis=w.axis, group_size=w.group_size, **named
    )


@without("ptx", "cuda", reason="test_linear_quantized_on_device pickles there")
@given(case=st.sampled_from(X_FORMS).flatmap(lambda form: layers(form, few_rows)))
def test_packed_weights_survive_pickling(case, integer_backend):
    packed = pickle.loads(pickle.dumps(integer_backend.prepack(case.w)))
    x_bits = case.x_named.get("x_bits", 8)
    got = integer_backend.linear(
        case.x_given, packed, case.bias, activation=case.activation, x_bits=x_bits
    )
    assert_same_bits(got, case.called(), integer_backend)


@without("ptx", "cuda", reason="what the CPU packed is not for a GPU")
@every_form
@pytest.mark.parametrize("packer", integer_backends(), ids=lambda packer: f"packed-by-{packer}")
def test_weights_packed_under_another_isa_give_the_same_bits(packer, form, integer_backend):
    x, w = floats((9, 70), 1), tensor((131, 70), 2, **form)
    got = integer_backend.linear(x, packer.prepack(w))
    assert_same_bits(got, layer_of(x, w), integer_backend)


@pytest.mark.parametrize("x_bits", [8, pytest.param(16, marks=sums_differ)])
@every_form
def test_weights_packed_once_serve_both_kinds_of_input(form, x_bits, backend):
    x, w = floats((9, 70), 1), tensor((131, 70), 2, **form)
    got = backend.linear(x, backend.prepack(w), x_bits=x_bits)
    assert_same_bits(got, layer_of(x, w, x_bits=x_bits), backend)


@every_form
def test_packed_weights_tell_what_they_are(form):
    packed = halfbyte.prepack(tensor((131, 70), 2, **form))
    assert (packed.kind, packed.shape) == ("quantized", (70, 131))


@every_form
def test_packed_weights_keep_their_values_when_the_arrays_change(form, integer_backend):
    x, w = floats((3, 70), 1), tensor((131, 70), 2, **form)
    packed, want = integer_backend.prepack(w), layer_of(x, w)
    w.values[...] = 0
    w.scale[...] = 7
    if w.zero_point is not None:
        w.zero_point[...] = 1
    assert_same_bits(integer_backend.linear(x, packed), want, integer_backend)


# Room for sums of rows and for rounding k and n up is allowed for, a code in two bytes is not.
@pytest.mark.parametrize("group_size", [None, 128])
@pytest.mark.parametrize("bits", [8, 4])
def test_packed_weights_are_about_as_large_as_plain_ones(bits, group_size, integer_backend):
    w = tensor((1000, 1024), 1, bits=bits, group_size=group_size)
    assert integer_backend.prepack(w).nbytes < 1.15 * w.nbytes


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)], ids=str)
@every_form
def test_empty_weights_pack(shape, form, integer_backend):
    x, w = floats((3, shape[1]), 1), tensor(shape, 2, **form)
    got = integer_backend.linear(x, integer_backend.prepack(w))
    assert_same_bits(got, layer_of(x, w), integer_backend)
