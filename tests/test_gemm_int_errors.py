# SPDX-License-Identifier: Apache-2.0
"""Bad integer products are refused: function, argument, what it got, what it needs."""

import numpy as np
import pytest

from assertions import refuses
from backends import looks_at_values, only_numpys, without
from halfbyte import Int4Array
from halfbyte_reference import code_range, largest_difference, largest_k
from halfbyte_reference.inputs import halves
from halfbyte_reference.inputs_quantized import codes
from integer_cases import BYTES, NIBBLES, argument
from quantized_tensors import tensor

A, B = codes((3, 5), 1), codes((5, 7), 2)
OPERANDS = {"a": A, "b": B}
# Each zero point's argument, how many there may be, and the operand it belongs to.
ZERO_POINTS = [("a_zero_point", 3, "a"), ("b_zero_point", 7, "b")]

operands = pytest.mark.parametrize("operand", ["a", "b"])
zero_points = pytest.mark.parametrize(("name", "size", "operand"), ZERO_POINTS)
numpys = without("ptx", "cuda", reason="there is no such array")
formats = pytest.mark.parametrize("form", BYTES + NIBBLES, ids=str)


def call(backend, **changed):
    """Multiply good operands but for what `changed` names."""
    return backend.gemm_int(**OPERANDS | changed)


@operands
@pytest.mark.parametrize(
    "dtype",
    [
        *("float16", "float32", "float64", "int16", "int32", "int64", "uint16", "bool"),
        only_numpys("object"),
    ],
)
def test_operand_of_another_dtype(operand, dtype, backend):
    with refuses(TypeError, "gemm_int", operand, dtype, "int8", "uint8"):
        call(backend, **{operand: OPERANDS[operand].astype(dtype)})


@numpys
@operands
def test_bfloat16_operand(operand, backend, ml_dtypes):
    with refuses(TypeError, "gemm_int", operand, "bfloat16", "int8"):
        call(backend, **{operand: OPERANDS[operand].astype(ml_dtypes.bfloat16)})


@numpys
@operands
@pytest.mark.parametrize("dtype", ["int2", "uint2"])
def test_operand_of_two_bits(operand, dtype, backend, ml_dtypes):
    with refuses(TypeError, "gemm_int", operand, dtype, "int8"):
        call(backend, **{operand: np.zeros((5, 5), getattr(ml_dtypes, dtype))})


@operands
@pytest.mark.parametrize("value", [[[1]], ((1,),), 1, np.int8(1), "ab", b"ab", None], ids=repr)
def test_operand_that_is_no_array(operand, value, backend):
    with refuses(TypeError, "gemm_int", operand, type(value).__name__):
        call(backend, **{operand: value})


@operands
def test_masked_operand(operand, backend):
    masked = np.ma.masked_array(OPERANDS[operand], mask=False)
    with refuses(TypeError, "gemm_int", operand, "MaskedArray"):
        call(backend, **{operand: masked})


@operands
def test_quantized_operand(operand, backend):
    with refuses(TypeError, "gemm_int", operand, "QuantizedTensor"):
        call(backend, **{operand: tensor((5, 5), 1)})


@operands
@pytest.mark.parametrize("shape", [(), (5,)], ids=str)
def test_operand_with_too_few_dimensions(operand, shape, backend):
    with refuses(ValueError, "gemm_int", operand, str(shape)):
        call(backend, **{operand: np.zeros(shape, np.int8)})


@operands
def test_vector_of_nibbles(operand, backend):
    with refuses(ValueError, "gemm_int", operand, "(5,)"):
        call(backend, **{operand: Int4Array.pack(np.zeros(5, np.int8))})


@numpys
@operands
@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_nibble_of_ml_dtypes_without_a_dimension(operand, dtype, backend, ml_dtypes):
    with refuses(ValueError, "gemm_int", operand, "()"):
        call(backend, **{operand: np.zeros((), getattr(ml_dtypes, dtype))})


@formats
def test_inner_dimensions_that_differ(form, backend):
    with refuses(ValueError, "gemm_int", "a", "b", "(3, 5)", "(6, 7)"):
        call(backend, b=argument(codes((6, 7), 1, *form), *form))


