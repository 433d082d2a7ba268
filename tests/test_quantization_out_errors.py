# SPDX-License-Identifier: Apache-2.0
"""Results of quantization have nowhere else to go: a bad `out` is refused and stays as it was."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from assertions import refuses
from backends import looks_at_values, only_numpys
from halfbyte import QuantizedTensor
from halfbyte_reference.inputs import floats
from halfbyte_reference.inputs_quantized import accumulators, codes

X = floats((3, 5), 1)
S = np.float32([0.1, 0.2, 0.3])
CODES = codes((3, 5), 1)


def room(**changed):
    """Return a tensor for X's codes with a scale for each row, but for what `changed` says."""
    parts = {"values": codes((3, 5), 2), "scale": S + 1, "zero_point": None, "axis": 0} | changed
    return QuantizedTensor(**parts)


def copies(q):
    return [part.tobytes() for part in (q.values, q.scale, q.zero_point) if part is not None]


OTHERS = {
    "bits": room(bits=4, values=np.zeros((3, 3), np.uint8), shape=(3, 5)),
    "axis": room(axis=1, scale=np.ones(5, np.float32)),
    "no axis": room(axis=None, scale=1.0),
    "signed": room(values=np.zeros((3, 5), np.uint8), signed=False, zero_point=np.int32([0, 0, 0])),
    "shape": room(values=np.zeros((3, 6), np.int8)),
    "zero_point": room(zero_point=np.int32([0, 0, 0])),
}


@pytest.mark.parametrize("given", [{}, {"scale": S}], ids=["data", "scale"])
@pytest.mark.parametrize("other", OTHERS)
def test_out_of_another_form(other, given, backend):
    out = OTHERS[other]
    before = copies(out)
    with refuses(ValueError, "quantize", "out", other.removeprefix("no ")):
        backend.quantize(X, axis=0, **given, out=out)
    assert copies(out) == before


def test_grouped_out_of_channels(backend):
    out = room(axis=None, group_size=5, scale=np.ones((3, 1), np.float32))
    with refuses(ValueError, "quantize", "out", "axis", "None", "0"):
        backend.quantize(X, axis=0, out=out)


def test_out_of_other_groups(backend):
    out = room(axis=None, group_size=4, scale=np.ones((3, 2), np.float32))
    with refuses(ValueError, "quantize", "out", "group_size", "4", "3"):
        backend.quantize(X, group_size=3, out=out)


def test_symmetric_out_of_affine_codes(backend):
    with refuses(ValueError, "quantize", "out", "zero_point"):
        backend.quantize(X, axis=0, symmetric=False, out=room())


def test_out_of_a_negative_axis_is_the_same_axis(backend):
    out = room()
    assert backend.quantize(X, axis=-2, out=out) == backend.quantize(X, axis=0)


@pytest.mark.parametrize("out", [only_numpys(np.zeros((3, 5), np.int8)), [1], 1.0], ids=type)
def test_out_that_is_no_quantized_tensor(out, backend):
    with refuses(TypeError, "quantize", "out", type(out).__name__, "QuantizedTensor"):
        backend.quantize(X, axis=0, out=out)


@pytest.mark.parametrize("part", ["values", "scale", "zero_point"])
def test_read_only_part_of_out(part, backend):
    out = room(zero_point=np.int32([0, 0, 0]))
    getattr(out, part).flags.writeable = False
    before = copies(out)
    with refuses(ValueError, "quantize", "out", "read-only"):
        backend.quantize(X, axis=0, symmetric=False, out=out)
    assert copies(out) == before


@pytest.mark.parametrize("part", ["values", "scale", "zero_point"])
def test_part_of_out_that_overlaps_itself(part, backend):
    shape = (3, 5) if part == "values" else (3,)
    dtype = {"values": np.int8, "scale": np.float32, "zero_point": np.int32}[part]
    strides = (0,) * (len(shape) - 1) + (0,)
    same = as_strided(np.ones(1, dtype), shape, strides)
    out = room(**{"zero_point": np.int32([0, 0, 0]), part: same})
    with refuses(ValueError, "quantize", "out"):
        backend.quantize(X, axis=0, symmetric=False, out=out)


@pytest.mark.parametrize("part", ["values", "scale"])
def test_part_of_out_that_shares_bytes_with_x(part, backend):
    x = X.copy()
    shared = {"values": x.reshape(-1)[:4].view(np.int8)[:15].reshape(3, 5), "scale": x[:, 0]}
    shared["scale"][...] = 1
    before = x.tobytes()
    with refuses(ValueError, "quantize", "out", "x"):
        backend.quantize(x, axis=0, out=room(**{part: shared[part]}))
    assert x.tobytes() == before


def test_scale_of_out_that_shares_some_bytes_with_the_scale(backend):
    memory = np.ones(4, np.float32)
    with refuses(ValueError, "quantize", "out", "scale"):
        backend.quantize(X, axis=0, scale=memory[:3], out=room(scale=memory[1:]))


def test_values_and_scale_of_out_that_share_bytes(backend):
    memory = np.ones(5, np.float32)
    values = memory.view(np.int8)[:15].reshape(3, 5)
    with refuses(ValueError, "quantize", "out"):
        backend.quantize(X, axis=0, out=room(values=values, scale=memory[2:]))


BAD_CALLS = {
    "non-finite data": {"x": np.where(X[1, 2] == X, np.nan, X).astype(np.float32)},
    "scale": {"scale": np.float32([1, -1, 1])},
    "scale shape": {"scale": np.ones(5, np.float32)},
    "method": {"method": "max"},
    "rounding": {"rounding": "up"},
    "seed": {"rounding": "stochastic", "seed": -1},
}


