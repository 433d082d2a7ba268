# SPDX-License-Identifier: Apache-2.0
"""A PackedMatrix of integers or of quantized weights: what it tells, keeps, pickles as, refuses."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_same_bits, refuses
from backends import only_numpys, without
from halfbyte import Int4Array, PackedMatrix, QuantizedTensor
from halfbyte_reference import gemm_int
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes
from integer_cases import BYTES, NIBBLES, argument
from quantized_tensors import tensor
from strategies import out_layouts, seeds, small_sizes

FORMS = BYTES + NIBBLES
FORM_NAMES = ["int8", "uint8", "int4", "uint4"]
WEIGHTS = {
    "tensor": {},
    "axis": {"axis": 0},
    "group": {"group_size": 3},
    "affine": {"axis": 0, "affine": True},
    "affine groups": {"group_size": 4, "affine": True},
    "unsigned": {"group_size": 4, "signed": False},
}
numpys = without("ptx", "cuda", reason="there is no such array")
forms = pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
every_bits = pytest.mark.parametrize("bits", [8, 4, 3, 2])
every_weight = pytest.mark.parametrize("how", WEIGHTS)
remakes = pytest.mark.parametrize(
    "remake",
    [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["copy", "deepcopy", "pickle"],
)


def weights(how, bits=8, shape=(7, 5), seed=1):
    return tensor(shape, seed, bits=bits, **WEIGHTS[how])


def pickled_as(packed):
    """What a pickle of the matrix holds."""
    _, (plain,) = packed.__reduce__()
    return plain


def told(packed):
    return packed.kind, packed.shape, packed.nbytes, repr(packed)


# ---- Kept --------------------------------------------------------------------------------------
@given(form=st.sampled_from(BYTES), k=small_sizes, n=small_sizes, seed=seeds, layout=out_layouts)
def test_matrix_of_bytes_pickles_as_that_matrix(form, k, n, seed, layout, backend):
    b = codes((k, n), seed, *form)
    packed = backend.prepack(strided(b, layout))
    with backend.forced():
        plain = pickled_as(packed)
    assert_same_bits(plain, b, backend)


@given(form=st.sampled_from(NIBBLES), k=small_sizes, n=small_sizes, seed=seeds, layout=out_layouts)
def test_matrix_of_nibbles_pickles_as_that_matrix(form, k, n, seed, layout, backend):
    b = codes((k, n), seed, *form)
    packed = backend.prepack(argument(b, *form, layout))
    with backend.forced():
        plain = pickled_as(packed)
        assert isinstance(plain, Int4Array)
        assert plain == argument(b, *form)


@without("ptx", reason="weights are remade below, and the machine is slow")
@every_weight
@every_bits
@given(n=small_sizes, k=small_sizes, seed=seeds)
def test_weights_pickle_as_those_weights(how, bits, n, k, seed, backend):
    q = weights(how, bits, (n, k), seed)
    packed = backend.prepack(q)
    with backend.forced():
        plain = pickled_as(packed)
        assert isinstance(plain, QuantizedTensor)
        assert plain == q


@remakes
@forms
def test_matrix_can_be_remade(remake, form, backend):
    packed = backend.prepack(argument(codes((70, 131), 1, *form), *form))
    with backend.forced():
        assert told(remake(packed)) == told(packed)


@remakes
@every_weight
@every_bits
def test_packed_weights_can_be_remade(remake, how, bits, backend):
    packed = backend.prepack(weights(how, bits, (70, 131)))
    with backend.forced():
        assert told(remake(packed)) == told(packed)


def test_packed_weights_know_the_shape_of_operand_b(backend):
    assert backend.prepack(weights("axis", shape=(70, 131))).shape == (131, 70)


def test_text_of_packed_weights_names_kind_shape_and_bytes(backend):
    packed = backend.prepack(weights("axis"))
    assert repr(packed) == f"PackedMatrix(quantized, shape=(5, 7), {packed.nbytes} bytes)"


@forms
def test_bytes_of_a_packed_matrix_hold_its_codes(form, backend):
    packed = backend.prepack(argument(codes((70, 131), 1, *form), *form))
    assert packed.nbytes >= 70 * 131 * form[0] / 8


@every_weight
def test_bytes_of_packed_weights_count_scales(how, backend):
    q = weights(how, shape=(64, 64))
    assert backend.prepack(q).nbytes >= q.values.nbytes + q.scale.nbytes


@forms
def test_array_stays_writeable_after_packing(form, backend):
    given = argument(codes((5, 7), 1, *form), *form)
    backend.prepack(given)
    assert (given.packed if isinstance(given, Int4Array) else given).flags.writeable


@every_weight
@every_bits
def test_arrays_of_weights_stay_writeable_after_packing(how, bits, backend):
    q = weights(how, bits)
    backend.prepack(q)
    held = [part for part in (q.values, q.scale, q.zero_point) if part is not None]
    assert all(part.flags.writeable for part in held)


def test_packed_matrix_cannot_be_changed(backend):
    packed = backend.prepack(codes((5, 7), 1))
    with pytest.raises(AttributeError, match="kind"):
        packed.kind = "uint8"


@without("ptx", "cuda", reason="a GPU's arrays are always writeable")
@forms
def test_arrays_of_a_packed_matrix_are_read_only(form, backend):
    packed = backend.prepack(argument(codes((5, 7), 1, *form), *form))
    assert not any(part.flags.writeable for part in packed._arrays())


def test_packed_matrix_is_no_array(backend):
    with refuses(TypeError, "PackedMatrix", "array"):
        np.asarray(backend.prepack(codes((5, 7), 1)))


@numpys
@pytest.mark.parametrize("dtype", ["int4", "uint4"])
@pytest.mark.parametrize("layout", ["c", "transposed", "sliced", "negative"])
def test_integers_of_ml_dtypes_pack_as_nibbles(dtype, layout, backend, ml_dtypes):
    a, b = codes((3, 5), 1), codes((5, 7), 2, 4, dtype == "int4")
    packed = backend.prepack(strided(b, layout).astype(getattr(ml_dtypes, dtype)))
    assert packed.kind == dtype
    assert_same_bits(backend.gemm_int(a, packed), gemm_int(a, b), backend)


# ---- Refused -----------------------------------------------------------------------------------
@forms
@pytest.mark.parametrize("shape", [(5,), (2, 5, 7)], ids=str)
def test_what_is_no_matrix_is_not_packed(form, shape, backend):
    with refuses(ValueError, "prepack", "b", str(shape)):
        backend.prepack(argument(codes(shape, 1, *form), *form))


@numpys
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int4", "uint4"])
def test_integer_without_a_dimension_is_not_packed(dtype, backend, ml_dtypes):
    with refuses(ValueError, "prepack", "b", "()"):
        backend.prepack(np.zeros((), getattr(ml_dtypes, dtype, dtype)))


@pytest.mark.parametrize("shape", [(5,), (2, 5, 7)], ids=str)
@pytest.mark.parametrize("bits", [8, 4])
def test_weights_that_are_no_matrix_are_not_packed(shape, bits, backend):
    with refuses(ValueError, "prepack", "b", str(shape)):
        backend.prepack(tensor(shape, 1, bits=bits))


@pytest.mark.parametrize("axis", [1, -1])
@every_bits
def test_weights_with_scales_along_k_are_not_packed(bits, axis, backend):
    with refuses(ValueError, "prepack", "b", "axis 1"):
        backend.prepack(tensor((7, 5), 1, bits=bits, axis=axis))


@pytest.mark.parametrize(
    "dtype", ["int16", "uint16", "int32", "float32", "bool", only_numpys(">i2")]
)
def test_integers_of_another_dtype_are_not_packed(dtype, backend):
    with refuses(TypeError, "prepack", "b", dtype, "float16", "int8", "uint8"):
        backend.prepack(np.zeros((5, 7), dtype))


@numpys
@pytest.mark.parametrize("dtype", ["int2", "uint2", "bfloat16"])
def test_other_numbers_of_ml_dtypes_are_not_packed(dtype, backend, ml_dtypes):
    with refuses(TypeError, "prepack", "b", dtype, "int8"):
        backend.prepack(np.zeros((5, 7), getattr(ml_dtypes, dtype)))


def test_packed_matrix_is_not_packed_again(backend):
    with refuses(TypeError, "prepack", "b", PackedMatrix.__name__):
        backend.prepack(backend.prepack(codes((5, 7), 1)))


@forms
def test_packed_integers_are_no_operand_of_halves(form, backend):
    packed = backend.prepack(argument(codes((5, 7), 1, *form), *form))
    with refuses(TypeError, "gemm_f16", "b", packed.kind, "float16"):
        backend.gemm_f16(np.zeros((3, 5), np.float16), packed)
