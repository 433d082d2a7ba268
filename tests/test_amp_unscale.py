# SPDX-License-Identifier: Apache-2.0
"""unscale divides gradients by the loss scale, and finds each infinity and NaN and no other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_only_elements_change, assert_same_bits
from backends import only_numpys, threads, without
from gradients import (
    CONTAINERS,
    gradients,
    held,
    in_place,
    lengths,
    present,
    scales,
    small_shapes,
    with_one,
)
from halfbyte.cpu import amp as amp_host
from halfbyte_reference import unscale
from halfbyte_reference.amp import found_inf
from halfbyte_reference.inputs import LAYOUTS, far_rows, floats, halves, strided
from strategies import out_layouts, seeds, thread_counts

FLT_MAX = np.finfo(np.float32).max
of_the_cpu = without("ptx", "cuda", reason="it is the CPU's")
writeable = pytest.mark.parametrize("layout", [x for x in LAYOUTS if x != "broadcast"])


def assert_unscaled(got, arrays, scale, where):
    """Claim the reference's bits of every result that has a gradient."""
    for i, (x, g) in enumerate(zip(got, arrays, strict=True)):
        if g is not None:
            assert_same_bits(x, unscale(g, scale), f"{where}, gradient {i}")


def verdict(arrays, scale):
    """Whether the reference finds an infinity or a NaN."""
    return found_inf(unscale(g, scale) for g in present(arrays))


# ------------------------------------------------------------------------------ results


@given(case=in_place(half=False), scale=scales)
def test_gradients_in_place_have_the_bits_of_the_reference(case, scale, backend):
    arrays, before = case.arrays, case.arrays
    got = backend.unscale(case.held(arrays), scale)
    assert_unscaled(arrays, before, scale, backend)
    assert_same_bits(got, verdict(before, scale), backend)


@given(case=gradients(), scale=scales, layout=out_layouts)
def test_out_has_the_bits_of_the_reference_and_gradients_stay(case, scale, layout, backend):
    arrays, before = case.arrays, case.arrays
    outs = [None if g is None else strided(np.zeros(g.shape, np.float32), layout) for g in arrays]
    got = backend.unscale(case.held(arrays), scale, out=case.held(outs))
    assert_unscaled(outs, before, scale, backend)
    assert_same_bits(got, verdict(before, scale), backend)
    assert [g.tobytes() for g in present(arrays)] == [g.tobytes() for g in present(before)]


@given(case=in_place(), scale=scales)
def test_out_may_be_the_gradients_that_are_float32(case, scale, backend):
    arrays, before = case.arrays, case.arrays
    outs = [
        g if g is None or g.dtype == np.float32 else np.zeros(g.shape, np.float32) for g in arrays
    ]
    backend.unscale(case.held(arrays), scale, out=case.held(outs))
    assert_unscaled(outs, before, scale, backend)


@given(shape=small_shapes, half=st.booleans(), seed=seeds)
def test_one_array_counts_as_a_list_of_one(shape, half, seed, backend):
    g = (halves if half else floats)(shape, seed, "nasty")
    out = np.zeros(shape, np.float32)
    got = backend.unscale(g, 3.0, out=out)
    assert_same_bits(out, unscale(g, 3.0), backend)
    assert_same_bits(got, verdict([g], 3.0), backend)


@pytest.mark.parametrize("ours", ["list", "tuple"])
@pytest.mark.parametrize("theirs", ["list", "tuple"])
def test_lists_and_tuples_go_together(ours, theirs, backend):
    arrays, outs = [halves(5, 1), halves(6, 2)], [np.zeros(5, np.float32), np.zeros(6, np.float32)]
    backend.unscale(held(arrays, ours), 2, out=held(outs, theirs))
    assert_unscaled(outs, arrays, 2, backend)


def test_keys_of_out_may_come_in_another_order(backend):
    arrays = {"w": halves((3, 4), 1), 7: halves(4, 2)}
    out = {7: np.zeros(4, np.float32), "w": np.zeros((3, 4), np.float32)}
    backend.unscale(arrays, 2, out=out)
    assert_unscaled([out["w"], out[7]], list(arrays.values()), 2, backend)


@pytest.mark.parametrize("ignored", [None, 3, "x", np.zeros(2)], ids=str)
def test_out_is_ignored_where_the_gradient_is_none(ignored, backend):
    g, out = halves(5, 1), np.zeros(5, np.float32)
    backend.unscale([None, g], 2, out=[ignored, out])
    assert_same_bits(out, unscale(g, 2), backend)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("count", [0, 3])
