# SPDX-License-Identifier: Apache-2.0
"""Each barrier, wait and bound of the integer product's kernels is needed: the machine misses it.

A line that ends in `// plant: <what it is>` is left out, and some product must fail.
"""

import pytest

import ptx_backend
from assertions import assert_same_bits
from halfbyte import Int4Array, prepack
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes
from planned_integers import check_product, planned
from planted_lines import left_out, plants
from ptx_machine import Fault

FILES = {
    "gemm_int.cu": "gemm_int",
    "pipeline.cuh": "gemm_int",
    "gemm_int_rows.cu": "gemm_int_rows",
    "gemm_int_sum.cu": "gemm_int_sum",
    "gemm_int_pack.cu": "gemm_int_pack",
}


def came_back(backend, b):
    """Return the bytes that a matrix is unpacked to after it was packed."""

    def call(b):
        _, (plain,) = prepack(b).__reduce__()
        return plain.packed if isinstance(plain, Int4Array) else plain

    return backend.call(call, b)


def packing(backend):
    """Check that codes come back from their layout, loaded in every way."""
    for shape in ((70, 69), (72, 72), (70, 72), (72, 70)):
        values = codes(shape, 1)
        for layout in ("c", "transposed"):
            assert_same_bits(came_back(backend, strided(values, layout)), values)
        values = Int4Array.pack(codes(shape, 1, 4))
        assert_same_bits(came_back(backend, values), values.packed)


def run(stem, backend):
    """Run a kernel of edges on every side."""
    if stem == "gemm_int_pack":
        packing(backend)
    elif stem == "gemm_int_sum":
        with planned("small", splits=2):
            check_product(backend, 70, 1024, 69)
    elif stem == "gemm_int_rows":
        for turned in (False, True):
            check_product(backend, 3, 1100, 80, turned=turned)
    else:
        with planned("small"):
            check_product(backend, 70, 403, 69)


MACHINES = {machine.architecture: machine for machine in map(ptx_backend.PtxBackend, (75, 80))}
# Turing has no copies to wait for, and other kernels have nothing of its own.
CASES = [
    (machine, *plant)
    for machine in MACHINES.values()
    for plant in plants(FILES)
    if machine is MACHINES[80] or (plant[0], plant[2]) == ("pipeline.cuh", "barrier")
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
