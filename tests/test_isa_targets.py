# SPDX-License-Identifier: Apache-2.0
"""What kernels are compiled to: for targets that this process does not compile for, and anew."""

import platform
import re

import numba
import pytest
from numba.core import types

import children
from halfbyte.cpu import (
    isa,
    quantization_errors,
    quantization_fake,
    quantization_kernel,
    quantization_values,
)

needs_x86_64 = pytest.mark.skipif(
    platform.machine().lower() not in {"x86_64", "amd64"}, reason="the machine is not x86-64"
)

PLAIN = ["generic", "avx2", "avx512"]
EVERY = [*PLAIN, "avxvnni", "avx512vnni"]
CEILINGS = {
    "generic": ["generic"],
    "avx2": ["generic", "avx2"],
    "avx512": PLAIN,
    "avxvnni": ["generic", "avx2", "avxvnni"],
    "avx512vnni": EVERY,
    "": EVERY,
}
TARGETS = {
    "x86-64": ["generic"],
    "ivybridge": ["generic"],  # AVX and F16C, but no FMA
    "haswell": ["generic", "avx2"],
    "znver3": ["generic", "avx2"],
    "skylake-avx512": PLAIN,
    "cascadelake": EVERY,
    "znver4": EVERY,
    "sapphirerapids": EVERY,
    "alderlake": ["generic", "avx2", "avxvnni"],
}


@pytest.fixture(scope="module")
def below_ceilings():
    """What each ceiling admits on a target that has everything."""
    child = children.run_child(
        "print_runnable", *CEILINGS, NUMBA_CPU_NAME="sapphirerapids", NUMBA_CPU_FEATURES=""
    )
    return dict(zip(CEILINGS, map(str.split, child.stdout.splitlines()), strict=True))


@needs_x86_64
@pytest.mark.parametrize("ceiling", CEILINGS)
def test_ceiling_admits_vectors_and_products_that_it_has(ceiling, below_ceilings):
    assert below_ceilings[ceiling] == CEILINGS[ceiling]


@needs_x86_64
@pytest.mark.parametrize("target", TARGETS)
def test_target_has_the_instruction_sets_that_llvm_knows_it_to_have(target):
    child = children.run_child(
        "print_runnable", NUMBA_CPU_NAME=target, NUMBA_CPU_FEATURES="", HALFBYTE_ISA=""
    )
    assert child.stdout.split() == TARGETS[target], child.stderr


def machine_code(kernel, chosen):
    """Assembly of a kernel, compiled anew: Numba shows none of what its cache holds."""
    function = numba.njit(kernel._dispatcher.py_func, error_model="numpy", nogil=True)
    function.compile(types.none(chosen._numba_type_, *kernel._signature))
    return "".join(function.inspect_asm().values())


@pytest.mark.skipif("avx2" not in isa.runnable(), reason="this machine cannot run AVX2")
@pytest.mark.parametrize(
    "kernel",
    [
        quantization_fake.fake,
        quantization_kernel.quantize_bytes,
        quantization_errors.errors_of_candidates,
        quantization_values.requantize,
    ],
    ids=["fake", "quantize_bytes", "errors_of_candidates", "requantize"],
)
def test_kernel_for_avx2_computes_in_registers_of_256_bits(kernel):
    with isa.forced("avx2") as chosen:
        code = machine_code(kernel, chosen)
    computing = re.compile(r"\sv(?!mov)\w+\s.*%([yz]mm)")  # moves copy a kernel's arguments, too
    assert {match[1] for match in computing.finditer(code)} == {"ymm"}


# What this machine cannot execute is compiled all the same.
@needs_x86_64
@pytest.mark.parametrize(
    ("target", "name", "wanted"),
    [
        ("cascadelake", "avx512vnni", "vpdpbusd zmm"),
        ("alderlake", "avxvnni", "vpdpbusd ymm"),
        ("haswell", "avx2", "vpmaddwd ymm"),
    ],
)
def test_integers_are_multiplied_by_the_instruction_of_the_target(target, name, wanted):
    child = children.run_child(
        "print_instructions", name, NUMBA_CPU_NAME=target, NUMBA_CPU_FEATURES="", HALFBYTE_ISA=""
    )
    # vpmaddubsw saturates, too, but not with small weights: what it is for is seen in results.
    found = {one for one in child.stdout.splitlines() if not one.startswith("vpmaddubsw")}
    assert found == {wanted}, child.stderr
