# SPDX-License-Identifier: Apache-2.0
"""Bad layers with quantized weights are refused: what they got, what they need."""

import numpy as np
import pytest

from assertions import refuses
from halfbyte import Int4Array, QuantizedTensor
from halfbyte_reference import largest_difference, largest_k
from halfbyte_reference.inputs import floats, halves
from halfbyte_reference.inputs_quantized import codes
from quantized_tensors import tensor

X, BIAS = floats((3, 5), 1), floats(7, 2)
W8 = tensor((7, 5), 3, axis=0)
W4 = tensor((7, 5), 4, bits=4, group_size=2, affine=True)
X8 = tensor((3, 5), 5, affine=True)
W16 = halves((7, 5), 6)

weights = pytest.mark.parametrize("w", [W8, W4], ids=["w8", "w4"])
every_weight = pytest.mark.parametrize("w", [W8, W4, W16], ids=["w8", "w4", "w16"])
packings = pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
x_widths = pytest.mark.parametrize("x_bits", [8, 16])


def call(backend, w=W8, packed=False, **changed):
    """Apply a good layer but for what `changed` names."""
    if packed:
        w = backend.prepack(w if isinstance(w, QuantizedTensor) else w.T)
    return backend.linear(**{"x": X, "w": w} | changed)


# ---- x -----------------------------------------------------------------------------------------
@weights
@packings
@x_widths
@pytest.mark.parametrize("dtype", ["float64", "int8", "uint8", "int64", "bool", "object", ">f4"])
def test_x_of_another_dtype(w, packed, x_bits, dtype, backend):
    with refuses(TypeError, "linear", "x", dtype, "float32", "float16", "QuantizedTensor"):
        call(backend, w, packed, x=np.zeros((3, 5), dtype), x_bits=x_bits)


@packings
@pytest.mark.parametrize("x", [[[1.0]], 1.0, None, "ab"], ids=repr)
def test_x_that_is_no_array(x, packed, backend):
    with refuses(TypeError, "linear", "x", type(x).__name__):
        call(backend, packed=packed, x=x)


def test_x_of_nibbles_without_a_scale(backend):
    with refuses(TypeError, "linear", "x", "Int4Array"):
        call(backend, x=Int4Array.pack(codes((3, 5), 1, 4)))


@weights
@packings
@pytest.mark.parametrize("x", [X[0, 0], QuantizedTensor(np.int8([1]).reshape(()), 0.5)], ids=type)
def test_layer_of_a_scalar(w, packed, x, backend):
    with refuses(ValueError, "linear", "x", "()"):
        call(backend, w, packed, x=x if isinstance(x, QuantizedTensor) else np.asarray(x))


@weights
@pytest.mark.parametrize("make", [floats, tensor], ids=["numbers", "codes"])
@pytest.mark.parametrize("shape", [(3, 6), (6,), (5, 1), (5, 0), (2, 3, 4)], ids=str)
def test_inner_dimensions_that_differ(w, make, shape, backend):
    with refuses(ValueError, "linear", "x", "w", str(shape), "(7, 5)"):
        call(backend, w, x=make(shape, 1))


@weights
@pytest.mark.parametrize("make", [floats, tensor], ids=["numbers", "codes"])
def test_packed_weights_of_another_depth(w, make, backend):
    with refuses(ValueError, "linear", "x", "w", "(3, 6)", "5"):
        call(backend, w, packed=True, x=make((3, 6), 1))


def test_float16_weights_packed_as_quantized_ones_are(backend):
    with refuses(ValueError, "linear", "x", "(3, 5)", "k = 7", "prepack(w.T)"):
        call(backend, backend.prepack(W16))


def test_inner_dimension_of_nibbles_counts_nibbles_and_not_bytes(backend):
    # 5 nibbles and 6 of them take 3 bytes a row.
    with refuses(ValueError, "linear", "x", "w", "(3, 6)", "(7, 5)"):
        call(backend, x=tensor((3, 6), 1, bits=4))


