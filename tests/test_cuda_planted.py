# SPDX-License-Identifier: Apache-2.0
"""CUDA kernels without one of their barriers, waits, masks or bounds are condemned."""

import re

import pytest

from halfbyte.cuda import compile as compiler
from planted_calls import files, mutants, verdicts

pytestmark = pytest.mark.usefixtures("nvrtc")

MUTANTS = [(name, *mutant) for name in files() for mutant in mutants(name)]


@pytest.mark.parametrize(
    ("name", "number", "kind", "text"), MUTANTS, ids=[f"{n}:{i}-{k}-ptx" for n, i, k, _ in MUTANTS]
)
def test_kernel_without_a_needed_line_is_condemned(name, number, kind, text, tmp_path):
    assert any(verdict for _, verdict in verdicts(name, text, tmp_path))


# What waits, and what ends a thread or leaves it out.
NEEDED = re.compile(
    r"__syncthreads\(\)|commit\(\);|wait_for_all_but<.*>\(\);|\) (return|continue);"
)


@pytest.mark.parametrize("name", sorted(path.name for path in compiler.SOURCES.glob("*.cu*")))
def test_every_barrier_wait_and_bound_is_marked_or_says_what_else_it_is(name):
    lines = (compiler.SOURCES / name).read_text(encoding="utf-8").splitlines()
    needed = [line.strip() for line in lines if NEEDED.search(line) and not line.startswith("//")]
    assert [line for line in needed if "//" not in line] == []
