# SPDX-License-Identifier: Apache-2.0
"""Quantization takes torch tensors without a copy and answers in torch; mixing is refused."""

import numpy as np
import pytest

import halfbyte_reference as reference
from assertions import assert_same_bits, assert_within, refuses
from halfbyte_reference import bounds, pack_nibbles
from halfbyte_reference.inputs import floats
from halfbyte_reference.inputs_quantized import accumulators, scales

X, DY = floats((33, 70), 1), floats((33, 70), 2)
ACC = accumulators((33, 70), 3)
SCALE = scales(70, 4, "normal")
ZERO_POINT = np.arange(-35, 35, dtype=np.int32)
BIAS = floats(70, 5)
GIVEN = {"scale": SCALE, "zero_point": ZERO_POINT}

schemes = pytest.mark.parametrize(
    "scheme",
    [
        {},
        {"axis": 1, "symmetric": False},
        {"axis": 0, "method": "mse"},
        {"bits": 4, "group_size": 32},
        {"bits": 4, "axis": 0, "symmetric": False, "signed": False},
        {"bits": 2, "rounding": "stochastic", "seed": 7},
    ],
    ids=str,
)


def parts(q):
    """What a QuantizedTensor holds."""
    return [part for part in (q.values, q.scale, q.zero_point) if part is not None]


def tensors_of(torch, arguments):
    """The same arguments, their arrays as tensors."""
    return {
        name: torch.from_numpy(x.copy()) if isinstance(x, np.ndarray) else x
        for name, x in arguments.items()
    }


def assert_codes(q, want, where):
    """Claim tensors of torch with the codes, scales and zero points of the reference."""
    codes = pack_nibbles(want.codes) if q.bits == 4 else want.codes
    held = [part for part in (codes, want.scale, want.zero_point) if part is not None]
    for got, expected in zip(parts(q), held, strict=True):
        assert_same_bits(got.numpy(), expected, where)


@schemes
def test_tensor_is_quantized_to_tensors(scheme, backend, torch):
    q = backend.quantize(torch.from_numpy(X), **scheme)
    assert_codes(q, reference.quantize(X, **scheme), backend)


def test_transposed_tensor_is_quantized(backend, torch):
    q = backend.quantize(torch.from_numpy(X).T, axis=0)
    assert_codes(q, reference.quantize(X.T, axis=0), backend)


def test_half_tensor_is_quantized(backend, torch):
    half = X.astype(np.float16)
    assert_codes(backend.quantize(torch.from_numpy(half)), reference.quantize(half), backend)


def test_tensor_is_quantized_with_scales_in_tensors(backend, torch):
    scheme = {"axis": 1, "symmetric": False}
    q = backend.quantize(torch.from_numpy(X), **scheme, **tensors_of(torch, GIVEN))
    assert_codes(q, reference.quantize(X, **scheme, **GIVEN), backend)


def test_tensor_is_quantized_with_a_number_for_a_scale(backend, torch):
    q = backend.quantize(torch.from_numpy(X), scale=0.25)
    assert_codes(q, reference.quantize(X, scale=np.float32(0.25)), backend)


@pytest.mark.parametrize("bits", [8, 4])
def test_tensors_in_out_are_filled(bits, backend, torch):
    out = backend.quantize(torch.zeros(33, 70), axis=0, bits=bits)
    held = [part.data_ptr() for part in parts(out)]
    assert backend.quantize(torch.from_numpy(X), axis=0, bits=bits, out=out) is out
    assert [part.data_ptr() for part in parts(out)] == held
    assert_codes(out, reference.quantize(X, axis=0, bits=bits), backend)


@schemes
def test_tensors_are_dequantized_to_a_tensor(scheme, backend, torch):
    got = backend.dequantize(backend.quantize(torch.from_numpy(X), **scheme))
    where = {name: scheme.get(name) for name in ("axis", "group_size")}
    want = reference.dequantize(*reference.quantize(X, **scheme), **where)
    assert_same_bits(got.numpy(), want, backend)


def test_tensors_are_dequantized_to_a_dtype_of_torch(backend, torch):
    got = backend.dequantize(backend.quantize(torch.from_numpy(X)), dtype=torch.float16)
    want = reference.dequantize(*reference.quantize(X), dtype=np.float16)
    assert_same_bits(got.numpy(), want, backend)


def test_tensors_are_dequantized_into_a_tensor(backend, torch):
    out = torch.zeros(33, 70)
    assert backend.dequantize(backend.quantize(torch.from_numpy(X)), out=out) is out
    assert_same_bits(out.numpy(), reference.dequantize(*reference.quantize(X)), backend)


def test_sums_in_a_tensor_are_requantized_to_a_tensor(backend, torch):
    arguments = {"scale": SCALE, "zero_point": ZERO_POINT, "bias": BIAS, "activation": "relu"}
    got = backend.requantize(torch.from_numpy(ACC), **tensors_of(torch, arguments))
    assert_same_bits(got.numpy(), reference.requantize(ACC, **arguments), backend)