@packings
@pytest.mark.parametrize("bits", [2, 3])
def test_codes_of_few_bits_as_x(bits, packed, backend):
    with refuses(ValueError, "linear", "x", str(bits), "8", "4"):
        call(backend, packed=packed, x=tensor((3, 5), 1, bits=bits))


@packings
@pytest.mark.parametrize("axis", [2, -1])
def test_x_with_scales_along_its_last_axis(axis, packed, backend):
    x = tensor((2, 3, 5), 1)
    scale = np.ones(5, np.float32)
    x = QuantizedTensor(x.values, scale, axis=axis)
    with refuses(ValueError, "linear", "x", "axis 2"):
        call(backend, packed=packed, x=x)


@packings
def test_vector_with_a_scale_for_each_element(packed, backend):
    with refuses(ValueError, "linear", "x", "axis 0"):
        call(backend, packed=packed, x=tensor((5,), 1, axis=0))


@packings
@pytest.mark.parametrize("group_size", [2, 5, 100])
def test_grouped_x(group_size, packed, backend):
    with refuses(ValueError, "linear", "x", "group_size", str(group_size)):
        call(backend, packed=packed, x=tensor((3, 5), 1, group_size=group_size))


@weights
@packings
def test_codes_as_x_of_a_weight_only_layer(w, packed, backend):
    with refuses(TypeError, "linear", "x", "QuantizedTensor", "x_bits", "16"):
        call(backend, w, packed, x=X8, x_bits=16)


@packings
@x_widths
def test_codes_as_x_with_float16_weights(packed, x_bits, backend):
    with refuses(TypeError, "linear", "x", "QuantizedTensor", "w", "float16"):
        call(backend, W16, packed, x=X8, x_bits=x_bits)


@every_weight
@packings
@pytest.mark.parametrize("x_bits", [4, 0, 32, -8])
def test_other_widths_of_x(w, packed, x_bits, backend):
    with refuses(ValueError, "linear", "x_bits", str(x_bits), "8", "16"):
        call(backend, w, packed, x_bits=x_bits)


@every_weight
@packings
@pytest.mark.parametrize("x_bits", [8.0, "8", None, True], ids=repr)
def test_width_of_x_that_is_no_integer(w, packed, x_bits, backend):
    with refuses(TypeError, "linear", "x_bits", type(x_bits).__name__):
        call(backend, w, packed, x_bits=x_bits)


# ---- w -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(5,), (2, 7, 5)], ids=str)
def test_quantized_weights_that_are_no_matrix(shape, backend):
    with refuses(ValueError, "linear", "w", str(shape)):
        call(backend, tensor(shape, 1))


@x_widths
@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("bits", [8, 4])
def test_weights_with_scales_along_k(axis, bits, x_bits, backend):
    with refuses(ValueError, "linear", "w", "axis 1"):
        call(backend, tensor((7, 5), 1, bits=bits, axis=axis), x_bits=x_bits)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float32"])
def test_weights_of_another_dtype(dtype, backend):
    with refuses(TypeError, "linear", "w", dtype, "float16", "QuantizedTensor"):
        call(backend, np.zeros((7, 5), dtype))


def test_weights_of_nibbles_without_a_scale(backend):
    with refuses(TypeError, "linear", "w", "Int4Array"):
        call(backend, Int4Array.pack(codes((7, 5), 1, 4)))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int4", "uint4"])
@pytest.mark.parametrize("x", [X, X8], ids=["numbers", "codes"])
def test_matrix_packed_for_integer_products(kind, x, backend):
    b = codes((5, 7), 1, int(kind[-1]), kind.startswith("int"))
    packed = backend.prepack(Int4Array.pack(b, kind == "int4") if kind.endswith("4") else b)
    with refuses(TypeError, "linear", "w", kind, "QuantizedTensor"):
        call(backend, packed, x=x)


def test_packed_weights_of_a_layer_are_no_operand_of_halves(backend):
    with refuses(TypeError, "gemm_f16", "b", "quantized", "float16"):
        backend.gemm_f16(X.astype(np.float16), backend.prepack(W8))


