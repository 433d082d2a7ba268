# SPDX-License-Identifier: Apache-2.0
"""What unscale and clip_grad_norm cannot take is refused and changes nothing."""

from fractions import Fraction

import numpy as np
import pytest

import halfbyte
from assertions import refuses
from halfbyte_reference.inputs import floats, halves, strided

FUNCTIONS = {
    "unscale": lambda grads, **named: halfbyte.unscale(grads, **{"scale": 4.0} | named),
    "clip_grad_norm": lambda grads, **named: halfbyte.clip_grad_norm(grads, 1.0, **named),
}
both = pytest.mark.parametrize("name", FUNCTIONS)


@pytest.fixture
def first():
    """A gradient before the one in error, which has to stay as it is."""
    g = floats(33, 1)
    yield g
    assert g.tobytes() == floats(33, 1).tobytes()


def out_of(*arrays):
    """New arrays for results."""
    return [np.zeros(x.shape, np.float32) for x in arrays]


# ------------------------------------------------------------------------------ gradients


@both
@pytest.mark.parametrize(
    "grads", [1.0, "ab", None, {1, 2}, iter([]), np.float32(1)], ids=lambda x: type(x).__name__
)
def test_gradients_in_no_container_are_refused(name, grads):
    with refuses(TypeError, name, "grads", type(grads).__name__):
        FUNCTIONS[name](grads)


@both
@pytest.mark.parametrize(
    "dtype", ["float64", "int8", "int32", "bool", "complex64", "object", ">f4"]
)
def test_gradient_of_another_dtype_is_refused(name, dtype, first):
    with refuses(TypeError, name, "grads[2]", dtype, "float32", "float16"):
        FUNCTIONS[name]([first, None, np.zeros(3, dtype)])


@both
@pytest.mark.parametrize("entry", [1.0, [1.0], "ab", np.float32(1)], ids=repr)
def test_entry_that_is_no_array_is_refused(name, entry, first):
    with refuses(TypeError, name, "grads[1]", type(entry).__name__):
        FUNCTIONS[name]([first, entry])


@both
def test_masked_array_is_refused(name, first):
    with refuses(TypeError, name, "grads[1]", "MaskedArray"):
        FUNCTIONS[name]([first, np.ma.masked_array(floats(3, 1))])


@both
def test_entry_of_a_dict_is_named_by_its_key(name, first):
    with refuses(TypeError, name, "grads['w']", "int32"):
        FUNCTIONS[name]({"b": first, "w": np.zeros(3, np.int32)})


@both
def test_entry_of_another_library_is_refused(name, first, torch):
    with refuses(TypeError, name, "grads[1]", "torch", "numpy"):
        FUNCTIONS[name]([first, torch.zeros(3)])


@both
def test_read_only_gradient_is_refused(name, first):
    g = floats(3, 2)
    g.flags.writeable = False
    with refuses(ValueError, name, "grads[1]", "read-only"):
        FUNCTIONS[name]([first, g])


@both
def test_gradient_that_overlaps_itself_is_refused(name, first):
    g = np.lib.stride_tricks.as_strided(np.zeros(3, np.float32), (3, 2), (4, 4))
    with refuses(ValueError, name, "grads[1]"):
        FUNCTIONS[name]([first, g])


@both
def test_array_that_is_there_twice_is_refused(name, first):
    with refuses(ValueError, name, "grads[0]", "grads[2]"):
        FUNCTIONS[name]([first, None, first])


@both
def test_arrays_that_share_some_bytes_are_refused(name, first):
    memory = floats(9, 2)
    with refuses(ValueError, name, "grads[1]", "grads[2]"):
        FUNCTIONS[name]([first, memory[:5], memory[4:]])
    assert memory.tobytes() == floats(9, 2).tobytes()


@both
def test_arrays_that_take_turns_in_memory_share_no_byte(name):
    memory = np.ones(64, np.float32)
    FUNCTIONS[name]([memory[::2], memory[1::2]])


def test_half_that_is_there_twice_is_refused_for_clipping(first):
    g = halves(3, 1)
    with refuses(ValueError, "clip_grad_norm", "grads[1]", "grads[2]"):
        halfbyte.clip_grad_norm([first, g, g], 1.0)


# ------------------------------------------------------------------------------ numbers


@both
@pytest.mark.parametrize(
    "scale", [0, 0.0, -0.0, -1, -(2.0**-126), np.nan, np.inf, -np.inf, 1e39, 1e-60, 10**400],
    ids=lambda x: str(x)[:9],
)  # fmt: skip
def test_scale_that_is_not_positive_and_finite_in_float32_is_refused(name, scale, first):
    with refuses(ValueError, name, "scale"):
        FUNCTIONS[name]([first], scale=scale)


@both
@pytest.mark.parametrize(
    "scale", ["4", None, True, np.True_, 4j, np.complex64(4), [4.0], np.zeros(3), np.array("4")],
    ids=repr,
)  # fmt: skip
def test_scale_that_is_no_real_number_is_refused(name, scale, first):
    with refuses(TypeError, name, "scale"):
        FUNCTIONS[name]([first], scale=scale)


@both
def test_scale_may_be_a_fraction(name):
    FUNCTIONS[name]([floats(3, 1)], scale=Fraction(1, 3))


@pytest.mark.parametrize("scale", [2.0**-128, 2.0**-149])
def test_scale_whose_reciprocal_is_infinite_is_refused(scale, first):
    with refuses(ValueError, "unscale", "scale"):
        halfbyte.unscale([first], scale)