VALUES = {"zero point": {"scale": S, "zero_point": np.int32([0, 0, 300])}}


@pytest.mark.parametrize(
    "name", [*BAD_CALLS, *(pytest.param(name, marks=looks_at_values) for name in VALUES)]
)
def test_refusal_leaves_out_alone(name, backend):
    out = room(zero_point=np.int32([5, 6, 7]))
    before = copies(out)
    with refuses(ValueError, "quantize"):
        bad = (BAD_CALLS | VALUES)[name]
        backend.quantize(**{"x": X, "axis": 0, "symmetric": False, "out": out} | bad)
    assert copies(out) == before


PLAIN = {
    "dequantize": ({"q": room()}, np.float32),
    "requantize": ({"acc": accumulators((3, 5), 1), "scale": S, "axis": 0}, np.int8),
    "fake_quantize": ({"x": X, "scale": S, "axis": 0}, np.float32),
    "fake_quantize_backward": ({"dy": X, "x": X, "scale": S, "axis": 0}, np.float32),
}
plain = pytest.mark.parametrize("function", PLAIN)


def call(backend, function, out):
    return getattr(backend, function)(**PLAIN[function][0], out=out)


@plain
@pytest.mark.parametrize("shape", [(5, 3), (3, 6), (5,), (1, 3, 5), ()], ids=str)
def test_out_of_another_shape(function, shape, backend):
    with refuses(ValueError, function, "out", str(shape), "(3, 5)"):
        call(backend, function, np.zeros(shape, PLAIN[function][1]))


@plain
@pytest.mark.parametrize("dtype", ["float64", "int32", only_numpys("object"), only_numpys(">f4")])
def test_out_of_another_dtype(function, dtype, backend):
    with refuses(TypeError, function, "out", dtype):
        call(backend, function, np.zeros((3, 5), dtype))


@plain
def test_out_of_the_other_dtype(function, backend):
    # The results are float32 and int8 here.
    other = np.uint8 if function == "requantize" else np.float16
    with refuses(TypeError, function, "out", np.dtype(other).name):
        call(backend, function, np.zeros((3, 5), other))


@plain
def test_out_that_is_no_array(function, backend):
    with refuses(TypeError, function, "out", "list"):
        call(backend, function, [[0.0] * 5] * 3)


@plain
def test_masked_out(function, backend):
    with refuses(TypeError, function, "out", "MaskedArray"):
        call(backend, function, np.ma.masked_array(np.zeros((3, 5), PLAIN[function][1])))


@plain
def test_read_only_out(function, backend):
    out = np.zeros((3, 5), PLAIN[function][1])
    out.flags.writeable = False
    with refuses(ValueError, function, "out", "read-only"):
        call(backend, function, out)


@plain
@pytest.mark.parametrize("zero", [0, 1])
def test_out_that_overlaps_itself(function, zero, backend):
    dtype = np.dtype(PLAIN[function][1])
    strides = [5 * dtype.itemsize, dtype.itemsize]
    strides[zero] = 0
    with refuses(ValueError, function, "out"):
        call(backend, function, as_strided(np.zeros(40, dtype), (3, 5), strides))


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        ("fake_quantize", "x"),
        ("fake_quantize_backward", "x"),
        ("fake_quantize_backward", "dy"),
        ("fake_quantize", "scale"),
        ("requantize", "acc"),
        ("requantize", "scale"),
    ],
)
def test_out_that_shares_bytes_with_an_input(function, argument, backend):
    arguments, dtype = PLAIN[function]
    source = arguments[argument]
    memory = np.zeros(256, np.uint8)
    shared = memory[4 : 4 + source.nbytes].view(source.dtype).reshape(source.shape)
    shared[...] = source
    out = memory[: 15 * np.dtype(dtype).itemsize].view(dtype).reshape(3, 5)
    before = memory.tobytes()
    with refuses(ValueError, function, "out", argument):
        getattr(backend, function)(**arguments | {argument: shared}, out=out)
    assert memory.tobytes() == before


@pytest.mark.parametrize("function", ["fake_quantize", "fake_quantize_backward"])
def test_out_that_is_an_input(function, backend):
    x = X.copy()
    with refuses(ValueError, function, "out", "x"):
        getattr(backend, function)(**PLAIN[function][0] | {"x": x}, out=x)


@pytest.mark.parametrize("part", ["values", "scale"])
def test_out_that_shares_bytes_with_the_tensor(part, backend):
    memory = np.zeros(80, np.uint8)
    shared = {
        "values": memory[3:18].view(np.int8).reshape(3, 5),
        "scale": memory[4:16].view(np.float32),
    }
    shared["scale"][...] = 1
    out = memory[:60].view(np.float32).reshape(3, 5)
    before = memory.tobytes()
    with refuses(ValueError, "dequantize", "out", "q"):
        backend.dequantize(room(**{part: shared[part]}), out=out)
    assert memory.tobytes() == before


def test_dtype_that_disagrees_with_out(backend):
    with refuses(TypeError, "dequantize", "dtype", "out", "float16", "float32"):
        backend.dequantize(room(), dtype=np.float16, out=np.zeros((3, 5), np.float32))


def test_dtype_of_codes_that_disagrees_with_out(backend):
    with refuses(TypeError, "requantize", "dtype", "out", "uint8", "int8"):
        backend.requantize(accumulators(3, 1), 1.0, dtype=np.uint8, out=np.zeros(3, np.int8))
