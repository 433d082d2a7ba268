# SPDX-License-Identifier: Apache-2.0
"""Integer products and quantized layers take torch tensors and answer in torch; no mixing."""

import numpy as np
import pytest

import halfbyte_reference as reference
from assertions import assert_same_bits, refuses
from halfbyte import Int4Array, QuantizedTensor
from halfbyte_reference import gemm_int, linear_int
from halfbyte_reference.inputs import floats, halves
from halfbyte_reference.inputs_quantized import codes
from quantized_tensors import tensor

A, B = codes((33, 65), 1), codes((65, 70), 2, signed=False)
A_ZERO, B_ZERO = codes(33, 3).astype(np.int32), codes(70, 4, signed=False).astype(np.int32)
SHIFTED = {"a_zero_point": A_ZERO, "b_zero_point": B_ZERO}

X, BIAS = floats((33, 65), 5), floats(70, 6)
W = {
    "w8": tensor((70, 65), 7, axis=0),
    "w4": tensor((70, 65), 8, bits=4, group_size=32, affine=True),
    "w3": tensor((70, 65), 9, bits=3, signed=False),
}
X_CODES = tensor((33, 65), 10, axis=0, affine=True)
weights = pytest.mark.parametrize("kind", W)
packings = pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])


def of_torch(torch, x):
    """The same array or QuantizedTensor, held by torch."""
    if isinstance(x, np.ndarray):
        return torch.from_numpy(x.copy())
    parts = [None if part is None else of_torch(torch, part) for part in (x.values, x.scale)]
    zero_point = None if x.zero_point is None else of_torch(torch, x.zero_point)
    return QuantizedTensor(
        *parts, zero_point, bits=x.bits, axis=x.axis, group_size=x.group_size, signed=x.signed,
        shape=x.shape,
    )  # fmt: skip


def layer(x, w, bias=None, **named):
    """Apply the reference's layer to w and to numbers or codes."""
    if isinstance(x, QuantizedTensor):
        named |= {"x_scale": x.scale, "x_zero_point": x.zero_point, "x_axis": x.axis}
        x = x._codes()
    named |= {"axis": w.axis, "group_size": w.group_size}
    return linear_int(x, w._codes(), w.scale, w.zero_point, bias, **named)


# ---- Products ----------------------------------------------------------------------------------
def test_product_of_tensors_is_a_tensor(backend, torch):
    got = backend.gemm_int(torch.from_numpy(A), torch.from_numpy(B))
    assert isinstance(got, torch.Tensor)
    assert_same_bits(got.numpy(), gemm_int(A, B), backend)


def test_product_of_transposed_tensors_is_exact(backend, torch):
    got = backend.gemm_int(torch.from_numpy(A), torch.from_numpy(B.T.copy()).T)
    assert_same_bits(got.numpy(), gemm_int(A, B), backend)


def test_tensors_of_zero_points_are_subtracted(backend, torch):
    named = {name: torch.from_numpy(x) for name, x in SHIFTED.items()}
    got = backend.gemm_int(torch.from_numpy(A), torch.from_numpy(B), **named)
    assert_same_bits(got.numpy(), gemm_int(A, B, **SHIFTED), backend)


def test_number_is_a_zero_point_of_tensors(backend, torch):
    got = backend.gemm_int(torch.from_numpy(A), torch.from_numpy(B), b_zero_point=128)
    assert_same_bits(got.numpy(), gemm_int(A, B, b_zero_point=128), backend)


def test_batch_of_tensors_broadcasts(backend, torch):
    a = codes((2, 1, 3, 65), 1)
    got = backend.gemm_int(torch.from_numpy(a), torch.from_numpy(np.stack([B, B ^ 1])))
    assert_same_bits(got.numpy(), gemm_int(a, np.stack([B, B ^ 1])), backend)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_nibbles_in_tensors_are_operands(signed, backend, torch):
    a, b = codes((33, 65), 1, 4, signed), codes((65, 71), 2, 4, signed)
    held = (Int4Array.pack(torch.from_numpy(x), signed) for x in (a, b))
    got = backend.gemm_int(*held)
    assert isinstance(got, torch.Tensor)
    assert_same_bits(got.numpy(), gemm_int(a, b), backend)


def test_tensor_out_is_filled_and_returned(backend, torch):
    out = torch.zeros(33, 70, dtype=torch.int32)
    assert backend.gemm_int(torch.from_numpy(A), torch.from_numpy(B), out=out) is out
    assert_same_bits(out.numpy(), gemm_int(A, B), backend)


