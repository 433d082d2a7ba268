# SPDX-License-Identifier: Apache-2.0
"""clip_grad_norm measures gradients within a bound, and multiplies them by one number."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_only_elements_change, assert_same_bits, assert_within
from backends import only_numpys, threads, without
from gradients import CONTAINERS, held, in_place, present, small_shapes
from halfbyte.cpu import amp as amp_host
from halfbyte_reference import bounds
from halfbyte_reference.amp import grad_norm, times
from halfbyte_reference.inputs import LAYOUTS, far_rows, floats, halves, strided
from strategies import finite_kinds, thread_counts

FLT_MAX = float(np.finfo(np.float32).max)
SMALLEST = 2.0**-149
of_the_cpu = without("ptx", "cuda", reason="it is the CPU's")
writeable = pytest.mark.parametrize("layout", [x for x in LAYOUTS if x != "broadcast"])
loss_scales = st.sampled_from((1.0, 65536.0, 3.0, 0.1, 2.0**-126, FLT_MAX))


def exact_norm(arrays, scale=1.0):
    """The norm by an exact sum of exact squares: an FP32 number has a square in FP64."""
    squares = np.concatenate([np.zeros(1), *(x.astype(np.float64).ravel() ** 2 for x in arrays)])
    # 2^-298, the smallest square, and 2^256, the largest, are far from where FP64 ends.
    return np.asarray(math.sqrt(math.fsum(squares)) / float(np.float32(scale)))


def assert_norm(got, arrays, scale, where):
    """Claim the exact norm, within its bound."""
    want = exact_norm(arrays, scale)
    error = bounds.grad_norm(want, sum(x.size for x in arrays))
    assert_within(got, bounds.Bounded(want, error, np.zeros((), bool)), where)


def assert_clipped(got, arrays, max_norm, scale, where):
    """Claim that all gradients are multiplied by one and the same of the factors there may be."""
    count = sum(x.size for x in arrays)
    factors = bounds.clip_factors(float(exact_norm(arrays, scale)), max_norm, count)
    products = [[times(x, factor) for x in arrays] for factor in factors]
    right = [same(got, product) for product in products]
    if not any(right):
        for i, (x, want) in enumerate(zip(got, products[len(factors) // 2], strict=True)):
            assert_same_bits(x, want, f"{where}, gradient {i}")


def same(got, want):
    """Whether all bits of finite arrays are equal."""
    return all(x.tobytes() == y.tobytes() for x, y in zip(got, want, strict=True))


# ------------------------------------------------------------------------------ results


@given(case=in_place(kind=finite_kinds), scale=loss_scales)
def test_norm_is_within_its_bound(case, scale, backend):
    arrays = case.arrays
    got = backend.clip_grad_norm(case.held(arrays), math.inf, scale=scale)
    assert_norm(got, present(case.arrays), scale, backend)


@given(
    case=in_place(kind=finite_kinds),
    part=st.sampled_from((0.5, 1 / 3, 1e-3, 0.999, 1e-10, 1.0, 2.0)),
    scale=st.sampled_from((1.0, 65536.0, 3.0, 0.1)),
)
def test_gradients_are_multiplied_by_one_factor(case, part, scale, backend):
    arrays, before = case.arrays, present(case.arrays)
    max_norm = part * float(exact_norm(before, scale))
    backend.clip_grad_norm(case.held(arrays), max_norm, scale=scale)
    assert_clipped(present(arrays), before, max_norm, scale, backend)


@given(case=in_place(kind=st.just("normal"), shape=small_shapes))
def test_clipping_scaled_gradients_scales_clipped_ones(case, backend):
    # A power of two commutes with every rounding.
    arrays = present(case.arrays)
    arrays = [x.astype(np.float32) for x in arrays]
    scaled = [times(x, np.float32(1024)) for x in arrays]
    norm = backend.clip_grad_norm(arrays, 1.0)
    assert_same_bits(backend.clip_grad_norm(scaled, 1.0, scale=1024.0), norm, backend)
    assert same(scaled, [times(x, np.float32(1024)) for x in arrays])


@given(case=in_place(kind=finite_kinds), more=st.sampled_from((1e-5, 1.0, math.inf)))
def test_factor_1_leaves_every_byte(case, more, backend):
    arrays, before = case.arrays, present(case.arrays)
    norm = float(exact_norm(before))
    backend.clip_grad_norm(arrays, norm + more * (1 + norm))
    assert same(present(arrays), before)


@given(
    case=in_place(shape=small_shapes),
    position=st.floats(0, 1, exclude_max=True),
    bad=st.sampled_from((np.inf, -np.inf, np.nan)),
    half=st.booleans(),
)
def test_gradients_whose_norm_is_not_finite_stay(case, position, bad, half, backend):
    one = np.ones(67, np.float16 if half else np.float32)
    one[int(position * 67)] = bad
    arrays, before = [*case.arrays, one], [*present(case.arrays), one.copy()]
    got = backend.clip_grad_norm(arrays, 1e-3)
    assert_same_bits(got, grad_norm(before), backend)
    assert same(present(arrays), before)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_max_norm_0_makes_zeros_of_the_same_sign(dtype, backend):
    g = np.array([1, -2, 0, -0.0, 65504], dtype)
    backend.clip_grad_norm([g], 0)
    assert_same_bits(g, np.array([0, -0.0, 0, -0.0, 0], dtype), backend)


@pytest.mark.parametrize("max_norm", [0.0, 1.0, math.inf])
def test_gradients_of_zeros_stay(max_norm, backend):
    g = np.float32([0, -0.0] * 20)
    assert_same_bits(backend.clip_grad_norm([g], max_norm), np.zeros(()), backend)
    assert_same_bits(g, np.float32([0, -0.0] * 20), backend)


def test_a_small_number_keeps_short_gradients_from_growing(backend):
    g = np.float32([1e-7])
    norm = backend.clip_grad_norm([g], 1e-7)
    assert_norm(norm, [np.float32([1e-7])], 1.0, backend)
    assert_clipped([g], [np.float32([1e-7])], 1e-7, 1.0, backend)
    assert g[0] < np.float32(1e-7) / 10


@pytest.mark.parametrize("number", [FLT_MAX, SMALLEST, -FLT_MAX, 2.0**-126])
@pytest.mark.parametrize("scale", [1.0, FLT_MAX, 2.0**-126, SMALLEST])
def test_no_square_overflows_or_underflows(number, scale, backend):
    g = np.full(67, number, np.float32)
    got = backend.clip_grad_norm([g], math.inf, scale=scale)
    assert_norm(got, [g], scale, backend)


def test_small_squares_beside_a_large_one_count(backend):
    g = np.full(2**17, 2.0**-13, np.float16)
    g[0] = 1  # the others add 2^-9
    assert_norm(backend.clip_grad_norm([g], math.inf), [g], 1.0, backend)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("count", [0, 3])
def test_no_gradients_have_norm_0(container, count, backend):
    got = backend.clip_grad_norm(held([None] * count, container), 1.0)
    assert_same_bits(got, np.zeros(()), backend)


def test_arrays_without_elements_have_norm_0(backend):
    got = backend.clip_grad_norm([np.zeros((3, 0), np.float32), np.zeros(0, np.float16)], 1.0)
    assert_same_bits(got, np.zeros(()), backend)


def test_one_array_counts_as_a_list_of_one(backend):
    g, before = halves((3, 5), 1), halves((3, 5), 1)
    norm = backend.clip_grad_norm(g, 1.0)
    assert_norm(norm, [before], 1.0, backend)
    assert_clipped([g], [before], 1.0, 1.0, backend)


@pytest.mark.parametrize(
    "max_norm",
    [1, np.float32(1), np.float64(1), np.int8(1), only_numpys(np.array(1.0))],
    ids=repr,
)
def test_max_norm_may_be_any_kind_of_real_number(max_norm, backend):
    g, before = floats(9, 1), floats(9, 1)
    backend.clip_grad_norm([g], max_norm)
    assert_clipped([g], [before], 1.0, 1.0, backend)


@writeable
@pytest.mark.parametrize("make", [floats, halves])
def test_bytes_between_elements_stay(make, layout, backend):
    g = strided(make((33, 35), 1), layout)
    assert_only_elements_change(g, lambda: backend.clip_grad_norm([g], 1.0))


# ------------------------------------------------------------------------------ threads, torch


@of_the_cpu
@given(case=in_place(kind=finite_kinds), count=thread_counts)
def test_thread_count_changes_no_bit(case, count, backend):
    alone, together = case.arrays, case.arrays
    with pytest.MonkeyPatch.context() as patch:
        # Threads that cost nothing, or the arrays here would stay on the calling one.
        patch.setattr(amp_host, "_THREADED", 1)
        with threads(1):
            want = backend.clip_grad_norm(alone, 1.0)
        with threads(count):
            got = backend.clip_grad_norm(together, 1.0)
    assert_same_bits(got, want, backend)
    assert same(present(together), present(alone))


@of_the_cpu
@pytest.mark.parametrize("count", [1, 2, 3])
def test_large_gradients_on_threads_are_within_the_bounds(count, backend):
    arrays = [floats(2**19 + 5, 1), halves(2**18 - 3, 2)]
    before = [x.copy() for x in arrays]
    with threads(count):
        norm = backend.clip_grad_norm(arrays, 1.0)
    assert_norm(norm, before, 1.0, backend)
    assert_clipped(arrays, before, 1.0, 1.0, backend)


@of_the_cpu
def test_large_gradients_have_the_same_bits_on_any_number_of_threads(backend):
    results = set()
    for count in (1, 2, 3):
        g = floats(2**19 + 5, 1, "wide")
        with threads(count):
            results.add((backend.clip_grad_norm([g], 1.0).tobytes(), g.tobytes()))
    assert len(results) == 1


@of_the_cpu
def test_rows_may_lie_more_than_two_gib_apart(backend):
    before = floats((3, 70), 1)
    g = far_rows(before)
    assert_norm(backend.clip_grad_norm([g], 1.0), [before], 1.0, backend)
    assert_clipped([g], [before], 1.0, 1.0, backend)


@of_the_cpu
def test_tensors_are_clipped_in_place(backend, torch):
    values = [floats((5, 7), 1), halves(9, 2)]
    tensors = [torch.from_numpy(x.copy()) for x in values]
    norm = backend.clip_grad_norm(tensors, 1.0)
    assert (type(norm), norm.dtype, norm.shape) == (torch.Tensor, torch.float64, ())
    assert_norm(norm.numpy(), values, 1.0, backend)
    assert_clipped([x.numpy() for x in tensors], values, 1.0, 1.0, backend)
