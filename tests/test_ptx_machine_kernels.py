# SPDX-License-Identifier: Apache-2.0
"""Whole kernels on the PTX machine: right as they are, condemned when one needed line is missing.

Needed lines are marked in the kernels; a mutant is the kernel without one of them.
"""

import re

import numpy as np
import pytest

from ptx_kernels import AMPERE, ARCHITECTURES, kernel_source, realistic
from ptx_kernels.realistic import KERNELS, plants
from ptx_machine import Fault

pytestmark = pytest.mark.usefixtures("nvrtc")

# Kernel -> sizes around the edges of its tiles.
SIZES = {
    "transpose": [(1, 1), (32, 32), (33, 31), (40, 70), (64, 100)],
    "reduce": [(1, 1), (4, 96), (7, 97), (5, 300), (3, 384)],
    "row_quantize": [(1, 4), (7, 100), (5, 1028), (4, 4096)],
    "gemm_f16": [(1, 1, 1), (128, 128, 128), (70, 100, 107), (129, 136, 32), (130, 260, 72)],
}
RUNS = [
    (stem, architecture, size)
    for stem, sizes in SIZES.items()
    for architecture in (AMPERE if stem == "gemm_f16" else ARCHITECTURES)
    for size in sizes
]


def run_name(run):
    stem, architecture, size = run
    return f"compute_{architecture}-{stem}-{'x'.join(map(str, size))}"


@pytest.mark.parametrize("run", RUNS, ids=run_name)
def test_kernel_computes_what_numpy_does(run):
    stem, architecture, size = run
    got, want = getattr(realistic, stem)(kernel_source(stem), architecture, *size)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("stages", [2, 4])
def test_product_does_not_depend_on_the_number_of_stages(stages):
    got, want = realistic.gemm_f16(kernel_source("gemm_f16"), 80, 70, 100, 107, stages)
    np.testing.assert_array_equal(got, want)


# ---------------------------------------------------------------------------------- mutants

# Sizes at which every needed line is: several tiles, or rows a block, and all edges.
MUTANT_SIZES = {
    "transpose": (40, 70),
    "reduce": (7, 97),
    "row_quantize": (7, 100),
    "gemm_f16": (70, 100, 107),
}
KINDS = {
    "barrier": ("race", "uninitialized shared"),
    "wait": ("pending copy",),
    "commit": ("pending copy",),
    "bound": ("out of bounds", "double write", "uninitialized shared"),
}
MUTANTS = [
    (stem, architecture, *plant)
    for stem in KERNELS
    for architecture in ((80, 120) if stem == "gemm_f16" else ARCHITECTURES)
    for plant in plants(stem)
]


def run_mutant(stem, architecture, text):
    """Return what was reported, or else the result and the right one."""
    try:
        return None, *getattr(realistic, stem)(text, architecture, *MUTANT_SIZES[stem])
    except Fault as fault:
        return fault, None, None


@pytest.mark.parametrize(
    ("stem", "architecture", "line", "kind", "text"),
    MUTANTS,
    ids=[f"compute_{arch}-{stem}-{kind}-{line}" for stem, arch, line, kind, _ in MUTANTS],
)
def test_kernel_without_a_needed_line_is_condemned(stem, architecture, line, kind, text):
    fault, got, want = run_mutant(stem, architecture, text)
    if fault is None:
        # A value may be wrong without a bad access; a lost order or wait never shows in values.
        assert kind == "bound"
        assert not np.array_equal(got, want)
    else:
        assert fault.kernel == stem
        assert fault.kind in KINDS[kind], str(fault)


# Kernel, what is changed, into what, and how it must be condemned.
EDITS = [
    # Bytes outside the matrices are neither copied nor filled with zeros.
    *(
        ("gemm_f16", f"copy_async(stage + place_{x}", f"if (bytes) copy_async(stage + place_{x}",
         ["uninitialized shared"])
        for x in "ab"
    ),
    ("gemm_f16", "wait_for_all_but<STAGES - 2>", "wait_for_all_but<STAGES - 1>", ["pending copy"]),
    ("gemm_f16", "next % STAGES", "(next + 1) % STAGES", ["race", "pending copy"]),
    ("gemm_f16", "(chunk ^ row / 2 % 4) * 16", "chunk * 16 + 8", ["misaligned"]),
    ("reduce", "xor_sync(0xffffffffu", "xor_sync(0x0000ffffu", ["warp divergence"]),
    ("reduce", "__shared__ int32 parts[32]", "__shared__ int32 parts[2]", ["out of bounds"]),
    ("row_quantize", "turn ^= 1", "turn ^= 0", ["race"]),
    ("row_quantize", "turn][lane % 8]", "turn][lane % 9]", ["uninitialized shared"]),
    ("transpose", "uint32 tile[32][33]", "uint32 tile[32][30]", ["out of bounds", "race"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stem", "old", "new", "kinds"), EDITS, ids=[f"{stem}: {new}" for stem, _, new, _ in EDITS]
)
def test_kernel_with_a_mistake_is_condemned(stem, old, new, kinds):
    text = kernel_source(stem)
    assert text.count(old) == 1
    fault, *_ = run_mutant(stem, 80, text.replace(old, new))
    assert fault is not None
    assert fault.kind in kinds, str(fault)


NEEDED = re.compile(r"__syncthreads\(\)|commit\(\);|wait_for_all_but<.*>\(\);|^ *if \(")


@pytest.mark.parametrize("stem", KERNELS)
def test_every_barrier_wait_and_bound_is_marked(stem):
    body = kernel_source(stem).partition('extern "C"')[2]
    unmarked = [
        line for line in body.splitlines() if NEEDED.search(line) and "// plant:" not in line
    ]
    # What is left chooses who works, and is no bound.
    assert [x for x in unmarked if not re.search(r"if \((lane|warp) == 0\)", x)] == []


@pytest.mark.parametrize("stem", KERNELS)
def test_kernel_has_lines_to_leave_out(stem):
    assert {"barrier", "bound"} <= {kind for _, kind, _ in plants(stem)}
