# SPDX-License-Identifier: Apache-2.0
"""Each barrier, wait and bound of the integer product's kernels is needed: the machine misses it.

A line that ends in `// plant: <what it is>` is left out, and some product must fail.
"""

import functools
import re
from unittest import mock

import pytest

import ptx_backend
from assertions import assert_same_bits
from halfbyte import Int4Array, prepack
from halfbyte.cuda import compile as compiler
from halfbyte_reference.inputs import strided
from halfbyte_reference.inputs_quantized import codes
from planned_integers import check_product, planned
from ptx_machine import Fault

FILES = {
    "gemm_int.cu": "gemm_int",
    "int_tiles.cuh": "gemm_int",
    "gemm_int_rows.cu": "gemm_int_rows",
    "gemm_int_sum.cu": "gemm_int_sum",
    "gemm_int_pack.cu": "gemm_int_pack",
}


def plants():
    """Return file, number of the line, and what it is."""
    return [
        (name, number, found[1])
        for name in FILES
        for number, line in enumerate((compiler.SOURCES / name).read_text().splitlines(), 1)
        if (found := re.search(r"// plant: (\w+)$", line))
    ]


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
    for plant in plants()
    if machine is MACHINES[80] or (plant[0], plant[2]) == ("int_tiles.cuh", "barrier")
]


@pytest.mark.parametrize("machine", MACHINES.values(), ids=str)
@pytest.mark.parametrize("stem", sorted({*FILES.values()}))
def test_kernel_with_all_its_lines_passes(stem, machine, nvrtc):
    run(stem, machine)


@pytest.mark.parametrize(
    ("machine", "name", "number", "kind"), CASES, ids=["-".join(map(str, case)) for case in CASES]
)
def test_line_is_needed(machine, name, number, kind, nvrtc):
    lines = (compiler.SOURCES / name).read_text().splitlines(keepends=True)
    text = "".join([*lines[: number - 1], "\n", *lines[number:]])
    source, headers, module = compiler._source, compiler._headers(), ptx_backend.module
    if name in headers:
        headers[name] = text

    @functools.cache
    def changed(architecture, stem, defines):
        return (module.__wrapped__ if stem == FILES[name] else module)(architecture, stem, defines)

    with (
        mock.patch.object(ptx_backend, "module", changed),
        mock.patch.object(
            compiler, "_source", lambda stem: text if f"{stem}.cu" == name else source(stem)
        ),
        mock.patch.object(compiler, "_headers", return_value=headers),
        pytest.raises((Fault, AssertionError)),
    ):
        run(FILES[name], machine)