# ---- The limit of k ----------------------------------------------------------------------------
# Bits, sign and whether it has zero points, of x (None: rows quantized in the call) and of w.
DEPTHS = [
    (None, (8, True, False)),
    (None, (8, True, True)),
    (None, (8, False, True)),
    (None, (4, True, False)),
    (None, (3, True, True)),
    (None, (2, False, True)),
    ((8, True, False), (8, True, False)),
    ((8, True, True), (8, True, False)),
    ((8, False, True), (8, False, True)),
    ((4, True, False), (8, True, True)),
]
depths = pytest.mark.parametrize(("of_x", "of_w"), DEPTHS, ids=str)


def deep_layer(of_x, of_w, beyond, group=None):
    """Return no rows of x, weights so deep, and the largest depth there may be.

    group: how much longer than the largest depth a group of k is, if there are groups.
    """
    most = largest_k(*(largest_difference(*form) for form in (of_x or (8, True, False), of_w)))
    k = most + beyond
    bits, signed, affine = of_w
    size = None if group is None else most + group
    w = tensor((1, k), 1, bits=bits, signed=signed, affine=affine, group_size=size)
    if of_x is None:
        return np.zeros((0, k), np.float32), w, most
    bits, signed, affine = of_x
    return tensor((0, k), 1, bits=bits, signed=signed, affine=affine), w, most


@depths
@packings
def test_k_beyond_the_limit(of_x, of_w, packed, backend):
    x, w, most = deep_layer(of_x, of_w, 1)
    with refuses(ValueError, "linear", "k", str(most + 1), str(most), "x", "w", "int32"):
        call(backend, w, packed, x=x)


@depths
@packings
def test_k_at_the_limit_is_taken(of_x, of_w, packed, backend):
    x, w, _ = deep_layer(of_x, of_w, 0)
    assert call(backend, w, packed, x=x).shape == (0, 1)


@depths
@packings
def test_group_beyond_the_limit(of_x, of_w, packed, backend):
    x, w, most = deep_layer(of_x, of_w, 5, group=1)
    with refuses(ValueError, "linear", "group_size", str(most + 1), str(most), "int32"):
        call(backend, w, packed, x=x)


@depths
@packings
def test_groups_at_the_limit_are_taken_however_large_k_is(of_x, of_w, packed, backend):
    x, w, _ = deep_layer(of_x, of_w, 5, group=0)
    assert call(backend, w, packed, x=x).shape == (0, 1)


@depths
@packings
def test_group_longer_than_k_is_as_long_as_k(of_x, of_w, packed, backend):
    x, w, _ = deep_layer(of_x, of_w, 0, group=100)
    assert call(backend, w, packed, x=x).shape == (0, 1)


@packings
def test_weight_only_layer_has_no_limit_of_k(packed, backend):
    x, w, _ = deep_layer(None, (8, True, True), 100)
    assert call(backend, w, packed, x=x, x_bits=16).shape == (0, 1)


# ---- bias, activation --------------------------------------------------------------------------
@weights
@packings
@x_widths
@pytest.mark.parametrize("shape", [(), (1,), (6,), (3, 7), (1, 7)], ids=str)
def test_bias_of_another_shape(w, packed, x_bits, shape, backend):
    with refuses(ValueError, "linear", "bias", str(shape), "(7,)"):
        call(backend, w, packed, bias=np.zeros(shape, np.float32), x_bits=x_bits)


@weights
@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_bias_of_another_dtype(w, dtype, backend):
    with refuses(TypeError, "linear", "bias", dtype, "float32"):
        call(backend, w, bias=np.zeros(7, dtype))


@every_weight
@packings
@pytest.mark.parametrize("bias", [[0.0] * 7, 1.0, np.float32(1), "1"], ids=repr)
def test_bias_that_is_no_array(w, packed, bias, backend):
    with refuses(TypeError, "linear", "bias", type(bias).__name__):
        call(backend, w, packed, bias=bias)


@weights
@packings
@pytest.mark.parametrize("name", ["tanh", "", "RELU"])
def test_unknown_activation(w, packed, name, backend):
    with refuses(ValueError, "linear", "activation", repr(name), "relu", "gelu", "silu"):
        call(backend, w, packed, activation=name)
