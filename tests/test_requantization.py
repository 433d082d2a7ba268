# SPDX-License-Identifier: Apache-2.0
"""requantize returns the reference's codes, whatever the shape, layout, axis and options."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions import assert_only_elements_change, assert_same_bits
from backends import one_generation, threads
from halfbyte_reference import requantize
from halfbyte_reference.inputs import floats, strided
from halfbyte_reference.inputs_quantized import accumulators, codes, scales
from quantized_cases import few, lengths
from strategies import laid_out, layouts, out_layouts, seeds, thread_counts

DTYPES = (np.int8, np.uint8)
KINDS = ("small", "normal", "power", "mixed")

dtypes = st.sampled_from(DTYPES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
one_or_each = st.sampled_from(("one", "each"))


@dataclass(frozen=True)
class Case:
    """Accumulators, and what becomes of them."""

    shape: tuple
    axis: int
    seed: int
    kind: str
    layout: str
    scale_form: str
    zero_point_form: str | None
    bias_form: str | None
    activation: str | None
    dtype: type
    options_layout: str

    @property
    def acc(self):
        return laid_out(accumulators(self.shape, [self.seed, 0]), self.layout)

    def _shape(self, form):
        return (self.shape[self.axis],) if form == "each" else ()

    @property
    def scale(self):
        kind = "normal" if self.kind == "small" else self.kind
        made = scales(self._shape(self.scale_form), [self.seed, 1], kind)
        # Small ones bring most accumulators into the range of codes.
        made = made * np.float32(2.0**-22) if self.kind == "small" else made
        return laid_out(np.asarray(made), self.options_layout)

    @property
    def options(self):
        """Every argument but acc and scale."""
        options = {"axis": self.axis, "activation": self.activation, "dtype": self.dtype}
        if self.zero_point_form is not None:
            made = codes(
                self._shape(self.zero_point_form), [self.seed, 2], 8, self.dtype is np.int8
            )
            options["zero_point"] = laid_out(made.astype(np.int32), self.options_layout)
        if self.bias_form is not None:
            made = floats(self._shape(self.bias_form), [self.seed, 3], "normal") * np.float32(60)
            options["bias"] = laid_out(np.asarray(made), self.options_layout)
        return options

    @property
    def want(self):
        return requantize(self.acc, self.scale, **self.options)


@st.composite
def cases(draw):
    shape = draw(st.lists(few, max_size=2))
    shape.insert(draw(st.integers(0, len(shape))), draw(lengths))
    return Case(
        shape=tuple(shape),
        axis=draw(st.integers(-len(shape), len(shape) - 1)),
        seed=draw(seeds),
        kind=draw(st.sampled_from(KINDS)),
        layout=draw(layouts),
        scale_form=draw(one_or_each),
        zero_point_form=draw(st.one_of(st.none(), one_or_each)),
        bias_form=draw(st.one_of(st.none(), one_or_each)),
        activation=draw(st.sampled_from((None, "relu"))),
        dtype=draw(dtypes),
        options_layout=draw(layouts),
    )


@given(case=cases(), count=thread_counts)
def test_codes_have_the_bits_of_the_reference(case, count, backend):
    with threads(count):
        got = backend.requantize(case.acc, case.scale, **case.options)
    assert_same_bits(got, case.want, backend)


@given(case=cases(), layout=out_layouts, count=thread_counts)
def test_out_of_any_strides_is_filled(case, layout, count, backend):
    out = strided(np.zeros(case.shape, case.dtype), layout)
    with threads(count):
        backend.requantize(case.acc, case.scale, **case.options, out=out)
    assert_same_bits(out, case.want, backend)


@given(case=cases(), layout=out_layouts)
def test_only_elements_of_out_are_written(case, layout, backend):
    out = strided(np.zeros(case.shape, case.dtype), layout)
    assert_only_elements_change(
        out, lambda: backend.requantize(case.acc, case.scale, **case.options, out=out)
    )


@given(case=cases())
def test_inputs_are_left_alone(case, backend):
    acc, scale, options = case.acc, case.scale, case.options
    arrays = [acc, scale, *(x for x in options.values() if isinstance(x, np.ndarray))]
    before = [array.tobytes() for array in arrays]
    backend.requantize(acc, scale, **options)
    assert [array.tobytes() for array in arrays] == before


@one_generation
@every_dtype
@pytest.mark.parametrize("layout", ["c", "transposed", "sliced", "unaligned"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", ["one", "each"])
def test_large_array_on_three_threads_has_the_bits_of_the_reference(
    dtype, layout, axis, size, backend
):
    acc = strided(accumulators((601, 1003), 1), layout)
    shape = acc.shape[axis] if size == "each" else ()
    scale = np.asarray(scales(shape, 2) * np.float32(2.0**-22))
    options = {
        "bias": np.asarray(floats(shape, 3) * np.float32(20)),
        "zero_point": codes(shape, 4, 8, dtype is np.int8).astype(np.int32),
        "activation": "relu",
        "dtype": dtype,
        "axis": axis,
    }
    with threads(3):
        got = backend.requantize(acc, scale, **options)
    assert_same_bits(got, requantize(acc, scale, **options), backend)


@pytest.mark.parametrize("k", [4095, 4096, 4097, 8191, 12289, 32769])
def test_long_row_has_the_bits_of_the_reference(k, backend):
    acc, scale = accumulators((2, k), 1), scales(k, 2) * np.float32(2.0**-22)
    bias = floats(k, 3) * np.float32(20)
    got = backend.requantize(acc, scale, bias=bias)
    assert_same_bits(got, requantize(acc, scale, bias=bias), backend)


@every_dtype
def test_the_full_range_of_the_dtype_is_used(dtype, backend):
    acc = np.resize(np.int32([2**31 - 1, -(2**31)]), 40)
    limits = np.iinfo(dtype)
    got = backend.requantize(acc, 1.0, dtype=dtype)
    assert got.tolist() == np.resize([limits.max, limits.min], 40).tolist()


def test_result_is_int8_unless_asked_otherwise(backend):
    assert backend.requantize(accumulators(3, 1), 0.1).dtype == np.int8


def test_ties_go_to_the_even_code_before_the_zero_point_is_added(backend):
    acc = np.resize(np.int32([-5, -3, -1, 1, 3, 5]), 45)
    got = backend.requantize(acc, 0.5, zero_point=1)
    assert got.tolist() == np.resize([-1, -1, 1, 1, 3, 3], 45).tolist()


def test_accumulators_are_rounded_to_float32_first(backend):
    # 2^24 + 1 is a tie and becomes 2^24, 2^24 + 3 becomes 2^24 + 4: the bias leaves 0 and 4.
    acc = np.resize(np.int32([2**24 + 1, 2**24 + 3]), 40)
    got = backend.requantize(acc, 1.0, bias=np.array(-(2.0**24), np.float32))
    assert got.tolist() == np.resize([0, 4], 40).tolist()


def test_product_is_rounded_before_the_bias_is_added(backend):
    # (2^24 - 1) (3 + 2^-22) is 50331649 and a little less; FP32 has 50331648 there. A fused
    # multiply-add leaves 1.
    acc, bias = np.full(40, 2**24 - 1, np.int32), np.array(-50331648, np.float32)
    got = backend.requantize(acc, 3 + 2.0**-22, bias=bias)
    assert got.tolist() == [0] * 40


def test_requantization_multiplies_and_does_not_divide(backend):
    # The product is just below 41.5 and becomes it in FP32, a tie; over the reciprocal it does not.
    acc, scale = np.full(40, 84, np.int32), np.float32(0.4940476)
    assert np.rint(np.float32(84) / (np.float32(1) / scale)) == 41
    assert backend.requantize(acc, scale).tolist() == [42] * 40


def test_nan_is_the_zero_point(backend):
    # float32(2^31 - 1) * 3e38 is infinite, less infinity is NaN.
    acc = np.full(40, 2**31 - 1, np.int32)
    got = backend.requantize(acc, 3e38, bias=np.array(-np.inf, np.float32), zero_point=7)
    assert (got == 7).all()


def test_nan_stays_nan_through_relu(backend):
    acc = np.full(40, -5, np.int32)
    bias = np.array(np.nan, np.float32)
    got = backend.requantize(acc, 1.0, bias=bias, zero_point=-9, activation="relu")
    assert (got == -9).all()


@pytest.mark.parametrize("bias", [np.inf, -np.inf])
def test_infinite_bias_saturates(bias, backend):
    got = backend.requantize(np.zeros(40, np.int32), 1.0, bias=np.array(bias, np.float32))
    assert (got == (127 if bias > 0 else -128)).all()


def test_relu_comes_before_the_zero_point(backend):
    got = backend.requantize(np.int32([-50, 50]), 1.0, zero_point=-100, activation="relu")
    assert got.tolist() == [-100, -50]


@every_dtype
def test_out_is_what_is_returned(dtype, backend):
    out = np.empty((3, 5), dtype)
    assert backend.requantize(accumulators((3, 5), 1), 0.1, dtype=dtype, out=out) is out


@pytest.mark.parametrize("dtype", [np.uint8, "uint8", np.dtype("uint8"), "u1"], ids=repr)
def test_dtype_may_be_anything_that_names_one(dtype, backend):
    assert backend.requantize(accumulators(3, 1), 0.1, dtype=dtype).dtype == np.uint8


@pytest.mark.parametrize("scale", [0.1, np.float32(0.1), np.array(0.1, np.float32)], ids=type)
def test_scale_of_all_may_be_a_number(scale, backend):
    acc = accumulators(50, 1)
    want = requantize(acc, np.float32(0.1))
    assert_same_bits(backend.requantize(acc, scale), want, backend)
