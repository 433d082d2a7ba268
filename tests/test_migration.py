# SPDX-License-Identifier: Apache-2.0
"""README's way from torch to halfbyte: calls run, and return what torch's or the reference's do.

A check gets the names as they were before the calls of its row and as they are after them.
"""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import halfbyte
import halfbyte_reference as reference
from assertions import assert_same_bits

README = Path(__file__).parents[1] / "README.md"
SECTION = README.read_text().split("\n## From PyTorch\n")[1].split("\n## ")[0]
SETUP = SECTION.split("```python\n")[1].split("```")[0]
CHECKS = {}  # by what is in tutorials


def table():
    """What is in tutorials, and halfbyte's calls, of each row."""
    lines = SECTION.split("<!-- migration:start -->")[1].split("<!-- migration:end -->")[0]
    rows = [line.strip("| ").split(" | ") for line in lines.strip().splitlines()[2:]]
    return [(tutorial, re.findall("`([^`]+)`", ours)) for tutorial, _, ours, *_ in rows]


ROWS = table()


def names_after(count):
    """All names when so many rows have run."""
    names = {"np": np, "halfbyte": halfbyte}
    exec(SETUP, names)
    for _, calls in ROWS[:count]:
        for call in calls:
            exec(call, names)
    return SimpleNamespace(**names)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")  # deprecated
@pytest.mark.parametrize("row", range(len(ROWS)), ids=[tutorial for tutorial, _ in ROWS])
def test_call_returns_what_it_stands_for(row, torch):
    CHECKS[ROWS[row][0]](names_after(row), names_after(row + 1), torch)


def test_every_check_has_a_row():
    assert list(CHECKS) == [tutorial for tutorial, _ in ROWS]


def check(tutorial):
    def keep(function):
        CHECKS[tutorial] = function
        return function

    return keep


# ---- mixed precision ---------------------------------------------------------------------------
@check("`model.half()`")
def rounds_as_torch_does(_, after, torch):
    assert_same_bits(after.w16, torch.from_numpy(after.w).to(torch.float16).numpy())


@check("`with torch.cuda.amp.autocast(): y = model(x)`")
def is_autocasts_product(_, after, torch):
    assert_same_bits(after.y, reference.linear(after.x, after.w16, after.bias))
    x, w, bias = (torch.from_numpy(array) for array in (after.x, after.w, after.bias))
    with torch.autocast("cpu", torch.float16):
        want = torch.nn.functional.linear(x, w, bias).float().numpy()
    # torch rounds its result to half precision.
    assert np.all(np.abs(after.y - want) <= 2.0**-11 * np.abs(want) + 2.0**-16)


def stepped_by_torch(optimizer, parameters, grads, torch):
    tensors = [torch.from_numpy(p.astype(np.float32)).requires_grad_() for p in parameters]
    ours = optimizer(tensors, lr=1e-3, foreach=False)
    for tensor, grad in zip(tensors, grads, strict=True):
        tensor.grad = torch.from_numpy(grad.astype(np.float32))
    ours.step()
    return [tensor.detach().numpy() for tensor in tensors]


@check("`torch.optim.AdamW(model.parameters(), lr=1e-3)`")
def has_masters(_, after, torch):
    assert_same_bits(after.optimizer.master[0], after.w16.astype(np.float32))
    assert after.optimizer.lr == 1e-3


@check("`torch.cuda.amp.GradScaler()`")
def starts_as_torchs(_, after, torch):
    assert after.scaler.state_dict() == torch.amp.GradScaler("cpu").state_dict()


@check("`scaler.scale(loss).backward()`")
def gradients_are_autograds(_, after, torch):
    w, bias = (torch.from_numpy(array).requires_grad_() for array in (after.w, after.bias))
    y = torch.nn.functional.linear(torch.from_numpy(after.x), w, bias)
    loss = torch.nn.functional.mse_loss(y, torch.from_numpy(after.wanted))
    (loss * after.scaler.get_scale()).backward()
    for got, want in zip(after.optimizer.grads, (w.grad, bias.grad), strict=True):
        # x, w and the gradient of y were rounded to half precision, by at most 2^-11 each.
        error = np.linalg.norm(got - want.numpy()) / np.linalg.norm(want.numpy())
        assert error <= 3 * 2.0**-11


@check("`scaler.unscale_(optimizer)`")
def divides_by_the_scale(before, after, torch):
    for got, scaled in zip(after.optimizer.grads, before.optimizer.grads, strict=True):
        assert_same_bits(got, scaled.astype(np.float32) / np.float32(65536))


@check("`clip_grad_norm_(model.parameters(), 0.1)`")
def clips_as_torch_does(before, after, torch):
    tensors = [torch.zeros(grad.shape, requires_grad=True) for grad in before.optimizer.grads]
    for tensor, grad in zip(tensors, before.optimizer.grads, strict=True):
        tensor.grad = torch.from_numpy(grad)
    norm = torch.nn.utils.clip_grad_norm_(tensors, 0.1)
    assert norm > 0.1
    np.testing.assert_allclose(after.norm, norm.numpy(), rtol=1e-5)
    for got, tensor in zip(after.optimizer.grads, tensors, strict=True):
        np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=1e-5)


