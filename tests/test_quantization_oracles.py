# SPDX-License-Identifier: Apache-2.0
"""Other people's quantization as a second oracle: torch's, ggml's, and where ONNX puts nibbles."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from assertions import assert_same_bits
from halfbyte import Int4Array, QuantizedTensor
from halfbyte_reference import code_range
from halfbyte_reference.inputs import floats
from halfbyte_reference.inputs_quantized import codes, scales
from quantized_cases import RANGES, every_bits, lengths
from strategies import seeds


# ---- ml_dtypes and ONNX's packed tensors -------------------------------------------------------
@pytest.mark.parametrize("signed", [True, False])
@given(n=lengths.filter(bool), seed=seeds)
def test_nibbles_lie_as_in_onnxs_tensors(signed, n, seed, onnx, ml_dtypes, backend):
    given = {"scale": np.float32(0.37)} | ({} if signed else {"zero_point": 8})
    q = backend.quantize(floats((n,), seed), bits=4, signed=signed, symmetric=signed, **given)
    integers = Int4Array(q.values, q.shape, signed).unpack()
    tensor = onnx.numpy_helper.from_array(
        integers.astype(ml_dtypes.int4 if signed else ml_dtypes.uint4)
    )
    assert q.values.tobytes() == tensor.raw_data


@pytest.mark.parametrize("signed", [True, False])
def test_nibbles_stand_for_the_numbers_of_ml_dtypes(signed, ml_dtypes, backend):
    values = np.arange(16).astype(ml_dtypes.int4 if signed else ml_dtypes.uint4)
    q = QuantizedTensor(values, 1.0, None if signed else 0, bits=4, signed=signed)
    assert_same_bits(backend.dequantize(q), values.astype(np.float32), backend)


# ---- torch -------------------------------------------------------------------------------------
# torch multiplies by the reciprocal of the scale, which is our division where the scale is a power
# of two. For the gradient of a learnable scale it adds the zero point before it rounds, which sends
# other ties up: no x is on one here. It adds up in FP32: all terms are eighths, and few and small
# enough for every sum to be exact.
@dataclass(frozen=True)
class TorchCase:
    """What to fake-quantize, where both libraries have the same rules."""

    shape: tuple
    axis: int | None
    bits: int
    signed: bool
    narrow: bool
    symmetric: bool
    seed: int

    @property
    def form(self):
        return {
            "bits": self.bits,
            "signed": self.signed,
            "narrow_range": self.narrow,
            "axis": self.axis,
        }

    @property
    def limits(self):
        return code_range(self.bits, self.signed, self.narrow)

    @property
    def scale(self):
        shape = () if self.axis is None else (self.shape[self.axis],)
        return scales(shape, [self.seed, 0], "power")

    @property
    def zero_point(self):
        if self.symmetric:
            return None
        made = codes(self.scale.shape, [self.seed, 1], self.bits, self.signed, self.narrow)
        return made.astype(np.int32)

    def x(self, ties=True):
        """Eighths of a step, in and around the range of codes."""
        reach = 8 * 2 ** (self.bits + 1)
        eighths = np.random.default_rng([self.seed, 2]).integers(-reach, reach, self.shape)
        if not ties:
            eighths += eighths % 8 == 4
        scale = self.scale if self.axis != 0 else self.scale[:, None]
        return (np.float32(eighths) / 8 * scale).astype(np.float32)

    @property
    def dy(self):
        return np.float32(np.random.default_rng([self.seed, 3]).integers(-3, 4, self.shape))

    def torch_arguments(self, torch, x, real):
        """The arguments of torch's functions, from x to qmax. `real`: of the learnable ones."""
        scale, zero_point = self.scale, self.zero_point
        zero_point = np.zeros(scale.shape, np.int32) if zero_point is None else zero_point
        if real:
            shared = (torch.tensor(np.atleast_1d(part)).float() for part in (scale, zero_point))
            shared = [part.requires_grad_() for part in shared]
        elif self.axis is None:
            shared = [float(scale), int(zero_point)]
        else:
            shared = [torch.tensor(scale), torch.tensor(zero_point)]
        axis = [] if self.axis is None else [self.axis]
        return [torch.tensor(x, requires_grad=True), *shared, *axis, *self.limits]

    @property
    def torch_name(self):
        return "tensor" if self.axis is None else "channel"


