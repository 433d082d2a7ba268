# SPDX-License-Identifier: Apache-2.0
"""Each barrier, wait and bound of the quantized layer's kernels is needed: the machine misses it.

A line that ends in `// plant: <what it is>` is left out, and some layer must fail.
"""

from unittest import mock

import numpy as np
import pytest

import ptx_backend
from assertions import assert_same_bits, assert_within
from halfbyte import prepack
from halfbyte.cuda import linear_tiles
from halfbyte.cuda.gemm_f16_plan import TILES
from halfbyte_reference.inputs import floats
from linear_cases import Case
from planted_lines import left_out, plants
from ptx_machine import Fault

FILES = {
    "linear_codes.cu": "linear_codes",
    "linear_end.cuh": "linear_tiles",
    "linear_few.cu": "linear_few",
    "linear_halves.cu": "linear_halves",
    "pipeline.cuh": "linear_halves",
    "linear_layout.cuh": "linear_rows",
    "linear_part.cuh": "linear_tiles",
    "linear_rows.cu": "linear_rows",
    "linear_tiles.cu": "linear_tiles",
}


def layer(
    backend,
    m,
    k,
    n,
    x_form="floats",
    bits=4,
    how="group",
    group_size=64,
    packed=False,
    affine=False,
):
    """Check one layer with tiles of 64 x 64."""
    case = Case(
        m, k, n, x_form, x_bits=8, x_signed=True, x_each=True, kind="normal", bits=bits,
        signed=True, affine=affine, how=how, group_size=group_size, scale_kind="normal",
        bias_of=floats, activation=None, seed=1, spread="full", layout_x="c", layout_w="c",
    )  # fmt: skip
    linear_tiles._tile.cache_clear()
    with mock.patch.object(linear_tiles, "_candidates", return_value=[TILES["small"]]):
        got = case.layer(backend, packed)
    linear_tiles._tile.cache_clear()
    if x_form.startswith("weight-only"):
        assert_within(got, case.bounded())
    else:
        assert_same_bits(got, case.called())


def came_back(backend, case):
    """Check the codes that weights are unpacked to after they were packed."""

    def call(w):
        _, (plain,) = prepack(w).__reduce__()
        return plain.values

    w = case.w
    assert_same_bits(backend.call(call, w), np.ascontiguousarray(w.values))


def run(stem, backend):
    """Run a kernel of edges on every side."""
    if stem == "linear_codes":
        for bits in (8, 4):
            layer(backend, 3, 69, 5, bits=bits, group_size=33)
            layer(backend, 3, 69, 5, "codes", bits=bits, how="tensor")
            came_back(backend, Case(
                3, 69, 5, "floats", 8, True, True, "normal", bits, True, False, "tensor", 1,
                "normal", None, None, 1, "full", "c", "c",
            ))  # fmt: skip
    elif stem == "linear_rows":
        layer(backend, 2, 69, 5, group_size=33, affine=True)
        layer(backend, 2, 4500, 5, how="tensor", bits=8)
        layer(backend, 2, 69, 5, "weight-only floats", group_size=33)
    elif stem == "linear_few":
        for x_form in ("floats", "weight-only halves"):
            layer(backend, 3, 1100, 37, x_form, packed=True)
            layer(backend, 3, 1120, 37, x_form, bits=8, how="axis")
    elif stem == "linear_tiles":
        for how in ("group", "axis"):
            layer(backend, 70, 203, 69, how=how)
        layer(backend, 70, 203, 76, bits=8)
    else:
        # The last tile of k is in each of three places.
        for k in (203, 267, 331):
            layer(backend, 70, k, 69, "weight-only halves")
        layer(backend, 70, 203, 76, "weight-only halves", bits=8, how="axis")


MACHINES = {machine.architecture: machine for machine in map(ptx_backend.PtxBackend, (75, 80))}
# Turing has no copies to wait for, and other kernels have nothing of its own.
CASES = [
    (machine, *plant)
    for machine in MACHINES.values()
    for plant in plants(FILES)
    if machine is MACHINES[80] or (FILES[plant[0]], plant[2]) == ("linear_halves", "barrier")
]


@pytest.mark.parametrize(
    ("machine", "stem"),
    [
        *((MACHINES[80], stem) for stem in sorted({*FILES.values()})),
        (MACHINES[75], "linear_halves"),
    ],
    ids=str,
)
def test_kernel_with_all_its_lines_passes(stem, machine, nvrtc):
    run(stem, machine)


@pytest.mark.parametrize(
    ("machine", "name", "number", "kind"), CASES, ids=["-".join(map(str, case)) for case in CASES]
)
def test_line_is_needed(machine, name, number, kind, nvrtc):
    with left_out(name, number, {FILES[name]}), pytest.raises((Fault, AssertionError)):
        run(FILES[name], machine)