@pytest.mark.parametrize("max_norm", [-1, -(2.0**-1074), np.nan, -np.inf], ids=str)
def test_max_norm_below_0_is_refused(max_norm, first):
    with refuses(ValueError, "clip_grad_norm", "max_norm"):
        halfbyte.clip_grad_norm([first], max_norm)


@pytest.mark.parametrize("max_norm", ["1", None, True, 1j, [1.0], np.zeros(3)], ids=repr)
def test_max_norm_that_is_no_real_number_is_refused(max_norm, first):
    with refuses(TypeError, "clip_grad_norm", "max_norm"):
        halfbyte.clip_grad_norm([first], max_norm)


# ------------------------------------------------------------------------------ out


def test_halves_are_not_unscaled_in_place_and_the_text_says_why(first):
    with refuses(TypeError, "unscale", "grads[1]", "float16", "master weights", "out"):
        halfbyte.unscale([first, halves(3, 1)], 4.0)


def test_halves_are_no_out_of_their_own(first):
    g = halves(3, 1)
    with refuses(TypeError, "unscale", "out[1]", "float16", "float32"):
        halfbyte.unscale([first, g], 4.0, out=[first, g])
    assert g.tobytes() == halves(3, 1).tobytes()


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", ">f4"])
def test_out_of_another_dtype_is_refused(dtype, first):
    with refuses(TypeError, "unscale", "out[1]", dtype, "float32"):
        halfbyte.unscale([first, floats(3, 1)], 4.0, out=[first, np.zeros(3, dtype)])


@pytest.mark.parametrize("shape", [(4,), (1, 3), ()], ids=str)
def test_out_of_another_shape_is_refused(shape, first):
    with refuses(ValueError, "unscale", "out[1]", str(shape), "(3,)"):
        halfbyte.unscale([first, floats(3, 1)], 4.0, out=[first, np.zeros(shape, np.float32)])


@pytest.mark.parametrize("entry", [None, 1.0, [0.0] * 3], ids=repr)
def test_out_without_an_array_for_a_gradient_is_refused(entry, first):
    with refuses(TypeError, "unscale", "out[1]"):
        halfbyte.unscale([first, floats(3, 1)], 4.0, out=[first, entry])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_out_of_another_length_is_refused(count, first):
    grads = [first, None]
    with refuses(ValueError, "unscale", "out", str(count), "2"):
        halfbyte.unscale(grads, 4.0, out=[*out_of(first), None, None][:count])


@pytest.mark.parametrize("keys", ["", "a", "ab", "abcd"])
def test_out_with_other_keys_is_refused(keys, first):
    grads = {"a": first, "c": None}
    with refuses(ValueError, "unscale", "out"):
        halfbyte.unscale(grads, 4.0, out=dict.fromkeys(keys, out_of(first)[0]))


@pytest.mark.parametrize(
    "out", [{0: np.zeros(33, np.float32)}, 1.0, "a", np.zeros(33, np.float32)],
    ids=lambda x: type(x).__name__,
)  # fmt: skip
def test_out_in_another_kind_of_container_is_refused(out, first):
    with refuses(TypeError, "unscale", "out", type(out).__name__):
        halfbyte.unscale([first], 4.0, out=out)


def test_list_as_out_of_a_dict_is_refused(first):
    with refuses(TypeError, "unscale", "out", "list"):
        halfbyte.unscale({"w": first}, 4.0, out=out_of(first))


def test_read_only_out_is_refused(first):
    out = out_of(first)
    out[0].flags.writeable = False
    with refuses(ValueError, "unscale", "out[0]", "read-only"):
        halfbyte.unscale([first], 4.0, out=out)


def test_out_that_overlaps_itself_is_refused(first):
    out = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (33,), (0,))
    with refuses(ValueError, "unscale", "out[0]"):
        halfbyte.unscale([first], 4.0, out=[out])


def test_one_out_for_two_gradients_is_refused(first):
    out = out_of(first)[0]
    with refuses(ValueError, "unscale", "out[0]", "out[1]"):
        halfbyte.unscale([first, floats(33, 2)], 4.0, out=[out, out])


def test_out_that_is_another_gradient_is_refused(first):
    g = floats(33, 2)
    with refuses(ValueError, "unscale", "out[1]", "grads[0]"):
        halfbyte.unscale([first, g], 4.0, out=[*out_of(first), first])


def test_out_that_shares_some_bytes_with_its_gradient_is_refused():
    memory = floats(9, 2)
    with refuses(ValueError, "unscale", "out[0]", "grads[0]"):
        halfbyte.unscale([memory[:8]], 4.0, out=[memory[1:]])
    assert memory.tobytes() == floats(9, 2).tobytes()


def test_half_that_shares_bytes_with_out_is_refused():
    memory = floats(9, 2)
    with refuses(ValueError, "unscale", "out[0]", "grads[0]"):
        halfbyte.unscale([memory.view(np.float16)[:9]], 4.0, out=[memory])
    assert memory.tobytes() == floats(9, 2).tobytes()


def test_out_of_another_library_is_refused(first, torch):
    with refuses(TypeError, "unscale", "out[0]", "torch", "numpy"):
        halfbyte.unscale([first], 4.0, out=[torch.zeros(33)])


def test_read_only_gradients_may_have_an_out():
    g = strided(np.ones((3, 4), np.float32), "broadcast")
    out = out_of(g)
    halfbyte.unscale([g, g], 4.0, out=[*out, *out_of(g)])
    assert (out[0] == 0.25).all()