@check("`scaler.step(optimizer)`, `scaler.update()`")
def steps_as_torch_does(before, after, torch):
    assert after.stepped is True
    assert after.scaler.state_dict()["_growth_tracker"] == 1
    parameters = before.optimizer.master[0], before.bias
    want = stepped_by_torch(torch.optim.AdamW, parameters, before.optimizer.grads, torch)
    for got, tensor in zip((after.optimizer.master[0], after.bias), want, strict=True):
        np.testing.assert_allclose(got, tensor, rtol=1e-5, atol=1e-8)
    assert_same_bits(after.w16, reference.to_f16(after.optimizer.master[0]))


# ---- quantization after training ---------------------------------------------------------------
@check("`torch.quantization.quantize_dynamic(model, {Linear})`")
def is_the_references_w8a8(_, after, torch):
    q = after.w8
    want = reference.linear_int(after.x, q.values, q.scale, bias=after.bias, axis=0)
    assert_same_bits(after.y, want)
    zeros = torch.zeros(len(q.scale), dtype=torch.int64)
    scale = torch.from_numpy(q.scale)
    theirs = torch.quantize_per_channel(torch.from_numpy(after.w), scale, zeros, 0, torch.qint8)
    assert np.max(np.abs(theirs.int_repr().numpy().astype(int) - q.values)) <= 1


@check('`model.qconfig = get_default_qconfig("x86")`')
def observers_have_seen_nothing(_, after, torch):
    with pytest.raises(ValueError, match="update"):
        after.of_x.scale_zero_point()


@check('`fuse_modules(model, [["linear", "relu"]])`')
def is_relu_of_the_layer(_, after, torch):
    assert_same_bits(after.h, np.maximum(halfbyte.linear(after.x, after.w8, after.bias), 0))


@check("`prepare(model, inplace=True)`, `model(x)`")
def observers_have_seen_the_data(_, after, torch):
    largest = after.of_x.scale_zero_point()[0] * np.float32(127)
    assert largest <= np.abs(after.x).max() * (1 + 2.0**-23)


@check("`convert(model, inplace=True)`")
def scales_are_the_observers(_, after, torch):
    observer = reference.HistogramObserver()
    observer.update(after.x)
    scale, zero_point = observer.scale_zero_point(symmetric=False)
    assert_same_bits(after.x_scale, scale)
    assert after.x_zero == zero_point
    assert after.layer.shape == (256, 128)


@check("`QuantStub()`")
def codes_are_torchs(_, after, torch):
    given = after.x, float(after.x_scale), int(after.x_zero)
    theirs = torch.quantize_per_tensor(torch.from_numpy(given[0]), *given[1:], torch.qint8)
    away = theirs.int_repr().numpy().astype(int) - after.q.values
    assert np.max(np.abs(away)) <= 1
    assert np.mean(away != 0) < 1e-3


@check("`model(x)`, converted")
def codes_are_the_references(_, after, torch):
    want = reference.linear_int(
        after.q.values,
        after.w8.values,
        after.w8.scale,
        bias=after.bias,
        axis=0,
        x_scale=after.x_scale,
        x_zero_point=after.x_zero,
        activation="relu",
        out_scale=after.h_scale,
        out_zero_point=after.h_zero,
    )
    assert_same_bits(after.codes.values, want.codes)


@check("`DeQuantStub()`")
def numbers_are_near_those_in_float32(_, after, torch):
    want = np.maximum(after.x @ after.w.T + after.bias, 0)
    assert np.linalg.norm(after.h - want) / np.linalg.norm(want) < 0.02


# ---- training with quantization ----------------------------------------------------------------
def fake_quantized(names, torch):
    w = torch.from_numpy(names.w).requires_grad_()
    zeros = torch.zeros(len(names.scale), dtype=torch.int32)
    scale = torch.from_numpy(names.scale)
    return w, torch.fake_quantize_per_channel_affine(w, scale, zeros, 0, -127, 127)


@check("`prepare_qat(model)`")
def sees_what_torch_sees(_, after, torch):
    _, want = fake_quantized(after, torch)
    away = np.abs(after.seen - want.detach().numpy()) / after.scale[:, None]
    assert np.max(away) < 1.001  # a code, next to a tie
    assert np.mean(away > 0.5) < 1e-3


@check("`loss.backward()` through it")
def gradient_passes_as_in_torch(_, after, torch):
    w, seen = fake_quantized(after, torch)
    seen.sum().backward()
    assert_same_bits(after.dw, w.grad.numpy())
    assert after.dscale.shape == after.scale.shape


@check("`convert(model)` after training")
def quantizes_to_what_was_seen(_, after, torch):
    assert_same_bits(halfbyte.dequantize(after.w8), after.seen)


# ---- four bits ---------------------------------------------------------------------------------
def of_codes(names, **given):
    codes = reference.unpack_nibbles(names.w4.values, names.w4.shape[-1], signed=True)
    return reference.linear_int(
        names.x, codes, names.w4.scale, bias=names.bias, group_size=128, **given
    )


@check("`int4_weight_only(group_size=128)`")
def is_the_references_w4a16(_, after, torch):
    assert_same_bits(after.y, of_codes(after, x_bits=16))


@check("`int8_dynamic_activation_int4_weight(group_size=128)`")
def is_the_references_w4a8(_, after, torch):
    assert_same_bits(after.y, of_codes(after))
