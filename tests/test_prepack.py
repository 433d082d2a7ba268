# SPDX-License-Identifier: Apache-2.0
"""A PackedMatrix stands for b: same products, any Isa, any process."""

import pickle

import numpy as np
import pytest
from hypothesis import given

import halfbyte
from assertions import assert_same_bits, assert_within, refuses
from backends import all_backends, threads
from halfbyte_reference import gemm_f16
from halfbyte_reference.inputs import halves, strided
from planned_products import bounded
from strategies import batches, deep_k, epilogues, gemm_cases, small_sizes, thread_counts


@given(case=gemm_cases(), steps=epilogues(), count=thread_counts)
def test_packed_product_has_the_bits_of_the_reference(case, steps, count, backend):
    arguments = steps.arguments(case.shape)
    out = steps.out(case.shape)
    with threads(count):
        got = backend.gemm_f16(case.a, backend.prepack(case.b), **arguments, out=out)
    assert_same_bits(got, gemm_f16(case.a, case.b, **arguments), backend)


@given(case=gemm_cases(small_sizes, deep_k, small_sizes))
def test_packed_product_across_blocks_of_k_has_the_bits_of_the_chain(case, backend):
    got = backend.gemm_f16(case.a, backend.prepack(case.b))
    assert_same_bits(got, gemm_f16(case.a, case.b), backend)


@given(
    case=gemm_cases(
        small_sizes, small_sizes, small_sizes, batches.map(lambda batch: (batch[0], ()))
    )
)
def test_packed_matrix_serves_a_batch(case, backend):
    got = backend.gemm_f16(case.a, backend.prepack(case.b))
    assert_same_bits(got, gemm_f16(case.a, case.b), backend)


@given(case=gemm_cases(m=small_sizes))
def test_packed_matrix_survives_pickling(case, backend):
    packed = pickle.loads(pickle.dumps(backend.prepack(case.b)))
    assert_same_bits(backend.gemm_f16(case.a, packed), gemm_f16(case.a, case.b), backend)


def test_matrix_packed_on_a_device_survives_pickling(device):
    def call(a, b):
        return halfbyte.gemm_f16(a, pickle.loads(pickle.dumps(halfbyte.prepack(b))))

    a, b = halves((9, 70), 1), halves((70, 33), 2)
    assert_within(device.call(call, a, b), bounded(a, b), device)


def test_pickle_of_a_matrix_packed_on_a_device_is_its_operand(device):
    def call(b):
        return halfbyte.prepack(b).__reduce__()[1]

    b = strided(halves((70, 33), 1), "transposed")
    (got,) = device.call(call, b)
    assert_same_bits(got, b, device)


@pytest.mark.parametrize("packer", all_backends(), ids=lambda packer: f"packed-by-{packer}")
def test_matrix_packed_under_another_isa_gives_the_same_bits(packer, backend):
    a, b = halves((9, 70), 1), halves((70, 131), 2)
    packed = pickle.loads(pickle.dumps(packer.prepack(b)))
    assert_same_bits(backend.gemm_f16(a, packed), gemm_f16(a, b), backend)


def test_packed_matrix_knows_its_shape(backend):
    assert backend.prepack(halves((70, 131), 1)).shape == (70, 131)


def test_prepack_makes_a_packed_matrix(backend):
    assert isinstance(backend.prepack(halves((2, 3), 1)), halfbyte.PackedMatrix)


def test_packed_matrix_keeps_its_values_when_the_array_changes(backend):
    a, b = halves((3, 5), 1), halves((5, 7), 2)
    packed, want = backend.prepack(b), gemm_f16(a, b)
    b[...] = 0
    assert_same_bits(backend.gemm_f16(a, packed), want, backend)


def test_packed_matrix_takes_two_bytes_an_element(backend):
    # A pickle holds the panels; room for padding them to a vector is allowed for, FP32 is not.
    assert len(pickle.dumps(backend.prepack(halves((1000, 1024), 1)))) < 1.1 * 2 * 1000 * 1024


@pytest.mark.parametrize("layout", ["transposed", "sliced", "negative", "unaligned", "field"])
def test_large_matrix_of_any_layout_packs_to_the_same_product(layout, backend):
    a, b = halves((5, 700), 1), halves((700, 513), 2)
    got = backend.gemm_f16(a, backend.prepack(strided(b, layout)))
    assert_same_bits(got, gemm_f16(a, b), backend)


@pytest.mark.parametrize("shape", [(), (5,), (2, 5, 7)], ids=str)
def test_prepack_refuses_what_is_no_matrix(shape, backend):
    with refuses(ValueError, "prepack", "b", str(shape)):
        backend.prepack(np.zeros(shape, np.float16))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "object", ">f2"])
def test_prepack_refuses_another_dtype(dtype, backend):
    with refuses(TypeError, "prepack", "b", dtype, "float16"):
        backend.prepack(np.zeros((5, 7), dtype))


def test_prepack_refuses_a_list(backend):
    with refuses(TypeError, "prepack", "b", "list"):
        backend.prepack([[1.0]])


def test_packed_matrix_is_never_operand_a(backend):
    with refuses(TypeError, "gemm_f16", "a", "PackedMatrix"):
        backend.gemm_f16(backend.prepack(halves((5, 7), 1)), halves((7, 2), 2))


def test_packed_matrix_is_never_the_input_of_a_layer(backend):
    with refuses(TypeError, "linear", "x", "PackedMatrix"):
        backend.linear(backend.prepack(halves((5, 7), 1)), halves((2, 7), 2))


def test_packed_matrix_of_another_depth_is_refused(backend):
    with refuses(ValueError, "gemm_f16", "a", "b", "(3, 6)", "(5, 7)"):
        backend.gemm_f16(halves((3, 6), 1), backend.prepack(halves((5, 7), 2)))


def test_packed_weights_of_another_depth_are_refused(backend):
    with refuses(ValueError, "linear", "x", "w", "(3, 6)"):
        backend.linear(halves((3, 6), 1), backend.prepack(halves((5, 7), 2)))
