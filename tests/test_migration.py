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
from assertions import assert_same_bits, assert_within
from halfbyte_reference import bounds

README = Path(__file__).parents[1] / "README.md"
SECTION = README.read_text().split("\n## From PyTorch\n")[1].split("\n## ")[0]
SETUP = SECTION.split("```python\n")[1].split("```")[0]
CHECKS = {}  # by what is in tutorials
U = 2.0**-24


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
        theirs = torch.nn.functional.linear(x, w, bias).numpy()
    x16, w16 = after.x.astype(np.float16), after.w16  # the bias is 0
    value = x16.astype(np.float64) @ w16.T.astype(np.float64)
    bound = bounds.gemm_cpu(bounds.magnitude(x16, w16.T), x16.shape[1])
    assert_within(after.y, bounds.cast(value, bound))
    assert_within(theirs, bounds.cast(value, bound, np.float16))


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
    # x, w and the gradient of y were rounded to halves, 2^-11 each; sums are of 2^-24 a step.
    half, k, rows = 2.0**-11 * (1 + 2.0**-10), after.x.shape[1], after.x.shape[0]
    exact = after.x.astype(np.float64) @ after.w.T.astype(np.float64) - after.wanted
    factor = 2 * after.scaler.get_scale() / exact.size
    dy_error = factor * (2 * half + bounds.gamma(k, U)) * bounds.magnitude(after.x, after.w.T)
    dy = factor * np.abs(exact)
    dy_error += (half + 4 * U) * (dy + dy_error)
    dw_error = bounds.magnitude(dy_error.T, after.x)
    dw_error += (half + bounds.gamma(rows, U)) * bounds.magnitude((dy + dy_error).T, after.x)
    db_error = dy_error.sum(axis=0) + bounds.gamma(rows, U) * (dy + dy_error).sum(axis=0)
    errors = 2 * dw_error, 2 * db_error  # torch's own are smaller
    for got, want, error in zip(after.optimizer.grads, (w.grad, bias.grad), errors, strict=True):
        assert np.all(np.abs(got - want.numpy()) <= error)


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
    # Torch adds up in FP32: gamma_(n + 2), half of it after the root.
    relative = bounds.gamma(sum(grad.size for grad in before.optimizer.grads) + 6, U)
    np.testing.assert_allclose(after.norm, norm.numpy(), rtol=relative)
    for got, tensor in zip(after.optimizer.grads, tensors, strict=True):
        np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=relative)


@check("`scaler.step(optimizer)`, `scaler.update()`")
def steps_as_torch_does(before, after, torch):
    assert after.stepped is True
    assert after.scaler.state_dict()["_growth_tracker"] == 1
    parameters = before.optimizer.master[0], before.bias
    tensors = [torch.from_numpy(p.copy()).requires_grad_() for p in parameters]
    theirs = torch.optim.AdamW(tensors, lr=1e-3, foreach=False)
    for tensor, grad in zip(tensors, before.optimizer.grads, strict=True):
        tensor.grad = torch.from_numpy(grad)
    theirs.step()
    results = (after.optimizer.master[0], after.bias), tensors
    for p, grad, *both in zip(parameters, before.optimizer.grads, *results, strict=True):
        error = bounds.AdamError(p, decoupled=True)
        error.step(grad, 1e-3, (0.9, 0.999), 1e-8, 0.01)
        for got in (both[0], both[1].detach().numpy()):
            assert np.all(np.abs(got - error.p.value) <= error.p.error)
    assert_same_bits(after.w16, reference.to_f16(after.optimizer.master[0]))


def assert_equal_but_next_to_ties(codes, theirs, x, scale):
    """Torch multiplies by 1 / scale: two roundings, as the quotient has one, of up to 128."""
    quotient = x.astype(np.float64) / np.float64(scale)
    from_tie = np.abs(np.abs(quotient - np.rint(quotient)) - 0.5)
    away = np.abs(codes.astype(int) - theirs.astype(int))
    assert np.all(away <= (from_tie <= 128 * bounds.gamma(3, U)))


# ---- quantization after training ---------------------------------------------------------------
@check("`torch.quantization.quantize_dynamic(model, {Linear})`")
def is_the_references_w8a8(_, after, torch):
    q = after.w8
    want = reference.linear_int(after.x, q.values, q.scale, bias=after.bias, axis=0)
    assert_same_bits(after.y, want)
    zeros = torch.zeros(len(q.scale), dtype=torch.int64)
    scale = torch.from_numpy(q.scale)
    theirs = torch.quantize_per_channel(torch.from_numpy(after.w), scale, zeros, 0, torch.qint8)
    assert_equal_but_next_to_ties(q.values, theirs.int_repr().numpy(), after.w, q.scale[:, None])


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
    codes = theirs.int_repr().numpy()
    assert_equal_but_next_to_ties(after.q.values, codes, after.x, after.x_scale)


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
    x, w, xq, wq = (np.asarray(each, np.float64) for each in (after.x, after.w, after.q, after.w8))
    want = np.maximum(x @ w.T, 0)  # the bias is 0
    # What rounding and clipping took from x and w, and then from the result, which is at most
    # `largest` away from the ends of its codes.
    away = bounds.magnitude(x - xq, w.T) + bounds.magnitude(xq, (w - wq).T)
    step, zero = float(after.h_scale), int(after.h_zero)
    ends = step * (-128 - zero), step * (127 - zero)
    away += step / 2 + np.abs(want - np.clip(want, *ends))
    away += bounds.gamma(8, U) * (bounds.magnitude(xq, wq.T) + 256 * step)
    assert np.all(np.abs(after.h - want) <= away)


# ---- training with quantization ----------------------------------------------------------------
def fake_quantized(names, torch):
    w = torch.from_numpy(names.w).requires_grad_()
    zeros = torch.zeros(len(names.scale), dtype=torch.int32)
    scale = torch.from_numpy(names.scale)
    return w, torch.fake_quantize_per_channel_affine(w, scale, zeros, 0, -127, 127)


@check("`prepare_qat(model)`")
def sees_what_torch_sees(_, after, torch):
    _, want = fake_quantized(after, torch)
    scale = after.scale[:, None]
    codes = (np.rint(each / scale) for each in (after.seen, want.detach().numpy()))
    assert_equal_but_next_to_ties(*codes, after.w, scale)


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
