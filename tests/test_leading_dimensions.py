# SPDX-License-Identifier: Apache-2.0
"""Products of many matrices: as few calls of a kernel as the order of matrices in memory allows."""

import itertools
from unittest import mock

import numpy as np
import pytest

from assertions import assert_same_bits
from halfbyte.products import products
from halfbyte_reference import gemm_f16, gemm_int
from halfbyte_reference.inputs import halves
from halfbyte_reference.inputs_quantized import codes

BATCH = (3, 2, 4)
ORDERS = {
    "C order": lambda x: x,
    "turned": lambda x: np.ascontiguousarray(x.transpose(2, 1, 0, 3, 4)).transpose(2, 1, 0, 3, 4),
    "backwards": lambda x: np.ascontiguousarray(x[::-1, :, ::-1])[::-1, :, ::-1],
    "with gaps": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "heads": lambda x: np.ascontiguousarray(x.swapaxes(2, 3)).swapaxes(2, 3),
}
LIKE = {"first repeated": (slice(1), slice(None)), "second repeated": (slice(None), slice(1))}
ALL = (*ORDERS, *LIKE)
COMBINED = [
    (of_a, of_b, of_out)
    for (of_a, of_b), of_out in zip(
        itertools.product(ALL, ALL), itertools.cycle(ORDERS), strict=False
    )
]
combined = pytest.mark.parametrize(("of_a", "of_b", "of_out"), COMBINED)


def ordered(x, order):
    """The same matrices in another order of memory, or some of them where others equal these."""
    return x[LIKE[order]] if order in LIKE else ORDERS[order](x)


def result(a, b, dtype, order):
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return ORDERS[order](np.zeros((*batch, a.shape[-2], b.shape[-1]), dtype))


@combined
def test_halves_in_any_order_have_the_bits_of_the_reference(of_a, of_b, of_out, backend):
    a, b = ordered(halves((*BATCH, 3, 5), 1), of_a), ordered(halves((*BATCH, 5, 7), 2), of_b)
    out = result(a, b, np.float32, of_out)
    c = halves(out.shape, 3)
    backend.gemm_f16(a, b, c=c, beta=0.5, out=out)
    assert_same_bits(out, gemm_f16(a, b, c=c, beta=0.5), backend)


@combined
def test_integers_in_any_order_are_exact(of_a, of_b, of_out, integer_backend):
    a, b = ordered(codes((*BATCH, 3, 5), 1), of_a), ordered(codes((*BATCH, 5, 7), 2), of_b)
    out = result(a, b, np.int32, of_out)
    integer_backend.gemm_int(a, b, out=out)
    assert_same_bits(out, gemm_int(a, b), integer_backend)


@pytest.mark.parametrize(
    ("orders", "calls"),
    [
        (("C order",) * 3, 1),
        (("turned",) * 3, 1),
        (("C order", "C order", "backwards"), 6),
        (("C order", "turned", "C order"), 6),
        (("heads", "heads", "C order"), 4),
        (("first repeated", "C order", "C order"), 3),
        (("second repeated", "C order", "C order"), 6),
    ],
    ids=str,
)
def test_calls_are_as_few_as_strides_allow(orders, calls):
    a, b = (ordered(halves((*BATCH, 3, 3), 1), order) for order in orders[:2])
    out = result(a, b, np.float32, orders[2])
    assert len([*products(a, b, out)]) == calls


def test_longest_dimension_is_that_of_a_call():
    a = halves((500, 2, 3, 3), 1).swapaxes(0, 1)
    with mock.patch.object(np, "ndindex", wraps=np.ndindex) as loops:
        parts = [*products(a, a, np.zeros((2, 500, 3, 3), np.float32))]
    assert [part[0].shape for part in parts] == [(500, 3, 3)] * 2
    loops.assert_called_once_with((2,))
