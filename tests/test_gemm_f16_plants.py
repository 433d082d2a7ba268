# SPDX-License-Identifier: Apache-2.0
"""Each barrier, wait and bound of the FP16 product's kernels is needed: the machine misses it.

A line that ends in `// plant: <what it is>` is left out, and some product must fail.
"""

import numpy as np
import pytest

import ptx_backend
from assertions import assert_within
from halfbyte.cuda import gemm_f16, gemm_f16_pack
from halfbyte.cuda import gemm_f16_plan as planning
from halfbyte_reference.inputs import halves, strided
from planned_products import bounded, operands, planned
from planted_lines import left_out, plants
from ptx_machine import Fault

FILES = {
    "gemm_f16.cu": "gemm_f16",
    "pipeline.cuh": "gemm_f16",
    "tiles.cuh": "gemm_f16",
    "gemm_f16_rows.cu": "gemm_f16_rows",
    "gemm_f16_sum.cu": "gemm_f16_sum",
    "gemm_f16_pack.cu": "gemm_f16_pack",
}


def product(backend, m, k, n, layout, splits=1):
    """Check one product with tiles of 64 x 64."""
    a, b = operands(m, k, n, layout)
    out = np.zeros((m, n), np.float32)
    with planned("small", splits):
        backend.call(gemm_f16.multiply, a, b, out, 1.0, 0.0, None, None, None)
    assert_within(out, bounded(a, b, 100))


def packing(backend):
    """Check that a matrix is packed, with zeros beyond it."""
    b = strided(halves((70, 69), 1), "padded")
    want = np.zeros((69, 72), np.float16)
    want[:, :70] = b.T
    assert (backend.call(gemm_f16_pack.pack, b) == want).all()


def run(stem, backend):
    """Run a kernel of edges on every side."""
    if stem == "gemm_f16_pack":
        packing(backend)
    elif stem == "gemm_f16_sum":
        product(backend, 70, 512, 69, "along", splits=2)
    elif stem == "gemm_f16_rows":
        for layout in ("along", "across", "elements"):
            product(backend, 3, 1100, 69, layout)
    else:
        product(backend, 70, 203, 76, "along")  # rows of four columns
        for layout in ("along", "across", "elements"):
            product(backend, 70, 203, 69, layout)


MACHINES = {machine.architecture: machine for machine in map(ptx_backend.PtxBackend, (75, 80))}
# Turing has no copies to wait for.
CASES = [
    (machine, *plant)
    for machine in MACHINES.values()
    for plant in plants(FILES)
    if machine is not MACHINES[planning.TURING] or plant[2] not in ("commit", "wait")
]


@pytest.mark.parametrize("machine", MACHINES.values(), ids=str)
@pytest.mark.parametrize("stem", sorted({*FILES.values()}))
def test_kernel_with_all_its_lines_passes(stem, machine, nvrtc):
    run(stem, machine)


@pytest.mark.parametrize(
    ("machine", "name", "number", "kind"), CASES, ids=["-".join(map(str, case)) for case in CASES]
)
def test_line_is_needed(machine, name, number, kind, nvrtc):
    with left_out(name, number, {FILES[name]}), pytest.raises((Fault, AssertionError)):
        run(FILES[name], machine)
