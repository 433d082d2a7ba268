# SPDX-License-Identifier: Apache-2.0
"""Which instruction sets a process uses: what Numba's target has, below HALFBYTE_ISA."""

import pickle
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


def test_generic_isa_runs_everywhere():
    assert isa.runnable()[0] == "generic"


def test_unknown_isa_cannot_be_forced():
    with pytest.raises(ValueError, match="avx1024"), isa.forced("avx1024"):
        pass


def test_ceiling_leaves_the_generic_isa_alone():
    child = children.run_child("print_runnable", HALFBYTE_ISA="generic")
    assert child.stdout.split() == ["generic"], child.stderr


def test_ceiling_keeps_wider_instruction_sets_out():
    child = children.run_child("print_runnable", HALFBYTE_ISA="avx2")
    assert set(child.stdout.split()) <= {"generic", "avx2"}, child.stderr


def test_unknown_ceiling_is_refused():
    child = children.run_child("multiply", HALFBYTE_ISA="avx1024")
    last = child.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: HALFBYTE_ISA"), child.stderr


def test_unknown_ceiling_is_named_in_the_refusal():
    child = children.run_child("multiply", HALFBYTE_ISA="avx1024")
    assert "avx1024" in child.stderr.strip().splitlines()[-1]


@needs_x86_64
def test_target_without_fma_has_the_generic_isa_only():
    child = children.run_child(
        "print_runnable", NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="", HALFBYTE_ISA=""
    )
    assert child.stdout.split() == ["generic"], child.stderr


@needs_x86_64
def test_haswell_target_has_avx2_and_no_avx512():
    child = children.run_child(
        "print_runnable", NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="", HALFBYTE_ISA=""
    )
    assert child.stdout.split() == ["generic", "avx2"], child.stderr


@pytest.mark.parametrize("name", isa.runnable())
def test_wider_isa_leaves_the_first_as_it_is(name):
    with isa.forced(name) as first:
        before = dict(vars(first))
        assert first.with_lanes(128).lanes == 128  # wider than any kernel's
        assert vars(first) == before


@pytest.mark.parametrize("name", isa.runnable())
@pytest.mark.parametrize("lanes", [None, 32, 128])
def test_isa_pickles(name, lanes):
    with isa.forced(name) as chosen:
        chosen = chosen.with_lanes(lanes or chosen.lanes)
    assert pickle.loads(pickle.dumps(chosen)) is chosen


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