@st.composite
def torch_cases(draw):
    signed, narrow = draw(st.sampled_from(RANGES))
    return TorchCase(
        shape=(draw(st.sampled_from((1, 2, 3, 7))), draw(lengths.filter(bool))),
        axis=draw(st.sampled_from((None, 0, 1))),
        bits=draw(every_bits),
        signed=signed,
        narrow=narrow,
        symmetric=signed and draw(st.booleans()),
        seed=draw(seeds),
    )


@given(case=torch_cases())
def test_fake_quantized_numbers_are_torchs(case, torch, backend):
    function = getattr(torch, f"fake_quantize_per_{case.torch_name}_affine")
    want = function(*case.torch_arguments(torch, case.x(), real=False)).detach().numpy()
    got = backend.fake_quantize(case.x(), case.scale, case.zero_point, **case.form)
    assert_same_bits(got, want, backend)


@given(case=torch_cases())
def test_gradient_of_fake_quantization_is_torchs(case, torch, backend):
    arguments = case.torch_arguments(torch, case.x(), real=False)
    function = getattr(torch, f"fake_quantize_per_{case.torch_name}_affine")
    function(*arguments).backward(torch.tensor(case.dy))
    dx, _ = backend.fake_quantize_backward(
        case.dy, case.x(), case.scale, case.zero_point, **case.form
    )
    # dy times 0 is -0 where dy is negative; + 0 makes it ours.
    assert_same_bits(dx, arguments[0].grad.numpy() + np.float32(0), backend)


@given(case=torch_cases())
def test_gradient_of_the_scale_is_torchs(case, torch, backend):
    # Of one scale for all, torch takes trunc(zero_point + 1/2): not ours where it is negative.
    assume(case.symmetric or case.axis is not None or case.zero_point >= 0)
    x = case.x(ties=False)
    arguments = case.torch_arguments(torch, x, real=True)
    function = getattr(torch, f"_fake_quantize_learnable_per_{case.torch_name}_affine")
    no_factor = 1.0
    function(*arguments, no_factor).backward(torch.tensor(case.dy))
    _, dscale = backend.fake_quantize_backward(case.dy, x, case.scale, case.zero_point, **case.form)
    want = arguments[1].grad.numpy().reshape(case.scale.shape)
    # A sum of 0 may have either sign.
    assert_same_bits(np.asarray(dscale + np.float32(0)), np.asarray(want + np.float32(0)), backend)


# ---- ggml --------------------------------------------------------------------------------------
# ggml multiplies by the reciprocal and rounds half away from zero, and its scale is an FP16 number:
# the same codes where the scale is a power of two and nothing is on a tie.
@given(blocks=st.sampled_from((1, 2, 3, 5)), seed=seeds)
def test_codes_and_scales_are_those_of_q8_0(blocks, seed, gguf, backend):
    rng = np.random.default_rng(seed)
    steps = rng.uniform(-127, 127, (3, blocks, 32)).astype(np.float32)
    steps = np.where(steps % 1 == 0.5, np.trunc(steps), steps)
    peak = rng.integers(0, 32, (3, blocks, 1))
    np.put_along_axis(steps, peak, rng.choice(np.float32([-127, 127]), peak.shape), -1)
    d = 2.0 ** rng.integers(-14, 9, (3, blocks))
    x = (steps * d[..., None]).astype(np.float32).reshape(3, 32 * blocks)
    stored = gguf.quants.quantize(x, gguf.GGMLQuantizationType.Q8_0).reshape(3, blocks, 34)
    q = backend.quantize(x, group_size=32)
    assert_same_bits(q.scale, stored[..., :2].view(np.float16)[..., 0].astype(np.float32), backend)
    assert_same_bits(q.values, stored[..., 2:].reshape(3, -1).view(np.int8), backend)


@given(blocks=st.sampled_from((1, 2, 3, 5)), seed=seeds)
def test_numbers_are_those_of_q8_0(blocks, seed, gguf, backend):
    stored = gguf.quants.quantize(floats((3, 32 * blocks), seed), gguf.GGMLQuantizationType.Q8_0)
    parts = stored.reshape(3, blocks, 34)
    d = np.ascontiguousarray(parts[..., :2]).view(np.float16)[..., 0].astype(np.float32)
    values = np.ascontiguousarray(parts[..., 2:]).reshape(3, -1).view(np.int8)
    q = QuantizedTensor(values, d, group_size=32)
    want = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType.Q8_0)
    assert_same_bits(backend.dequantize(q), want, backend)
