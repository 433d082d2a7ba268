# SPDX-License-Identifier: Apache-2.0
"""Where results of integers go: an `out` that fits, is writeable, shares memory with no input."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from assertions import assert_same_bits, refuses
from backends import only_numpys, without
from halfbyte import Int4Array, QuantizedTensor
from halfbyte_reference import gemm_int, linear_int, pack_nibbles
from halfbyte_reference.inputs import floats, halves
from halfbyte_reference.inputs_quantized import codes
from quantized_tensors import tensor

A, B = codes((3, 5), 1), codes((5, 7), 2)
X, W = floats((3, 5), 3), tensor((7, 5), 4, axis=0, affine=True)
TO_CODES = {"x": X, "w": W, "out_scale": 0.25}
CALLS = {
    "product": ("gemm_int", {"a": A, "b": B}, np.int32),
    "numbers": ("linear", {"x": X, "w": W}, np.float32),
    "codes": ("linear", TO_CODES, np.int8),
    "codes of halves": ("linear", TO_CODES | {"w": halves((7, 5), 5)}, np.int8),
}
DTYPES = (
    "float64",
    "float32",
    "int64",
    "int32",
    "uint32",
    "int16",
    "int8",
    "bool",
    "object",
    ">i4",
)
calls = pytest.mark.parametrize("name", CALLS)


def call(backend, name, out, **changed):
    function, arguments, _ = CALLS[name]
    return getattr(backend, function)(**arguments | changed, out=out)


@calls
@pytest.mark.parametrize("shape", [(7, 3), (3, 8), (7,), (1, 3, 7), ()], ids=str)
def test_out_of_another_shape(name, shape, backend):
    function, _, dtype = CALLS[name]
    with refuses(ValueError, function, "out", str(shape), "(3, 7)"):
        call(backend, name, np.zeros(shape, dtype))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (only_numpys if dtype in ("object", ">i4") else pytest.param)(name, dtype)
        for name in CALLS
        for dtype in DTYPES
        if np.dtype(dtype) != CALLS[name][2]
    ],
)
def test_out_of_another_dtype(name, dtype, backend):
    function, _, need = CALLS[name]
    with refuses(TypeError, function, "out", dtype, np.dtype(need).name):
        call(backend, name, np.zeros((3, 7), dtype))


@calls
@pytest.mark.parametrize("out", [[[0] * 7] * 3, 0, 1.0, np.int32(1), "1"], ids=repr)
def test_out_that_is_no_array(name, out, backend):
    with refuses(TypeError, CALLS[name][0], "out", type(out).__name__):
        call(backend, name, out)


@calls
def test_masked_out(name, backend):
    function, _, dtype = CALLS[name]
    with refuses(TypeError, function, "out", "MaskedArray"):
        call(backend, name, np.ma.masked_array(np.zeros((3, 7), dtype)))


@pytest.mark.parametrize("out", [0, 1.0, np.int8(1)], ids=repr)
def test_number_is_no_out_of_requantized_sums(out, backend):
    with refuses(TypeError, "requantize", "out", type(out).__name__):
        backend.requantize(gemm_int(A, B), 0.5, out=out)


def test_tensor_to_put_codes_into(backend):
    with refuses(TypeError, "linear", "out", "QuantizedTensor"):
        call(backend, "codes", tensor((3, 7), 1))


@calls
def test_read_only_out(name, backend):
    function, _, dtype = CALLS[name]
    out = np.zeros((3, 7), dtype)
    out.flags.writeable = False
    with refuses(ValueError, function, "out", "read-only"):
        call(backend, name, out)


@calls
@pytest.mark.parametrize("steps", [(0, 1), (1, 1), (7, 0), (2, 1)], ids=str)
def test_out_that_overlaps_itself(name, steps, backend):
    function, _, dtype = CALLS[name]
    memory = np.zeros(40, dtype)
    with refuses(ValueError, function, "out", "overlap"):
        call(backend, name, as_strided(memory, (3, 7), [s * memory.itemsize for s in steps]))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_out_dtype_that_disagrees_with_out(dtype, backend):
    other = {"float16": np.float32, "float32": np.float16}[dtype]
    with refuses(TypeError, "linear", "out_dtype", "out", "float16", "float32"):
        call(backend, "numbers", np.zeros((3, 7), other), out_dtype=dtype)


@pytest.mark.parametrize("name", ["codes", "codes of halves"])
def test_out_dtype_of_codes_that_disagrees_with_out(name, backend):
    with refuses(TypeError, "linear", "out_dtype", "out", "int8", "uint8"):
        call(backend, name, np.zeros((3, 7), np.int8), out_dtype=np.uint8, out_zero_point=3)


# ---- Shared memory -----------------------------------------------------------------------------
def inside(memory, values):
    """Return a copy of `values` in this memory, from byte 4 on."""
    values = np.asarray(values)
    place = memory[4 : 4 + values.nbytes].view(values.dtype).reshape(values.shape)
    place[...] = values
    return place


NIBBLES = {"a": codes((3, 5), 1, 4), "b": codes((5, 7), 2, 4)}
ZERO_POINTS = {
    "a_zero_point": [np.int32(1), np.int32([1, 2, 3])],
    "b_zero_point": [np.int8(1), codes(7, 3)],
}


def assert_product_is_refused(backend, memory, **shared):
    (argument,) = shared
    before = memory.tobytes()
    with refuses(ValueError, "gemm_int", "out", argument):
        call(backend, "product", memory[:84].view(np.int32).reshape(3, 7), **shared)
    assert memory.tobytes() == before


@pytest.mark.parametrize("argument", ["a", "b"])
def test_product_that_shares_bytes_with_an_operand(argument, backend):
    memory = np.zeros(400, np.uint8)
    shared = inside(memory, CALLS["product"][1][argument])
    assert_product_is_refused(backend, memory, **{argument: shared})


@pytest.mark.parametrize("argument", ["a", "b"])
def test_product_that_shares_bytes_with_nibbles(argument, backend):
    memory, values = np.zeros(400, np.uint8), NIBBLES[argument]
    shared = Int4Array(inside(memory, pack_nibbles(values)), values.shape)
    assert_product_is_refused(backend, memory, **{argument: shared})


@without("ptx", "cuda", reason="there is no such array")
@pytest.mark.parametrize("argument", ["a", "b"])
def test_product_that_shares_bytes_with_nibbles_of_ml_dtypes(argument, backend, ml_dtypes):
    memory = np.zeros(400, np.uint8)
    shared = inside(memory, NIBBLES[argument].astype(ml_dtypes.int4))
    assert_product_is_refused(backend, memory, **{argument: shared})


@pytest.mark.parametrize("argument", ZERO_POINTS)
@pytest.mark.parametrize("each", [0, 1], ids=["one", "each"])
def test_product_that_shares_bytes_with_zero_points(argument, each, backend):
    memory = np.zeros(400, np.uint8)
    shared = inside(memory, ZERO_POINTS[argument][each])
    assert_product_is_refused(backend, memory, **{argument: shared})


def with_part(q, part, place):
    """Return the tensor with one of its arrays in another place."""
    parts = {name: getattr(q, name) for name in ("values", "scale", "zero_point")} | {part: place}
    return QuantizedTensor(
        **parts, bits=q.bits, axis=q.axis, group_size=q.group_size, signed=q.signed, shape=q.shape
    )


@pytest.mark.parametrize("name", ["numbers", "codes"])
@pytest.mark.parametrize("argument", ["x", "w"])
@pytest.mark.parametrize("part", ["values", "scale", "zero_point"])
@pytest.mark.parametrize("bits", [8, 4])
def test_layer_that_shares_bytes_with_a_tensor(name, argument, part, bits, backend):
    memory = np.zeros(400, np.uint8)
    q = tensor((3, 5) if argument == "x" else (7, 5), 1, bits=bits, axis=0, affine=True)
    q = with_part(q, part, inside(memory, getattr(q, part)))
    before = memory.tobytes()
    dtype = np.dtype(CALLS[name][2])
    out = memory[: 21 * dtype.itemsize].view(dtype).reshape(3, 7)
    with refuses(ValueError, "linear", "out", argument):
        call(backend, name, out, **{argument: q})
    assert memory.tobytes() == before


LAYER_INPUTS = {
    "x": floats((3, 5), 1),
    "bias": floats(7, 1),
    "out_scale": np.float32(0.5),
    "out_zero_point": np.int32(3),
}


@pytest.mark.parametrize("name", ["codes", "codes of halves"])
@pytest.mark.parametrize("argument", LAYER_INPUTS)
def test_layer_that_shares_bytes_with_an_input(name, argument, backend):
    memory = np.zeros(400, np.uint8)
    shared = inside(memory, LAYER_INPUTS[argument])
    before = memory.tobytes()
    out = memory[:21].view(np.int8).reshape(3, 7)
    with refuses(ValueError, "linear", "out", argument):
        call(backend, name, out, **{argument: shared})
    assert memory.tobytes() == before


def test_codes_over_float16_weights_are_refused(backend):
    memory = np.zeros(400, np.uint8)
    w = inside(memory, halves((7, 5), 1))
    with refuses(ValueError, "linear", "out", "w"):
        call(backend, "codes", memory[:21].view(np.int8).reshape(3, 7), w=w)


def test_out_at_the_address_of_an_input_is_refused_whatever_its_dtype(backend):
    out = np.zeros((3, 3), np.int32)
    a = out.view(np.int8)[:, :3]
    with refuses(ValueError, "gemm_int", "out", "a"):
        backend.gemm_int(a, codes((3, 3), 1), out=out)


def test_product_may_lie_between_the_elements_of_an_input(backend):
    memory = np.zeros((3, 5, 8), np.int8)
    a, out = memory[:, :, 0], memory[:, :, 4:].view(np.int32)[..., 0]
    a[...], b = A, codes((5, 5), 2)
    assert_same_bits(backend.gemm_int(a, b, out=out), gemm_int(A, b), backend)


def test_codes_may_lie_between_the_elements_of_an_input(backend):
    memory = np.zeros((3, 5, 8), np.int8)
    x, out = memory[:, :, :4].view(np.float32)[..., 0], memory[:, :, 5]
    x[...], w = X, tensor((5, 5), 1)
    got = backend.linear(x, w, out_scale=0.25, out=out)
    want = linear_int(X, w.values, w.scale, out_scale=0.25)
    assert_same_bits(got.values, want.codes, backend)


def test_out_of_a_product_is_returned(backend):
    out = np.zeros((3, 7), np.int32)
    assert call(backend, "product", out) is out


def test_out_of_a_layer_is_returned(backend):
    out = np.zeros((3, 7), np.float32)
    assert call(backend, "numbers", out) is out


@pytest.mark.parametrize("name", ["codes", "codes of halves"])
def test_out_for_codes_is_held_by_what_is_returned(name, backend):
    out = np.zeros((3, 7), np.int8)
    assert call(backend, name, out).values is out


def test_returned_scale_and_zero_point_are_no_views_of_the_arguments(backend):
    scale, zero_point = np.array(0.25, np.float32), np.array(3, np.int32)
    got = backend.linear(X, W, out_scale=scale, out_zero_point=zero_point)
    scale[...], zero_point[...] = 1, 4
    assert (got.scale, got.zero_point) == (0.25, 3)
