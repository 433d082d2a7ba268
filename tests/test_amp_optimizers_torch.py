# SPDX-License-Identifier: Apache-2.0
"""Torch's optimizers take the same steps within derived bounds, and torch tensors are updated."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import halfbyte
from assertions import assert_same_bits, assert_within
from halfbyte_reference import bounds
from halfbyte_reference.inputs import floats
from optimizers import FULL, every_kind, full, some_grads
from strategies import seeds


def error_of(name, p):
    return bounds.SgdError(p) if name == "SGD" else bounds.AdamError(p, name == "AdamW")


@every_kind
@given(
    seed=seeds,
    size=st.sampled_from((1, 7, 16, 33, 1000)),
    count=st.integers(1, 5),
    lr=st.sampled_from((1e-3, 0.1, 0.5)),
    decay=st.sampled_from((0.0, 0.01, 0.3)),
    momentum=st.sampled_from((0.0, 0.9, 0.5)),
    betas=st.sampled_from(((0.9, 0.999), (0.0, 0.9), (0.5, 0.5), (0.25, 0.0))),
    eps=st.sampled_from((1e-8, 1e-3, 0.0)),
)
def test_torch_takes_the_same_steps_within_the_bounds(
    name, seed, size, count, lr, decay, momentum, betas, eps, backend, torch
):
    named = {"lr": lr, "weight_decay": decay}
    if name == "SGD":
        named |= {"momentum": momentum, "nesterov": momentum > 0 and seed % 2 == 0}
    else:
        named |= {"betas": betas, "eps": eps}
    p = floats(size, [seed, 0])
    error, theirs = error_of(name, p), torch.nn.Parameter(torch.from_numpy(p.copy()))
    ours = getattr(halfbyte, name)([p], **named)
    torchs = getattr(torch.optim, name)([theirs], **named, foreach=False, fused=False)
    for number in range(count):
        g = floats(size, [seed, 1 + number])
        error.step(g, **named)
        ours.grads, theirs.grad = [g], torch.from_numpy(g.copy())
        with backend.forced():
            ours.step()
        torchs.step()
        # Each lies within the error of one value, so twice that apart.
        want = theirs.detach().numpy().astype(np.float64)
        assert_within(p, bounds.Bounded(want, 2 * error.p.error, np.zeros(size, bool)), backend)


@every_kind
def test_tensors_are_updated_in_place(name, backend, torch):
    reference = full(name)
    tensors = [torch.from_numpy(p.copy()) for p in reference.params]
    optimizer = getattr(halfbyte, name)(tensors, **FULL[name])
    with backend.forced():
        for seed in (2, 3):
            reference.grads = some_grads(reference, seed)
            optimizer.grads = [torch.from_numpy(g) for g in reference.grads]
            optimizer.step()
            reference.step()
    for tensor, p in zip(tensors, reference.params, strict=True):
        assert_same_bits(tensor.numpy(), p, backend)