def test_tensor_is_requantized_to_a_dtype_of_torch(backend, torch):
    got = backend.requantize(torch.from_numpy(ACC), 1e-7, zero_point=128, dtype=torch.uint8)
    want = reference.requantize(ACC, np.float32(1e-7), zero_point=128, dtype=np.uint8)
    assert_same_bits(got.numpy(), want, backend)


def test_tensor_is_requantized_into_a_tensor(backend, torch):
    out = torch.zeros(33, 70, dtype=torch.int8)
    assert backend.requantize(torch.from_numpy(ACC), torch.from_numpy(SCALE), out=out) is out
    assert_same_bits(out.numpy(), reference.requantize(ACC, SCALE), backend)


@pytest.mark.parametrize("given", [{"scale": SCALE}, GIVEN], ids=["symmetric", "affine"])
def test_tensor_is_fake_quantized_to_a_tensor(given, backend, torch):
    got = backend.fake_quantize(torch.from_numpy(X), axis=1, **tensors_of(torch, given))
    assert_same_bits(got.numpy(), reference.fake_quantize(X, axis=1, **given), backend)


def test_tensor_is_fake_quantized_into_a_tensor(backend, torch):
    out = torch.zeros(33, 70)
    assert backend.fake_quantize(torch.from_numpy(X), 0.25, out=out) is out
    assert_same_bits(out.numpy(), reference.fake_quantize(X, np.float32(0.25)), backend)


@pytest.mark.parametrize("given", [{"scale": SCALE}, GIVEN], ids=["symmetric", "affine"])
def test_gradients_of_tensors_are_tensors(given, backend, torch):
    dx, dscale = backend.fake_quantize_backward(
        torch.from_numpy(DY), torch.from_numpy(X), axis=1, **tensors_of(torch, given)
    )
    want, want_scale, magnitude = reference.fake_quantize_backward(DY, X, axis=1, **given)
    assert_same_bits(dx.numpy(), want, backend)
    assert_within(dscale.numpy(), bounds.dscale(want_scale, magnitude, len(X)), backend)


def test_gradient_is_put_into_a_tensor(backend, torch):
    out = torch.zeros(33, 70)
    arguments = (torch.from_numpy(DY), torch.from_numpy(X), 0.25)
    assert backend.fake_quantize_backward(*arguments, out=out)[0] is out
    want, *_ = reference.fake_quantize_backward(DY, X, np.float32(0.25))
    assert_same_bits(out.numpy(), want, backend)


# ---- Refused -----------------------------------------------------------------------------------
def calls():
    """A function's name and its arguments, all arrays of NumPy."""
    fake = {"x": X, **GIVEN, "axis": 1, "out": np.zeros_like(X)}
    acc = {"acc": ACC, **GIVEN, "bias": BIAS, "out": np.zeros(ACC.shape, np.int8)}
    return {
        "quantize": {"x": X, **GIVEN, "axis": 1, "symmetric": False},
        "requantize": acc,
        "fake_quantize": fake,
        "fake_quantize_backward": {"dy": DY, **fake},
    }


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        (name, argument)
        for name, arguments in calls().items()
        for argument, x in arguments.items()
        if isinstance(x, np.ndarray)
    ],
)
def test_one_tensor_among_arrays_is_refused(name, argument, backend, torch):
    arguments = calls()[name]
    arguments[argument] = torch.from_numpy(arguments[argument].copy())
    with refuses(TypeError, name, argument, "torch", "numpy"):
        getattr(backend, name)(**arguments)


def test_tensor_is_not_quantized_into_arrays(backend, torch):
    with refuses(TypeError, "quantize", "out", "x"):
        backend.quantize(torch.from_numpy(X), out=backend.quantize(X))


def test_array_is_not_quantized_into_tensors(backend, torch):
    with refuses(TypeError, "quantize", "out", "x"):
        backend.quantize(X, out=backend.quantize(torch.from_numpy(X)))


def test_tensors_are_not_dequantized_into_an_array(backend, torch):
    with refuses(TypeError, "dequantize", "out"):
        backend.dequantize(backend.quantize(torch.from_numpy(X)), out=np.zeros_like(X))


@pytest.mark.parametrize("name", ["quantize", "fake_quantize"])
def test_bfloat16_tensor_is_refused(name, backend, torch):
    with refuses(TypeError, name, "x", "bfloat16", "float32"):
        getattr(backend, name)(torch.from_numpy(X).bfloat16(), scale=0.25)


def test_tensor_that_shares_memory_with_out_is_refused(backend, torch):
    memory = torch.zeros(66, 70)
    with refuses(ValueError, "fake_quantize", "out", "x"):
        backend.fake_quantize(memory[:33], 0.25, out=memory[20:53])