def test_tensor_times_packed_tensor_is_a_tensor(backend, torch):
    got = backend.gemm_int(torch.from_numpy(A), backend.prepack(torch.from_numpy(B)))
    assert isinstance(got, torch.Tensor)
    assert_same_bits(got.numpy(), gemm_int(A, B), backend)


def test_array_times_packed_tensor_is_an_array(backend, torch):
    got = backend.gemm_int(A, backend.prepack(torch.from_numpy(B)))
    assert_same_bits(got, gemm_int(A, B), backend)


def test_packed_nibbles_in_tensors_are_an_operand_of_arrays(backend, torch):
    b = codes((65, 71), 2, 4)
    got = backend.gemm_int(A, backend.prepack(Int4Array.pack(torch.from_numpy(b))))
    assert_same_bits(got, gemm_int(A, b), backend)


# ---- Layers ------------------------------------------------------------------------------------
@weights
@packings
@pytest.mark.parametrize("x_bits", [8, 16])
def test_layer_of_tensors_is_a_tensor(kind, packed, x_bits, backend, torch):
    w = of_torch(torch, W[kind])
    w = backend.prepack(w) if packed else w
    got = backend.linear(torch.from_numpy(X), w, torch.from_numpy(BIAS), x_bits=x_bits)
    assert isinstance(got, torch.Tensor)
    assert_same_bits(got.numpy(), layer(X, W[kind], BIAS, x_bits=x_bits), backend)


@weights
@packings
def test_layer_of_codes_in_tensors_is_a_tensor(kind, packed, backend, torch):
    w = of_torch(torch, W[kind])
    w = backend.prepack(w) if packed else w
    got = backend.linear(of_torch(torch, X_CODES), w)
    assert isinstance(got, torch.Tensor)
    assert_same_bits(got.numpy(), layer(X_CODES, W[kind]), backend)


@packings
def test_array_through_packed_weights_of_tensors_is_an_array(packed, backend, torch):
    w = backend.prepack(of_torch(torch, W["w4"]) if packed else W["w4"])
    assert_same_bits(backend.linear(X, w), layer(X, W["w4"]), backend)


@pytest.mark.parametrize("name", ["float16", "float32"])
def test_out_dtype_may_be_a_dtype_of_torch(name, backend, torch):
    got = backend.linear(
        torch.from_numpy(X), of_torch(torch, W["w8"]), out_dtype=getattr(torch, name)
    )
    assert_same_bits(got.numpy(), layer(X, W["w8"], out_dtype=name), backend)


def test_tensor_out_of_a_layer_is_filled_and_returned(backend, torch):
    out = torch.zeros(33, 70)
    assert backend.linear(torch.from_numpy(X), of_torch(torch, W["w8"]), out=out) is out
    assert_same_bits(out.numpy(), layer(X, W["w8"]), backend)


def parts(q):
    return [q.values, q.scale, q.zero_point]


@weights
def test_requantized_layer_of_tensors_holds_tensors(kind, backend, torch):
    named = {"out_zero_point": 3, "out_dtype": np.uint8}
    w = of_torch(torch, W[kind])
    got = backend.linear(torch.from_numpy(X), w, out_scale=0.5, **named)
    want = layer(X, W[kind], out_scale=np.float32(0.5), **named)
    assert all(isinstance(part, torch.Tensor) for part in parts(got))
    for part, expected in zip(parts(got), want, strict=True):
        assert_same_bits(part.numpy(), np.asarray(expected), backend)


def test_requantized_layer_of_halves_holds_tensors(backend, torch):
    w = halves((70, 65), 1)
    got = backend.linear(torch.from_numpy(X), torch.from_numpy(w), out_scale=0.5)
    want = reference.quantize(reference.linear(X, w), scale=np.float32(0.5))
    assert all(isinstance(part, torch.Tensor) for part in parts(got)[:2])
    assert_same_bits(got.values.numpy(), want.codes, backend)


def test_scale_and_zero_point_of_the_result_may_be_tensors(backend, torch):
    w = of_torch(torch, W["w8"])
    given = {"out_scale": torch.tensor(0.5), "out_zero_point": torch.tensor(3)}
    got = backend.linear(torch.from_numpy(X), w, **given, out_dtype=torch.uint8)
    want = layer(X, W["w8"], out_scale=np.float32(0.5), out_zero_point=3, out_dtype=np.uint8)
    assert_same_bits(got.values.numpy(), want.codes, backend)


