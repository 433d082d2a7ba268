# SPDX-License-Identifier: Apache-2.0
"""Each line of the kernels of loss scaling that keeps something from happening is needed.

A line that ends in `// plant: <what it is>` is left out, and something must fail.
"""

import numpy as np
import pytest

import halfbyte
import ptx_backend
from assertions import assert_same_bits
from gradients import many_dimensions
from halfbyte.cuda import compile as compiler
from halfbyte_reference.amp import grad_norm, unscale
from halfbyte_reference.inputs import floats, halves
from optimizers import FULL, everything
from planted_calls import included
from planted_lines import left_out, plants
from ptx_machine import Fault

MACHINE = ptx_backend.PtxBackend(80)
FILES = sorted(path.name for path in compiler.SOURCES.glob("amp*.cu*"))


def gradients():
    """Unscale and clip arrays that end within a block's units, and between them."""
    grads = [floats(8 * 300, 1), halves(5, 2), floats((3, 0), 3), halves((70, 3), 4).T]
    outs = [np.zeros(g.shape, np.float32) for g in grads]
    assert not MACHINE.unscale(grads, 4.0, out=outs)
    for g, out in zip(grads, outs, strict=True):
        assert_same_bits(out, unscale(g, 4.0))
    want = grad_norm(outs)
    assert abs(MACHINE.clip_grad_norm(outs, np.inf) - want) <= 1e-12 * want
    for g, out in zip(grads, outs, strict=True):
        assert_same_bits(out, unscale(g, 4.0))


def training(name):
    """Make a step, skip one, and scale a loss."""
    params = [many_dimensions(floats, 1), halves((3, 5), 2), floats(4 * 300, 3)]
    reference = getattr(halfbyte, name)([p.copy() for p in params], **FULL[name])
    ours = getattr(MACHINE, name)(params, **FULL[name])
    scaler = MACHINE.GradScaler(4.0)
    for seed, bad in ((1, False), (2, True)):
        grads = [floats(p.shape, [seed, i]) for i, p in enumerate(ours.params)]
        reference.grads = [unscale(g, 4.0) for g in grads]
        if bad:
            grads[1][1, 2] = np.inf
        else:
            reference.step()
        ours.grads = grads
        assert scaler.step(ours) is not bad
        scaler.update(4.0)
        same = everything(ours) == everything(reference)
        assert same  # to explain differences of bytes takes pytest a minute
    assert_same_bits(scaler.scale(np.ones(3)), np.full(3, 4.0))


def run():
    """Run all kernels."""
    gradients()
    training("AdamW")
    training("SGD")


def test_kernels_with_all_their_lines_pass(nvrtc):
    run()


@pytest.mark.parametrize(
    ("name", "number", "kind"), plants(FILES), ids=["-".join(map(str, x)) for x in plants(FILES)]
)
def test_line_is_needed(name, number, kind, nvrtc):
    stems = {path.stem for path in compiler.SOURCES.glob("*.cu") if name in included(path.stem)}
    with left_out(name, number, stems), pytest.raises((Fault, AssertionError)):
        run()
