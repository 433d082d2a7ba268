# SPDX-License-Identifier: Apache-2.0
"""A layer cannot return codes or numbers of a kind there is not: what it got, what it needs."""

import numpy as np
import pytest

from assertions import refuses
from backends import looks_at_values
from halfbyte import QuantizedTensor
from halfbyte_reference.inputs import floats, halves
from quantized_tensors import tensor

X = floats((3, 5), 1)
W8 = tensor((7, 5), 3, axis=0)
W4 = tensor((7, 5), 4, bits=4, group_size=2, affine=True)
W16 = halves((7, 5), 6)
TO_CODES = {"out_scale": 0.25}

every_weight = pytest.mark.parametrize("w", [W8, W4, W16], ids=["w8", "w4", "w16"])
packings = pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])


def call(backend, w=W8, packed=False, **changed):
    """Apply a good layer but for what `changed` names."""
    if packed:
        w = backend.prepack(w if isinstance(w, QuantizedTensor) else w.T)
    return backend.linear(**{"x": X, "w": w} | changed)


@every_weight
@packings
@pytest.mark.parametrize("scale", [0.0, -0.0, -1.0, np.nan, np.inf, 1e-46, 1e39, 10**400, 0])
def test_scale_of_the_result_that_is_not_positive_and_finite(w, packed, scale, backend):
    with refuses(ValueError, "linear", "out_scale"):
        call(backend, w, packed, out_scale=scale)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize(
    "make",
    [np.float32, pytest.param(lambda x: np.asarray(x, np.float32), marks=looks_at_values)],
)
def test_float32_scale_of_the_result_that_is_not_positive_and_finite(make, bad, backend):
    with refuses(ValueError, "linear", "out_scale"):
        call(backend, out_scale=make(bad))


@pytest.mark.parametrize(
    "scale", [np.float64(1), np.array(1.0), np.float16(1), np.int64(1), True, "1", [1.0]], ids=repr
)
def test_scale_of_the_result_that_is_no_float32(scale, backend):
    with refuses(TypeError, "linear", "out_scale"):
        call(backend, out_scale=scale)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 1)], ids=str)
def test_several_scales_of_the_result(shape, backend):
    with refuses(ValueError, "linear", "out_scale", str(shape), "()"):
        call(backend, out_scale=np.ones(shape, np.float32))


@every_weight
@packings
def test_zero_point_of_the_result_without_a_scale(w, packed, backend):
    with refuses(ValueError, "linear", "out_zero_point", "out_scale"):
        call(backend, w, packed, out_zero_point=0)


@every_weight
@pytest.mark.parametrize(
    ("dtype", "bad"), [("int8", -129), ("int8", 128), ("uint8", -1), ("uint8", 256)]
)
def test_zero_point_of_the_result_that_is_no_code(w, dtype, bad, backend):
    with refuses(ValueError, "linear", "out_zero_point", str(bad)):
        call(backend, w, **TO_CODES, out_dtype=dtype, out_zero_point=bad)


@pytest.mark.parametrize("zero_point", [1.0, np.float32(1), True, "1", [1]], ids=repr)
def test_zero_point_of_the_result_that_is_no_integer(zero_point, backend):
    with refuses(TypeError, "linear", "out_zero_point"):
        call(backend, **TO_CODES, out_zero_point=zero_point)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 1)], ids=str)
def test_several_zero_points_of_the_result(shape, backend):
    with refuses(ValueError, "linear", "out_zero_point", str(shape), "()"):
        call(backend, **TO_CODES, out_zero_point=np.zeros(shape, np.int32))


@every_weight
@packings
def test_unsigned_result_without_a_zero_point(w, packed, backend):
    with refuses(ValueError, "linear", "out_zero_point", "uint8"):
        call(backend, w, packed, **TO_CODES, out_dtype=np.uint8)


def test_unsigned_out_without_a_zero_point(backend):
    with refuses(ValueError, "linear", "out_zero_point", "uint8"):
        call(backend, **TO_CODES, out=np.zeros((3, 7), np.uint8))


@every_weight
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int16", "bool"])
def test_codes_of_another_dtype(w, dtype, backend):
    with refuses(TypeError, "linear", "out_dtype", dtype, "int8", "uint8"):
        call(backend, w, **TO_CODES, out_dtype=np.dtype(dtype))


@every_weight
@packings
@pytest.mark.parametrize("dtype", ["int8", "uint8", "float64", "int32", ">f4"])
def test_numbers_of_another_dtype(w, packed, dtype, backend):
    with refuses(TypeError, "linear", "out_dtype", dtype, "float32", "float16"):
        call(backend, w, packed, out_dtype=np.dtype(dtype))


@pytest.mark.parametrize("value", ["no such dtype", 3, [1]], ids=repr)
@pytest.mark.parametrize("named", [{}, TO_CODES], ids=["numbers", "codes"])
def test_out_dtype_that_names_no_dtype(value, named, backend):
    with refuses(TypeError, "linear", "out_dtype"):
        call(backend, **named, out_dtype=value)


BAD_CALLS = {
    "bias": {"bias": np.zeros(6, np.float32)},
    "activation": {"activation": "tanh"},
    "x_bits": {"x_bits": 4},
    "x": {"x": floats((3, 6), 1)},
    "w": {"w": tensor((7, 5), 1, axis=1)},
    "zero point": {"out_zero_point": 0},
    "k": {"x": np.zeros((3, 131072), np.float32), "w": tensor((7, 131072), 1)},
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_refusal_leaves_out_alone(name, backend):
    out = np.full((3, 7), 42, np.float32)
    with refuses(ValueError, "linear"):
        call(backend, out=out, **BAD_CALLS[name])
    assert (out == 42).all()


@every_weight
@pytest.mark.parametrize("named", [{"out_scale": -1.0}, {"out_scale": 1.0, "out_zero_point": 128}])
def test_refusal_leaves_room_for_codes_alone(w, named, backend):
    out = np.full((3, 7), 42, np.int8)
    with refuses(ValueError, "linear"):
        call(backend, w, out=out, **named)
    assert (out == 42).all()