def test_inner_dimension_of_nibbles_counts_nibbles_and_not_bytes(backend):
    # 5 nibbles and 6 of them take 3 bytes a row.
    with refuses(ValueError, "gemm_int", "a", "b", "(3, 6)", "(5, 7)"):
        call(backend, a=Int4Array.pack(codes((3, 6), 1, 4)))


def test_bytes_of_nibbles_do_not_stand_for_them(backend):
    with refuses(ValueError, "gemm_int", "a", "b", "(3, 3)", "(5, 7)"):
        call(backend, a=Int4Array.pack(codes((3, 5), 1, 4)).packed)


def test_zero_against_one_inner_dimension(backend):
    with refuses(ValueError, "gemm_int", "a", "b", "(3, 0)", "(1, 7)"):
        call(backend, a=codes((3, 0), 1), b=codes((1, 7), 1))


def test_leading_dimensions_that_do_not_broadcast(backend):
    with refuses(ValueError, "gemm_int", "a", "b", "(2, 3, 5)", "(4, 5, 7)"):
        call(backend, a=codes((2, 3, 5), 1), b=codes((4, 5, 7), 2))


@zero_points
@pytest.mark.parametrize("batch", [(), (2,)], ids=["matrix", "batch"])
@pytest.mark.parametrize("shape", [(1,), (5,), (0,), (3, 1), (1, 7), (2, 3), (2, 3, 1)], ids=str)
def test_zero_points_of_another_shape(name, size, operand, batch, shape, backend):
    with refuses(ValueError, "gemm_int", name, str(shape), f"({size},)"):
        call(backend, a=codes((*batch, 3, 5), 1), **{name: np.zeros(shape, np.int32)})


@pytest.mark.parametrize(
    ("name", "shape", "need"), [("a_zero_point", 7, 3), ("b_zero_point", 3, 7)]
)
def test_zero_points_of_the_other_operand(name, shape, need, backend):
    with refuses(ValueError, "gemm_int", name, f"({shape},)", f"({need},)"):
        call(backend, **{name: np.zeros(shape, np.int32)})


@zero_points
@formats
@pytest.mark.parametrize("end", [0, 1], ids=["below", "above"])
def test_zero_point_that_is_no_code_of_its_operand(name, size, operand, form, end, backend):
    shape = OPERANDS[operand].shape
    changed = {operand: argument(codes(shape, 1, *form), *form)}
    bad = code_range(*form, False)[end] + (-1, 1)[end]
    with refuses(ValueError, "gemm_int", name, str(bad)):
        call(backend, **changed, **{name: bad})


@looks_at_values
@zero_points
@formats
@pytest.mark.parametrize("end", [0, 1], ids=["below", "above"])
def test_one_zero_point_of_many_that_is_no_code(name, size, operand, form, end, backend):
    shape = OPERANDS[operand].shape
    changed = {operand: argument(codes(shape, 1, *form), *form)}
    bad = np.zeros(size, np.int16)
    bad[2] = code_range(*form, False)[end] + (-1, 1)[end]
    with refuses(ValueError, "gemm_int", name, str(bad[2]), "(2,)"):
        call(backend, **changed, **{name: bad})


@zero_points
@pytest.mark.parametrize("value", [10**30, -(10**30), 2**32, np.uint64(2**63)], ids=repr)
def test_zero_point_beyond_int32(name, size, operand, value, backend):
    with refuses(ValueError, "gemm_int", name, str(int(value))):
        call(backend, **{name: value})


@zero_points
@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "bool", only_numpys("object"), "complex64"]
)
@pytest.mark.parametrize("each", [False, True], ids=["one", "each"])
def test_zero_point_of_another_dtype(name, size, operand, dtype, each, backend):
    with refuses(TypeError, "gemm_int", name, dtype):
        call(backend, **{name: np.zeros(size if each else (), dtype)})


@numpys
@zero_points
def test_zero_points_of_swapped_bytes(name, size, operand, backend):
    swapped = np.zeros(size, np.dtype(np.int32).newbyteorder("S"))
    with refuses(TypeError, "gemm_int", name, "byte-swapped"):
        call(backend, **{name: swapped})