def test_no_gradients_are_finite(container, count, backend):
    assert_same_bits(backend.unscale(held([None] * count, container), 2), np.asarray(False))


@pytest.mark.parametrize(
    "scale",
    [
        *(3, np.float16(3), np.float32(3), np.float64(3), np.int8(3)),
        *(only_numpys(np.array(x)) for x in (3.0, 3)),  # on a GPU to ask for it would wait
    ],
    ids=lambda x: f"{type(x).__name__} {getattr(x, 'dtype', '')}",
)
def test_scale_may_be_any_kind_of_real_number(scale, backend):
    g = floats(5, 1)
    backend.unscale([got := g.copy()], scale)
    assert_same_bits(got, unscale(g, 3.0), backend)


def test_scale_is_rounded_before_its_reciprocal_is(backend):
    # 1 / 0.1 is 10; the reciprocal of float32(0.1) is nearest to 9.99999985.
    g = np.ones(3, np.float32)
    backend.unscale([g], 0.1)
    assert_same_bits(g, np.full(3, 1 / np.float64(np.float32(0.1)), np.float32), backend)


def test_results_below_the_normal_numbers_are_kept(backend):
    g = np.float32([2.0**-126, -(2.0**-149), 2.0**-100])
    backend.unscale([g], 2)
    assert_same_bits(g, np.float32([2.0**-127, -0.0, 2.0**-101]), backend)


@writeable
@pytest.mark.parametrize("shape", [(65,), (33, 35)], ids=str)
def test_bytes_between_elements_stay(shape, layout, backend):
    g = strided(floats(shape, 1), layout)
    assert_only_elements_change(g, lambda: backend.unscale([g], 3.0))


@writeable
def test_bytes_between_elements_of_out_stay(layout, backend):
    out = strided(np.zeros((33, 35), np.float32), layout)
    assert_only_elements_change(out, lambda: backend.unscale([halves((33, 35), 1)], 3.0, out=[out]))


# ------------------------------------------------------------------------------ verdicts

# On a device, those around the ends of units.
PLACES = [i if i in (0, 7, 8, 64, 66) else pytest.param(i, marks=of_the_cpu) for i in range(67)]


@pytest.mark.parametrize("bad", [-np.inf, np.nan])
@pytest.mark.parametrize("position", PLACES)
@pytest.mark.parametrize("layout", ["unaligned", "sliced"])
def test_one_bad_float32_is_found_at_each_place(layout, position, bad, backend):
    assert backend.unscale([with_one((67,), layout, False, position, bad)], 1)


@pytest.mark.parametrize("position", PLACES)
@pytest.mark.parametrize("layout", ["unaligned", "sliced"])
def test_one_bad_float16_is_found_at_each_place(layout, position, backend):
    g = with_one((67,), layout, True, position, np.inf)
    assert backend.unscale([g], 1, out=[np.zeros(67, np.float32)])


@given(
    before=gradients(kind=st.just("normal"), shape=small_shapes),
    after=gradients(kind=st.just("normal"), shape=small_shapes),
    length=lengths.filter(bool),
    place=st.floats(0, 1, exclude_max=True),
    layout=out_layouts,
    half=st.booleans(),
    bad=st.sampled_from((np.inf, -np.inf, np.nan)),
)
def test_one_bad_number_is_found_among_many_arrays(
    before, after, length, place, layout, half, bad, backend
):
    grads = [*before.arrays, with_one((length,), layout, half, int(place * length), bad)]
    grads += after.arrays
    outs = [None if g is None else np.zeros(g.shape, np.float32) for g in grads]
    assert backend.unscale(grads, 65536.0, out=outs)
    assert_unscaled(outs, grads, 65536.0, backend)


@given(length=lengths, layout=out_layouts, half=st.booleans(), scale=st.sampled_from((1, 1.5)))
def test_largest_finite_numbers_are_finite(length, layout, half, scale, backend):
    dtype = np.float16 if half else np.float32
    g = strided(np.full(length, np.finfo(dtype).max, dtype), layout)
    assert not backend.unscale([g, -g], scale, out=[np.zeros(length, np.float32) for _ in "ab"])


@given(shape=small_shapes, layout=out_layouts)
def test_what_lies_between_the_elements_is_not_found(shape, layout, backend):
    # strided fills the gaps with NaNs.
    assert not backend.unscale([strided(np.ones(shape, np.float32), layout)], 2)


