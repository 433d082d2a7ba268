# SPDX-License-Identifier: Apache-2.0
"""Which instruction sets a process uses: what Numba's target has, below HALFBYTE_ISA."""

import platform

import pytest

import children
from halfbyte.cpu import isa

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