@zero_points
@pytest.mark.parametrize("value", [1.0, True, np.float32(1), np.True_, "1", [1]], ids=repr)
def test_zero_point_that_is_no_integer(name, size, operand, value, backend):
    with refuses(TypeError, "gemm_int", name):
        call(backend, **{name: value})


@zero_points
def test_masked_zero_points(name, size, operand, backend):
    with refuses(TypeError, "gemm_int", name, "MaskedArray"):
        call(backend, **{name: np.ma.masked_array(np.zeros(size, np.int32))})


# ---- The limit of k ----------------------------------------------------------------------------
# Bits and sign of an operand, and whether it has a zero point.
DEPTHS = [
    (((8, True), False), ((8, True), False)),
    (((8, True), True), ((8, True), False)),
    (((8, True), False), ((8, True), True)),
    (((8, True), True), ((8, True), True)),
    (((8, False), False), ((8, True), False)),
    (((8, True), False), ((8, False), False)),
    (((8, False), False), ((8, False), False)),
    (((8, False), True), ((8, False), True)),
    (((4, True), False), ((8, True), False)),
    (((8, True), False), ((4, True), True)),
    (((8, False), False), ((4, False), False)),
    (((4, True), True), ((8, False), False)),
]
depths = pytest.mark.parametrize(("of_a", "of_b"), DEPTHS, ids=str)


def deep(of_a, of_b, beyond):
    """Return no rows times no columns, so many steps deep, and the largest depth there may be."""
    most = largest_k(*(largest_difference(*form, shifted) for form, shifted in (of_a, of_b)))
    k = most + beyond
    arguments = {
        "a": argument(codes((0, k), 1, *of_a[0]), *of_a[0]),
        "b": argument(codes((k, 0), 1, *of_b[0]), *of_b[0]),
    }
    shifted = {"a_zero_point": of_a[1], "b_zero_point": of_b[1]}
    return arguments | {name: 0 for name, has in shifted.items() if has}, most


@depths
def test_k_beyond_the_limit(of_a, of_b, backend):
    arguments, most = deep(of_a, of_b, 1)
    with refuses(ValueError, "gemm_int", "k", str(most + 1), str(most), "a", "b", "int32"):
        backend.gemm_int(**arguments)


@depths
def test_k_at_the_limit_is_taken(of_a, of_b, backend):
    arguments, _ = deep(of_a, of_b, 0)
    assert backend.gemm_int(**arguments).shape == (0, 0)


@depths
def test_packed_matrix_beyond_the_limit(of_a, of_b, backend):
    arguments, most = deep(of_a, of_b, 1)
    packed = backend.prepack(arguments.pop("b"))
    with refuses(ValueError, "gemm_int", "k", str(most + 1), str(most)):
        backend.gemm_int(b=packed, **arguments)


# ---- Packed for something else -----------------------------------------------------------------
def test_matrix_packed_from_halves(backend):
    with refuses(TypeError, "gemm_int", "b", "float16", "integer"):
        call(backend, b=backend.prepack(halves((5, 7), 1)))


def test_packed_weights_of_a_layer(backend):
    with refuses(TypeError, "gemm_int", "b", "quantized", "integer"):
        call(backend, b=backend.prepack(tensor((7, 5), 1)))


@formats
def test_packed_matrix_is_never_operand_a(form, backend):
    with refuses(TypeError, "gemm_int", "a", "PackedMatrix"):
        call(backend, a=backend.prepack(argument(codes((3, 5), 1, *form), *form)))


@formats
def test_packed_matrix_of_another_depth(form, backend):
    packed = backend.prepack(argument(codes((6, 7), 1, *form), *form))
    with refuses(ValueError, "gemm_int", "a", "b", "(3, 5)", "(6, 7)"):
        call(backend, b=packed)


@formats
def test_zero_point_that_is_no_code_of_a_packed_matrix(form, backend):
    packed = backend.prepack(argument(codes((5, 7), 1, *form), *form))
    bad = code_range(*form, False)[1] + 1
    with refuses(ValueError, "gemm_int", "b_zero_point", str(bad)):
        call(backend, b=packed, b_zero_point=bad)
