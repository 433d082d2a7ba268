# SPDX-License-Identifier: Apache-2.0
"""Bad products and layers are refused: function, argument, what it got, what it needs."""

import numpy as np
import pytest

from assertions import refuses
from halfbyte_reference.inputs import halves

A, B, C = halves((3, 5), 1), halves((5, 7), 2), np.ones((3, 7), np.float32)
W = halves((7, 5), 3)
OPERANDS = {"gemm_f16": {"a": A, "b": B}, "linear": {"x": A, "w": W}}
SLOTS = [("gemm_f16", "a"), ("gemm_f16", "b"), ("linear", "x"), ("linear", "w")]

slots = pytest.mark.parametrize(("function", "argument"), SLOTS)
functions = pytest.mark.parametrize("function", ["gemm_f16", "linear"])


def call(backend, function, **changed):
    """Call `function` on good operands but for what `changed` names."""
    return getattr(backend, function)(**OPERANDS[function] | changed)


@slots
@pytest.mark.parametrize("dtype", ["float64", "int8", "int64", "bool", "complex64", "object"])
def test_operand_of_another_dtype(function, argument, dtype, backend):
    with refuses(TypeError, function, argument, dtype, "float16"):
        call(backend, function, **{argument: OPERANDS[function][argument].astype(dtype)})


@pytest.mark.parametrize(("function", "argument"), [slot for slot in SLOTS if slot[1] != "x"])
def test_float32_operand_is_not_cast_silently(function, argument, backend):
    with refuses(TypeError, function, argument, "float32", "float16"):
        call(backend, function, **{argument: np.float32(OPERANDS[function][argument])})


@slots
def test_operand_of_swapped_bytes(function, argument, backend):
    operand = OPERANDS[function][argument]
    swapped = operand.astype(operand.dtype.newbyteorder("S"))
    with refuses(TypeError, function, argument, swapped.dtype.str):
        call(backend, function, **{argument: swapped})


@slots
def test_bfloat16_operand(function, argument, backend, ml_dtypes):
    bfloat16 = ml_dtypes.bfloat16
    with refuses(TypeError, function, argument, "bfloat16", "float16"):
        call(backend, function, **{argument: OPERANDS[function][argument].astype(bfloat16)})


@slots
@pytest.mark.parametrize(
    "operand",
    [[[1.0]], ((1.0,),), 1.0, "ab", b"ab", None, memoryview(b"ab")],
    ids=lambda x: type(x).__name__,
)
def test_operand_that_is_no_array(function, argument, operand, backend):
    with refuses(TypeError, function, argument, type(operand).__name__):
        call(backend, function, **{argument: operand})


@slots
def test_masked_operand(function, argument, backend):
    masked = np.ma.masked_array(OPERANDS[function][argument], mask=False)
    with refuses(TypeError, function, argument, "MaskedArray"):
        call(backend, function, **{argument: masked})


@pytest.mark.parametrize("argument", ["a", "b"])
@pytest.mark.parametrize("shape", [(), (5,)], ids=str)
def test_operand_with_too_few_dimensions(argument, shape, backend):
    with refuses(ValueError, "gemm_f16", argument, str(shape)):
        call(backend, "gemm_f16", **{argument: np.zeros(shape, np.float16)})


def test_layer_of_a_scalar(backend):
    with refuses(ValueError, "linear", "x", "()"):
        call(backend, "linear", x=np.zeros((), np.float16))


@pytest.mark.parametrize("shape", [(), (5,), (2, 7, 5)], ids=str)
def test_weights_that_are_no_matrix(shape, backend):
    with refuses(ValueError, "linear", "w", str(shape)):
        call(backend, "linear", w=np.zeros(shape, np.float16))


def test_inner_dimensions_that_differ(backend):
    with refuses(ValueError, "gemm_f16", "a", "b", "(3, 5)", "(6, 7)"):
        call(backend, "gemm_f16", b=halves((6, 7), 1))


def test_inner_dimensions_of_a_layer_that_differ(backend):
    with refuses(ValueError, "linear", "x", "w", "(3, 5)", "(7, 6)"):
        call(backend, "linear", w=halves((7, 6), 1))


def test_zero_against_one_inner_dimension(backend):
    with refuses(ValueError, "gemm_f16", "a", "b", "(3, 0)", "(1, 7)"):
        call(backend, "gemm_f16", a=halves((3, 0), 1), b=halves((1, 7), 1))


def test_leading_dimensions_that_do_not_broadcast(backend):
    with refuses(ValueError, "gemm_f16", "a", "b", "(2, 3, 5)", "(4, 5, 7)"):
        call(backend, "gemm_f16", a=halves((2, 3, 5), 1), b=halves((4, 5, 7), 2))


@functions
@pytest.mark.parametrize("shape", [(), (1,), (6,), (3, 7), (1, 7)], ids=str)
def test_bias_of_another_shape(function, shape, backend):
    with refuses(ValueError, function, "bias", str(shape), "(7,)"):
        call(backend, function, bias=np.zeros(shape, np.float32))


@functions
@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_bias_of_another_dtype(function, dtype, backend):
    with refuses(TypeError, function, "bias", dtype, "float32"):
        call(backend, function, bias=np.zeros(7, dtype))


