# SPDX-License-Identifier: Apache-2.0
"""Torch tensors are taken without a copy and answered in torch; mixing libraries is refused."""

import numpy as np
import pytest
from hypothesis import given

import halfbyte
from assertions import assert_same_bits, assert_within, refuses
from halfbyte_reference import bounds, gemm_f16, linear, to_f16, to_f32
from halfbyte_reference.inputs import floats, halves
from strategies import finite_kinds, gemm_cases

A, B, W = halves((33, 65), 1), halves((65, 70), 2), halves((70, 65), 3)


@given(case=gemm_cases(kind=finite_kinds))
def test_torch_product_in_float32_agrees_within_both_bounds(case, backend, torch):
    a, b = np.float32(case.a), np.float32(case.b)
    want = (torch.from_numpy(a.copy()) @ torch.from_numpy(b.copy())).numpy()
    error = 2 * bounds.gemm_cpu(bounds.magnitude(a, b), case.k)
    bounded = bounds.cast(want.astype(np.float64), error)
    assert_within(backend.gemm_f16(case.a, case.b), bounded, backend)


def test_product_of_tensors_is_a_tensor(backend, torch):
    got = backend.gemm_f16(torch.from_numpy(A), torch.from_numpy(B))
    assert isinstance(got, torch.Tensor)


def test_product_of_tensors_has_the_bits_of_the_reference(backend, torch):
    got = backend.gemm_f16(torch.from_numpy(A), torch.from_numpy(B))
    assert_same_bits(got.numpy(), gemm_f16(A, B), backend)


def test_product_of_transposed_tensors_has_the_bits_of_the_reference(backend, torch):
    got = backend.gemm_f16(torch.from_numpy(A), torch.from_numpy(W).T)
    assert_same_bits(got.numpy(), gemm_f16(A, W.T), backend)


def test_tensor_out_is_filled_and_returned(backend, torch):
    out = torch.zeros(33, 70)
    assert backend.gemm_f16(torch.from_numpy(A), torch.from_numpy(B), out=out) is out
    assert_same_bits(out.numpy(), gemm_f16(A, B), backend)


def test_tensor_may_be_c_and_out(backend, torch):
    values = floats((33, 70), 4)
    c = torch.from_numpy(values.copy())
    backend.gemm_f16(torch.from_numpy(A), torch.from_numpy(B), beta=1, c=c, out=c)
    assert_same_bits(c.numpy(), gemm_f16(A, B, beta=1, c=values), backend)


def test_layer_of_tensors_is_a_tensor_with_the_bits_of_the_reference(backend, torch):
    bias = floats(70, 4)
    got = backend.linear(torch.from_numpy(A), torch.from_numpy(W), torch.from_numpy(bias))
    assert_same_bits(got.numpy(), linear(A, W, bias), backend)


def test_tensor_times_packed_matrix_is_a_tensor_with_the_bits_of_the_reference(backend, torch):
    got = backend.gemm_f16(torch.from_numpy(A), backend.prepack(torch.from_numpy(B)))
    assert_same_bits(got.numpy(), gemm_f16(A, B), backend)


def test_array_times_packed_tensor_is_an_array(backend, torch):
    got = backend.gemm_f16(A, backend.prepack(torch.from_numpy(B)))
    assert_same_bits(got, gemm_f16(A, B), backend)


def test_tensor_is_rounded_to_a_tensor(backend, torch):
    x = floats((5, 70), 4, "wide")
    assert_same_bits(backend.to_f16(torch.from_numpy(x)).numpy(), to_f16(x), backend)


def test_tensor_is_widened_to_a_tensor(backend, torch):
    assert_same_bits(backend.to_f32(torch.from_numpy(A)).numpy(), to_f32(A), backend)


def test_out_dtype_may_be_a_dtype_of_torch(backend, torch):
    got = backend.gemm_f16(torch.from_numpy(A), torch.from_numpy(B), out_dtype=torch.float16)
    assert_same_bits(got.numpy(), gemm_f16(A, B, out_dtype=np.float16), backend)


@pytest.mark.parametrize("argument", ["a", "b", "c", "bias", "out"])
def test_one_tensor_among_arrays_is_refused(argument, backend, torch):
    arguments = {"a": A, "b": B, "beta": 1}
    arguments |= {"c": floats((33, 70), 1), "bias": floats(70, 1), "out": floats((33, 70), 1)}
    arguments[argument] = torch.from_numpy(arguments[argument])
    with refuses(TypeError, "gemm_f16", argument, "torch", "numpy"):
        backend.gemm_f16(**arguments)


@pytest.mark.parametrize("argument", ["x", "w", "bias", "out"])
def test_one_tensor_among_the_arrays_of_a_layer_is_refused(argument, backend, torch):
    arguments = {"x": A, "w": W, "bias": floats(70, 1), "out": floats((33, 70), 1)}
    arguments[argument] = torch.from_numpy(arguments[argument])
    with refuses(TypeError, "linear", argument, "torch", "numpy"):
        backend.linear(**arguments)


def test_bfloat16_tensor_is_refused(backend, torch):
    with refuses(TypeError, "gemm_f16", "a", "bfloat16", "float16"):
        backend.gemm_f16(torch.from_numpy(A).bfloat16(), torch.from_numpy(B))


def test_bfloat16_is_to_be_converted_first(torch):
    with pytest.raises(TypeError, match=r"^to_f16: x .*convert bfloat16 first, to float32"):
        halfbyte.to_f16(torch.from_numpy(A).bfloat16())


def test_parameter_is_to_be_detached(torch):
    parameter = torch.nn.Parameter(torch.from_numpy(A))
    with pytest.raises(TypeError, match=r"^gemm_f16: a .*need its values alone, x\.detach\(\)"):
        halfbyte.gemm_f16(parameter, torch.from_numpy(B))


def test_tensor_that_overlaps_out_is_refused(backend, torch):
    memory = torch.zeros(70, 70, dtype=torch.float16)
    with refuses(ValueError, "gemm_f16", "out", "a"):
        backend.gemm_f16(memory[:33, :65], torch.from_numpy(B), out=memory[20:53])