@pytest.mark.parametrize("position", [0, 1, 15, 16, 31, 32, 33, 66])
def test_result_that_overflows_is_found(position, backend):
    g = np.ones(67, np.float32)
    g[position] = FLT_MAX
    assert backend.unscale([g], 0.5)


@pytest.mark.parametrize("position", [0, 1, 15, 16, 31, 32, 33, 66])
def test_result_of_a_half_that_overflows_is_found(position, backend):
    g = np.ones(67, np.float16)
    g[position] = 65504
    assert backend.unscale([g], 2.0**-126, out=[np.zeros(67, np.float32)])


def test_largest_half_does_not_overflow_as_a_float(backend):
    g = np.full(67, 65504, np.float16)
    assert not backend.unscale([g], 2.0**-100, out=[np.zeros(67, np.float32)])


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4)], ids=str)
def test_arrays_without_elements_hide_no_bad_number(shape, backend):
    empty = [np.zeros(shape, np.float32) for _ in range(2)]
    assert not backend.unscale(empty, 2)
    assert backend.unscale([empty[0], np.float32([np.nan]), empty[1]], 2)


@pytest.mark.parametrize("number", [0, 1, 100, 198, 199])
def test_one_bad_number_is_found_in_any_of_200_arrays(number, backend):
    grads = [floats(1 + i, i) for i in range(200)]
    assert not backend.unscale(grads, 2)
    grads[number][-1] = np.nan
    assert backend.unscale(grads, 2)


# ------------------------------------------------------------------------------ threads


@pytest.fixture
def few_elements_use_the_pool(monkeypatch):
    """Threads that cost nothing, or the arrays here would stay on the calling one."""
    monkeypatch.setattr(amp_host, "_THREADED", 1)


@of_the_cpu
@given(case=in_place(half=False), count=thread_counts)
@pytest.mark.usefixtures("few_elements_use_the_pool")
def test_thread_count_changes_no_bit(case, count, backend):
    arrays, before = case.arrays, case.arrays
    with threads(count):
        got = backend.unscale(arrays, 3.0)
    assert_unscaled(arrays, before, 3.0, backend)
    assert_same_bits(got, verdict(before, 3.0), backend)


@of_the_cpu
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("place", [None, 0, 2**18, 2**19 + 4], ids=str)
def test_one_bad_number_is_found_by_any_thread(place, count, backend):
    g = floats(2**19 + 5, 1)
    if place is not None:
        g[place] = np.inf
    got = g.copy()
    with threads(count):
        found = backend.unscale([np.ones(3, np.float32), got], 3.0)
    assert found == (place is not None)
    assert_same_bits(got, unscale(g, 3.0), backend)


@of_the_cpu
def test_rows_may_lie_more_than_two_gib_apart(backend):
    g = halves((3, 70), 1)
    out = far_rows(np.zeros((3, 70), np.float32))
    backend.unscale([far_rows(g)], 3.0, out=[out])
    assert_same_bits(out, unscale(g, 3.0), backend)


# ------------------------------------------------------------------------------ torch


@of_the_cpu
def test_tensors_are_unscaled_in_place(backend, torch):
    values = floats((5, 70), 1)
    tensor = torch.from_numpy(values.copy())
    backend.unscale([tensor, None], 3.0)
    assert_same_bits(tensor.numpy(), unscale(values, 3.0), backend)


@of_the_cpu
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_verdict_on_tensors_is_a_tensor(bad, backend, torch):
    got = backend.unscale([torch.ones(5), torch.full((3,), bad)], 2.0)
    assert isinstance(got, torch.Tensor)
    assert (got.dtype, got.shape, bool(got)) == (torch.bool, (), True)


@of_the_cpu
@given(case=in_place(half=False), scale=st.sampled_from((1.0, 65536.0, 3.0)))
def test_torch_unscales_to_the_same_bits(case, scale, backend, torch):
    arrays = [g.copy(order="C") for g in present(case.arrays)]
    tensors = [torch.from_numpy(g.copy()) for g in arrays]
    found, inv = torch.zeros(1), torch.tensor([scale]).double().reciprocal().float()
    if tensors:
        torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, inv)
    got = backend.unscale(arrays, scale)
    assert bool(got) == (found.item() != 0)
    for g, tensor in zip(arrays, tensors, strict=True):
        assert_same_bits(g, tensor.numpy(), backend)