@functions
def test_bias_that_is_no_array(function, backend):
    with refuses(TypeError, function, "bias", "list"):
        call(backend, function, bias=[0.0] * 7)


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(7, 3), (6,), (2, 3, 7), (1, 3, 7)], ids=str)
def test_c_that_does_not_broadcast_to_the_product(shape, beta, backend):
    with refuses(ValueError, "gemm_f16", "c", str(shape), "(3, 7)"):
        call(backend, "gemm_f16", c=np.zeros(shape, np.float32), beta=beta)


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_c_of_another_dtype(dtype, beta, backend):
    with refuses(TypeError, "gemm_f16", "c", dtype, "float32"):
        call(backend, "gemm_f16", c=C.astype(dtype), beta=beta)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_c_that_is_no_array(beta, backend):
    with refuses(TypeError, "gemm_f16", "c", "float"):
        call(backend, "gemm_f16", c=1.0, beta=beta)


def test_beta_without_c(backend):
    with refuses(ValueError, "gemm_f16", "beta", "c", "0.5"):
        call(backend, "gemm_f16", beta=0.5)


@pytest.mark.parametrize("argument", ["alpha", "beta"])
@pytest.mark.parametrize(
    "value",
    [np.nan, np.inf, -np.inf, 1e39, -1e39, 10**400],
    ids=lambda x: f"{x:.3}" if isinstance(x, float) else "10**400",
)
def test_coefficient_that_is_not_finite_in_fp32(argument, value, backend):
    with refuses(ValueError, "gemm_f16", argument):
        call(backend, "gemm_f16", **{"c": C, argument: value})


@pytest.mark.parametrize("argument", ["alpha", "beta"])
@pytest.mark.parametrize("value", ["1", None, 1j, [1.0], np.ones(2, np.float32)], ids=repr)
def test_coefficient_that_is_no_real_number(argument, value, backend):
    with refuses(TypeError, "gemm_f16", argument, type(value).__name__):
        call(backend, "gemm_f16", **{"c": C, argument: value})


@functions
@pytest.mark.parametrize("name", ["tanh", "", "RELU"])
def test_unknown_activation(function, name, backend):
    with refuses(ValueError, function, "activation", repr(name), "relu", "gelu", "silu"):
        call(backend, function, activation=name)


@functions
@pytest.mark.parametrize("value", [np.tanh, 1, ["relu"]], ids=["function", "int", "list"])
def test_activation_that_is_no_name(function, value, backend):
    with refuses(TypeError, function, "activation", type(value).__name__):
        call(backend, function, activation=value)


@functions
@pytest.mark.parametrize("dtype", ["float64", "int8", "bool", ">f2"])
def test_out_dtype_that_is_neither_float32_nor_float16(function, dtype, backend):
    with refuses(TypeError, function, "out_dtype", dtype, "float32", "float16"):
        call(backend, function, out_dtype=np.dtype(dtype))


@functions
@pytest.mark.parametrize("value", ["no such dtype", 3, [1]], ids=repr)
def test_out_dtype_that_names_no_dtype(function, value, backend):
    with refuses(TypeError, function, "out_dtype"):
        call(backend, function, out_dtype=value)


@functions
def test_out_dtype_that_disagrees_with_out(function, backend):
    with refuses(TypeError, function, "out_dtype", "out", "float16", "float32"):
        call(backend, function, out=C.copy(), out_dtype=np.float16)


@functions
@pytest.mark.parametrize("shape", [(7, 3), (3, 8), (7,), (1, 3, 7), ()], ids=str)
def test_out_of_another_shape(function, shape, backend):
    with refuses(ValueError, function, "out", str(shape), "(3, 7)"):
        call(backend, function, out=np.zeros(shape, np.float32))


@functions
@pytest.mark.parametrize("dtype", ["float64", "int32", "object", ">f4"])
def test_out_of_another_dtype(function, dtype, backend):
    with refuses(TypeError, function, "out", dtype):
        call(backend, function, out=np.zeros((3, 7), dtype))


@functions
def test_out_that_is_no_array(function, backend):
    with refuses(TypeError, function, "out", "list"):
        call(backend, function, out=[[0.0] * 7] * 3)


@functions
def test_masked_out(function, backend):
    with refuses(TypeError, function, "out", "MaskedArray"):
        call(backend, function, out=np.ma.masked_array(C.copy()))


@functions
def test_read_only_out(function, backend):
    out = C.copy()
    out.flags.writeable = False
    with refuses(ValueError, function, "out", "read-only"):
        call(backend, function, out=out)


@pytest.mark.parametrize(
    "bad",
    [{"bias": np.zeros(6, np.float32)}, {"alpha": np.nan}, {"beta": 1.0}, {"activation": "tanh"}],
    ids=lambda bad: next(iter(bad)),
)
def test_refusal_leaves_out_alone(bad, backend):
    out = np.full((3, 7), 42, np.float32)
    with refuses(ValueError, "gemm_f16"):
        call(backend, "gemm_f16", out=out, **bad)
    assert (out == 42).all()
