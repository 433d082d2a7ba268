# SPDX-License-Identifier: Apache-2.0
"""Where results go: out of any strides, out that is c, memory shared or not, far offsets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from assertions import assert_only_elements_change, assert_same_bits, refuses
from halfbyte_reference import gemm_f16
from halfbyte_reference.inputs import floats, halves, strided
from strategies import coefficients, epilogues, gemm_cases, out_layouts, sizes

DTYPES = (np.float16, np.float32)


@given(case=gemm_cases(), steps=epilogues(), layout=out_layouts)
def test_only_elements_of_out_are_written(case, steps, layout, backend):
    out = strided(np.zeros(case.shape, np.float16 if steps.out_half else np.float32), layout)
    arguments = steps.arguments(case.shape)
    assert_only_elements_change(out, lambda: backend.gemm_f16(case.a, case.b, **arguments, out=out))


@given(
    case=gemm_cases(),
    layout=out_layouts,
    dtype=st.sampled_from(DTYPES),
    alpha=coefficients,
    beta=coefficients,
)
def test_out_may_be_c(case, layout, dtype, alpha, beta, backend):
    values = floats(case.shape, [case.seed, 2]).astype(dtype)
    c = strided(values, layout)
    arguments = {"alpha": alpha, "beta": beta, "activation": "relu"}
    want = gemm_f16(case.a, case.b, c=values, out_dtype=dtype, **arguments)
    backend.gemm_f16(case.a, case.b, c=c, out=c, **arguments)
    assert_same_bits(c, want, backend)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_out_that_is_c_keeps_c_across_blocks_of_k(dtype, backend):
    a, b = halves((70, 2100), 1), halves((2100, 90), 2)
    values = floats((70, 90), 3).astype(dtype)
    c = values.copy()
    backend.gemm_f16(a, b, beta=0.5, c=c, out=c)
    want = gemm_f16(a, b, beta=0.5, c=values, out_dtype=dtype)
    assert_same_bits(c, want, backend)


def test_out_may_be_another_view_of_all_of_c(backend):
    a, b, c = halves((3, 5), 1), halves((5, 7), 2), floats((3, 7), 3)
    want = gemm_f16(a, b, beta=2, c=c)
    assert_same_bits(backend.gemm_f16(a, b, beta=2, c=c[:], out=c), want, backend)


def test_out_may_lie_between_the_elements_of_an_input(backend):
    memory = halves((6, 12), 1)
    a, out, b = memory[:, ::2], memory[:, 1::2], halves((6, 6), 2)
    want = gemm_f16(a, b, out_dtype=np.float16)
    assert_same_bits(backend.gemm_f16(a, b, out=out), want, backend)


def test_out_may_have_rows_that_interleave(backend):
    # Rows at 0, 3, 6 and columns at 0, 2 of one buffer: no element twice, neither axis outermost.
    a, b, memory = halves((3, 5), 1), halves((5, 2), 2), np.zeros(9, np.float32)
    out = as_strided(memory, (3, 2), (12, 8))
    backend.gemm_f16(a, b, out=out)
    assert_same_bits(out, gemm_f16(a, b), backend)


@pytest.mark.parametrize("argument", ["a", "b", "bias", "c"])
def test_out_that_shares_bytes_with_an_input_is_refused(argument, backend):
    memory = np.zeros(400, np.float32)
    shared = {
        "a": memory.view(np.float16)[13:28].reshape(3, 5),
        "b": memory.view(np.float16)[13:48].reshape(5, 7),
        "bias": memory[10:17],
        "c": memory[1:22].reshape(3, 7),
    }
    arguments = {"a": halves((3, 5), 1), "b": halves((5, 7), 2)} | {argument: shared[argument]}
    with refuses(ValueError, "gemm_f16", "out", argument):
        backend.gemm_f16(**arguments, out=memory[:21].reshape(3, 7))


def test_out_at_the_address_of_c_with_another_dtype_is_refused(backend):
    out = np.zeros((3, 7), np.float32)
    c = out.reshape(-1).view(np.float16)[:21].reshape(3, 7)
    with refuses(ValueError, "gemm_f16", "out", "c"):
        backend.gemm_f16(halves((3, 5), 1), halves((5, 7), 2), beta=1, c=c, out=out)


def test_out_at_the_address_of_c_with_other_strides_is_refused(backend):
    out = np.zeros((5, 5), np.float32)
    with refuses(ValueError, "gemm_f16", "out", "c"):
        backend.gemm_f16(halves((5, 3), 1), halves((3, 5), 2), beta=1, c=out.T, out=out)


def test_out_whose_first_row_is_c_is_refused(backend):
    out = np.zeros((3, 7), np.float32)
    with refuses(ValueError, "gemm_f16", "out", "c"):
        backend.gemm_f16(halves((3, 5), 1), halves((5, 7), 2), beta=1, c=out[0], out=out)


@pytest.mark.parametrize("argument", ["x", "w", "bias"])
def test_out_of_a_layer_that_shares_bytes_with_an_input_is_refused(argument, backend):
    memory = np.zeros(400, np.float32)
    shared = {
        "x": memory[13:28].reshape(3, 5),
        "w": memory.view(np.float16)[13:48].reshape(7, 5),
        "bias": memory[10:17],
    }
    arguments = {"x": halves((3, 5), 1), "w": halves((7, 5), 2)} | {argument: shared[argument]}
    with refuses(ValueError, "linear", "out", argument):
        backend.linear(**arguments, out=memory[:21].reshape(3, 7))


@pytest.mark.parametrize("strides", [(0, 4), (4, 4), (28, 0), (8, 4)], ids=str)
def test_out_that_overlaps_itself_is_refused(strides, backend):
    out = as_strided(np.zeros(40, np.float32), (3, 7), strides)
    with refuses(ValueError, "gemm_f16", "out"):
        backend.gemm_f16(halves((3, 5), 1), halves((5, 7), 2), out=out)


def far_rows(shape, dtype):
    """Return an array whose last row starts more than 2^31 bytes after its first.

    Untouched pages of zeros take no memory, so the rows are all there is.
    """
    rows, columns = shape
    step = -(-(2**31 + 4096) // (rows - 1)) // np.dtype(dtype).itemsize
    memory = np.zeros((rows - 1) * step + columns, dtype)
    return as_strided(memory, shape, (step * memory.itemsize, memory.itemsize))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("argument", ["a", "b"])
def test_operand_may_span_more_than_two_gib(argument, transposed, backend):
    shapes = {"a": (5, 9), "b": (9, 70)}
    near = {name: halves(shape, 1) for name, shape in shapes.items()}
    shape = shapes[argument]
    far = far_rows(shape[::-1] if transposed else shape, np.float16)
    far = far.T if transposed else far
    far[...] = near[argument]
    got = backend.gemm_f16(**near | {argument: far})
    assert_same_bits(got, gemm_f16(**near), backend)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_out_and_c_may_span_more_than_two_gib(dtype, backend):
    a, b, values = halves((5, 9), 1), halves((9, 70), 2), floats((5, 70), 3).astype(dtype)
    c = far_rows((5, 70), dtype)
    c[...] = values
    backend.gemm_f16(a, b, beta=1, c=c, out=c)
    assert_same_bits(c, gemm_f16(a, b, beta=1, c=values, out_dtype=dtype), backend)


def test_rows_may_be_more_than_two_to_the_31_elements_apart(backend):
    # 4 GiB of address space, two pages of memory.
    memory = np.zeros(2**31 + 64, np.float16)
    a = as_strided(memory, (2, 9), (2**32 + 64, 2))
    a[...] = near = halves((2, 9), 1)
    b = halves((9, 70), 2)
    assert_same_bits(backend.gemm_f16(a, b), gemm_f16(near, b), backend)


@pytest.mark.parametrize("function", ["to_f16", "to_f32"])
def test_cast_may_span_more_than_two_gib(function, backend):
    source, target = (np.float32, np.float16) if function == "to_f16" else (np.float16, np.float32)
    x = far_rows((3, 70), source)
    x[...] = values = halves((3, 70), 1).astype(source)
    assert_same_bits(getattr(backend, function)(x), values.astype(target), backend)


@given(m=sizes, n=sizes)
def test_zero_stride_operands_need_no_memory_of_their_own(m, n, backend):
    k = 33
    a = np.broadcast_to(np.float16(1.5), (m, k))
    b = np.broadcast_to(np.float16(2), (k, n))
    assert_same_bits(backend.gemm_f16(a, b), np.full((m, n), 3.0 * k, np.float32), backend)