def test_tensor_out_holds_the_codes_of_what_is_returned(backend, torch):
    out = torch.zeros(33, 70, dtype=torch.int8)
    w = of_torch(torch, W["w8"])
    got = backend.linear(torch.from_numpy(X), w, out_scale=0.5, out=out)
    assert got.values is out
    assert_same_bits(out.numpy(), layer(X, W["w8"], out_scale=np.float32(0.5)).codes, backend)


def test_layers_of_tensors_chain(backend, torch):
    first, second = W["w8"], tensor((9, 70), 1, bits=4, axis=0)
    hidden = backend.linear(torch.from_numpy(X), of_torch(torch, first), out_scale=0.5)
    got = backend.linear(hidden, of_torch(torch, second))
    between = layer(X, first, out_scale=np.float32(0.5))
    want = layer(QuantizedTensor(between.codes, between.scale), second)
    assert_same_bits(got.numpy(), want, backend)


# ---- Refused -----------------------------------------------------------------------------------
@pytest.mark.parametrize("argument", ["a", "b", *SHIFTED, "out"])
def test_one_tensor_among_arrays_is_refused(argument, backend, torch):
    arguments = {"a": A, "b": B, **SHIFTED, "out": np.zeros((33, 70), np.int32)}
    arguments[argument] = torch.from_numpy(arguments[argument].copy())
    with refuses(TypeError, "gemm_int", argument, "torch", "numpy"):
        backend.gemm_int(**arguments)


@pytest.mark.parametrize("argument", ["a", "b"])
def test_nibbles_in_a_tensor_among_arrays_are_refused(argument, backend, torch):
    arguments = {"a": codes((33, 65), 1, 4), "b": codes((65, 70), 2, 4)}
    arguments[argument] = Int4Array.pack(torch.from_numpy(arguments[argument]))
    with refuses(TypeError, "gemm_int", argument, "torch", "numpy"):
        backend.gemm_int(**arguments)


@pytest.mark.parametrize("argument", ["a_zero_point", "b_zero_point", "out"])
def test_one_tensor_beside_a_packed_matrix_is_refused(argument, backend, torch):
    arguments = {**SHIFTED, "out": np.zeros((33, 70), np.int32)}
    arguments[argument] = torch.from_numpy(arguments[argument].copy())
    with refuses(TypeError, "gemm_int", argument, "torch", "numpy"):
        backend.gemm_int(A, backend.prepack(B), **arguments)


LAYER = {
    "x": X,
    "w": W["w8"],
    "bias": BIAS,
    "out_scale": np.array(0.5, np.float32),
    "out_zero_point": np.array(3),
    "out": np.zeros((33, 70), np.int8),
}


@pytest.mark.parametrize("argument", LAYER)
def test_one_tensor_among_the_arrays_of_a_layer_is_refused(argument, backend, torch):
    changed = {argument: of_torch(torch, LAYER[argument])}
    with refuses(TypeError, "linear", argument, "torch", "numpy"):
        backend.linear(**LAYER | changed)


def test_codes_in_tensors_among_arrays_are_refused(backend, torch):
    with refuses(TypeError, "linear", "x", "torch", "numpy"):
        backend.linear(**LAYER | {"x": of_torch(torch, X_CODES)})


@pytest.mark.parametrize("argument", ["a", "b"])
def test_bfloat16_tensor_is_refused(argument, backend, torch):
    arguments = {"a": torch.from_numpy(A), "b": torch.from_numpy(B)}
    arguments[argument] = arguments[argument].bfloat16()
    with refuses(TypeError, "gemm_int", argument, "bfloat16", "integer"):
        backend.gemm_int(**arguments)


def test_float_tensor_is_no_operand(backend, torch):
    with refuses(TypeError, "gemm_int", "a", "float32", "int8"):
        backend.gemm_int(torch.from_numpy(A).float(), torch.from_numpy(B))


def test_tensor_that_overlaps_out_is_refused(backend, torch):
    memory = torch.zeros(70, 70, dtype=torch.int32)
    a = memory[:33].view(torch.int8)[:, :65]
    with refuses(ValueError, "gemm_int", "out", "a"):
        backend.gemm_int(a, torch.from_numpy(B), out=memory[20:53])


def test_weights_in_tensors_that_overlap_out_are_refused(backend, torch):
    w = of_torch(torch, W["w8"])
    out = w.values.reshape(-1)[: 33 * 70].reshape(33, 70)
    with refuses(ValueError, "linear", "out", "w"):
        backend.linear(torch.from_numpy(X), w, out_scale=0.5, out=out)
