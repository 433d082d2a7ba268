# SPDX-License-Identifier: Apache-2.0
"""A PackedMatrix stands for b in gemm_int: same products, any instruction set, any process."""

import pickle

import numpy as np
import pytest
from hypothesis import given

import halfbyte
from assertions import assert_same_bits
from backends import integer_backends, threads, without
from halfbyte import Int4Array
from halfbyte_reference import gemm_int as exact
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes
from integer_cases import BYTES, NIBBLES, SPREADS, argument, integer_cases, operand
from strategies import batches, deep_k, out_layouts, sizes, small_sizes, thread_counts

every_format = pytest.mark.parametrize("of_b", BYTES + NIBBLES, ids=str)


@given(case=integer_cases(), layout=out_layouts, count=thread_counts)
def test_packed_product_is_exact(case, layout, count, integer_backend):
    out = strided(np.zeros(case.shape, np.int32), layout)
    with threads(count):
        integer_backend.gemm_int(case.a, integer_backend.prepack(case.b), **case.named, out=out)
    assert_same_bits(out, case.want, integer_backend)


@without("ptx", reason="test_gemm_int_tiles has deep products, and the machine is slow")
@given(case=integer_cases(small_sizes, deep_k, small_sizes))
def test_deep_packed_product_is_exact(case, integer_backend):
    got = integer_backend.gemm_int(case.a, integer_backend.prepack(case.b), **case.named)
    assert_same_bits(got, case.want, integer_backend)


@given(
    case=integer_cases(
        small_sizes, small_sizes, small_sizes, batches.map(lambda batch: (batch[0], ()))
    )
)
def test_packed_matrix_serves_a_batch(case, integer_backend):
    got = integer_backend.gemm_int(case.a, integer_backend.prepack(case.b), **case.named)
    assert_same_bits(got, case.want, integer_backend)


@given(case=integer_cases(small_sizes, sizes, sizes))
def test_packed_matrix_survives_pickling(case, integer_backend):
    with integer_backend.forced():
        packed = pickle.loads(pickle.dumps(integer_backend.prepack(case.b)))
    got = integer_backend.gemm_int(case.a, packed, **case.named)
    assert_same_bits(got, case.want, integer_backend)


@without("ptx", "cuda", reason="instruction sets are the CPU's")
@every_format
@pytest.mark.parametrize("packer", integer_backends(), ids=lambda packer: f"packed-by-{packer}")
@pytest.mark.parametrize("spread", SPREADS)
def test_matrix_packed_under_another_isa_gives_the_same_product(
    spread, packer, of_b, integer_backend
):
    a, b = codes((9, 70), 1), operand((70, 131), [2], *of_b, spread)
    packed = packer.prepack(argument(b, *of_b))
    assert_same_bits(integer_backend.gemm_int(a, packed), exact(a, b), integer_backend)


@every_format
def test_packed_matrix_tells_what_it_holds(of_b):
    packed = halfbyte.prepack(argument(codes((70, 131), 1, *of_b), *of_b))
    bits, signed = of_b
    assert (packed.kind, packed.shape) == (f"{'' if signed else 'u'}int{bits}", (70, 131))


@every_format
def test_packed_matrix_keeps_its_values_when_the_array_changes(of_b, integer_backend):
    a, b = codes((3, 5), 1), codes((5, 7), 2, *of_b)
    given = argument(b.copy(), *of_b)
    packed = integer_backend.prepack(given)
    (given.packed if isinstance(given, Int4Array) else given)[...] = 0
    assert_same_bits(integer_backend.gemm_int(a, packed), exact(a, b), integer_backend)


# Room for sums of columns and for rounding k and n up is allowed for, a code in two bytes is not.
@every_format
def test_packed_matrix_is_about_as_large_as_its_codes(of_b, integer_backend):
    packed = integer_backend.prepack(argument(codes((1000, 1024), 1, *of_b), *of_b))
    assert packed.nbytes < 1.1 * 1000 * 1024 * of_b[0] / 8


@every_format
@pytest.mark.parametrize("layout", ["transposed", "sliced", "negative", "unaligned", "field"])
def test_large_matrix_of_any_layout_packs_to_the_same_product(layout, of_b, integer_backend):
    a, b = codes((5, 700), 1), codes((700, 513), 2, *of_b)
    packed = integer_backend.prepack(argument(strided(b, layout), *of_b, layout))
    assert_same_bits(integer_backend.gemm_int(a, packed), exact(a, b), integer_backend)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)], ids=str)
@every_format
def test_empty_matrix_packs(shape, of_b, integer_backend):
    packed = integer_backend.prepack(argument(codes(shape, 1, *of_b), *of_b))
    got = integer_backend.gemm_int(codes((3, shape[0]), 2), packed)
    assert_same_bits(got, np.zeros((3, shape[1]), np.int32), integer_backend)
