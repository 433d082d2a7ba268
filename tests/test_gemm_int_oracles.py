# SPDX-License-Identifier: Apache-2.0
"""Other people's integer products as a second oracle: ONNX's, onnxruntime's and torch's.

onnxruntime and torch add pairs of products in int16 where there is no VNNI, which saturates from
255 * 64 + 255 * 65 on: weights here stay within [-64, 64], so that both are right on any machine.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_same_bits
from halfbyte import QuantizedTensor
from halfbyte_reference.inputs_quantized import codes
from integer_cases import BYTES, bytes_only, operand, zero_point_forms
from onnx_nodes import array_of, evaluate, run_node
from strategies import few_rows, seeds, sizes

QLINEAR_NODE_TESTS = [
    f"test_qlinearmatmul_{ndim}D_{integer}_{real}"
    for ndim in (2, 3)
    for integer in ("int8", "uint8")
    for real in ("float16", "float32")
]
nonempty = sizes.filter(bool)


# ---- ONNX ----------------------------------------------------------------------------------------
def own_zero_point(form, length, seed, of):
    """Return a zero point of the operand's dtype, which ONNX asks for: one, or one each."""
    if form is None:
        return codes((), seed, *of) * 0
    return codes(() if form == "one" else length, seed, *of)


@given(few_rows, sizes, sizes, bytes_only, seeds, zero_point_forms, zero_point_forms)
def test_product_is_that_of_matmulinteger(integer_backend, m, k, n, of, seed, form_a, form_b):
    a, b = operand((m, k), [seed, 0], *of[0]), operand((k, n), [seed, 1], *of[1])
    za, zb = (
        own_zero_point(form_a, m, [seed, 2], of[0]),
        own_zero_point(form_b, n, [seed, 3], of[1]),
    )
    got = integer_backend.gemm_int(a, b, a_zero_point=za, b_zero_point=zb)
    # Its evaluator takes one a row as a column only.
    want = evaluate("MatMulInteger", a, b, za.reshape(-1, 1) if za.ndim else za, zb)
    assert_same_bits(got, want, integer_backend)


def test_node_test_of_matmulinteger_passes(onnx_node_tests, integer_backend):
    (((a, b, za, zb), (want,)),) = onnx_node_tests["test_matmulinteger"].data_sets
    (za,), (zb,) = za, zb
    got = integer_backend.gemm_int(a, b, a_zero_point=za, b_zero_point=zb)
    assert_same_bits(got, want, integer_backend)


@pytest.mark.parametrize("name", QLINEAR_NODE_TESTS)
def test_node_tests_of_qlinearmatmul_pass(name, onnx_node_tests, integer_backend):
    ((inputs, (want,)),) = onnx_node_tests[name].data_sets
    x, (sx,), (zx,), w, (sw,), (zw,), (sy,), (zy,) = map(array_of, inputs)
    pairs = [(x, w)] if w.ndim == 2 else zip(x, w, strict=True)
    got = [
        integer_backend.linear(
            QuantizedTensor(one, float(sx), zx, signed=one.dtype == np.int8),
            QuantizedTensor(other.T, float(sw), zw, signed=other.dtype == np.int8),
            out_dtype=zy.dtype, out_scale=float(sy), out_zero_point=zy,
        ).values
        for one, other in pairs
    ]  # fmt: skip
    assert_same_bits(np.stack(got).reshape(want.shape), array_of(want), integer_backend)


@given(few_rows, sizes, sizes, seeds, st.booleans(), st.booleans())
def test_requantized_layer_is_qlinearmatmul_where_scales_are_powers_of_two(
    integer_backend, m, k, n, seed, x_signed, out_signed
):
    # It multiplies by a product of scales, we by one after the other and divide: both are exact.
    # Its evaluator adds the zero point before it rounds: the same for an even one, ties included.
    x, w = codes((m, k), [seed, 0], 8, x_signed), codes((n, k), [seed, 1])
    sx, sw, sy = (np.float32(2.0**e) for e in np.random.default_rng(seed).integers(-9, 3, 3))
    zeros = [codes((), [seed, i], 8, s) for i, s in ((2, x_signed), (3, True), (4, out_signed))]
    zx, zw, zy = zeros
    zy = zy // 2 * 2
    got = integer_backend.linear(
        QuantizedTensor(x, sx, zx, signed=x_signed), QuantizedTensor(w, sw, zw),
        out_dtype=zy.dtype, out_scale=sy, out_zero_point=int(zy),
    )  # fmt: skip
    want = evaluate("QLinearMatMul", x, sx, zx, w.T, sw, zw, sy, zy)
    assert_same_bits(got.values, want, integer_backend)


# ---- onnxruntime and torch -----------------------------------------------------------------------
@pytest.mark.parametrize("of_a", BYTES, ids=str)
@given(m=few_rows, k=nonempty, n=nonempty, seed=seeds, form=zero_point_forms)
def test_product_is_that_of_onnxruntime(of_a, m, k, n, seed, form, integer_backend):
    a, b = operand((m, k), [seed, 0], *of_a), operand((k, n), [seed, 1], spread="small")
    za, zb = codes((), [seed, 2], *of_a), own_zero_point(form, n, [seed, 3], (8, True))
    got = integer_backend.gemm_int(a, b, a_zero_point=za, b_zero_point=zb)
    (want,) = run_node("onnxruntime", "MatMulInteger", a, b, za, zb)
    assert_same_bits(got, want, integer_backend)


@given(m=few_rows, k=sizes, n=sizes, seed=seeds)
def test_product_is_that_of_torch(m, k, n, seed, torch, integer_backend):
    a = operand((m, k), [seed, 0])
    b = operand((k, n), [seed, 1], spread="small")
    want = torch._int_mm(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert_same_bits(integer_backend.gemm_int(a, b), want, integer_backend)
