# SPDX-License-Identifier: Apache-2.0
"""Minimal kernels with a bug in them, each beside a twin without: what a report must say.

A body has `WRONG` in it, which is 1 in the kernel with the bug and 0 in its twin, and `// here` in
the line that is to be reported.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from ptx_kernels import PRELUDE, Device, module
from ptx_machine import Fault

HEAD = (
    PRELUDE
    + """
__device__ __forceinline__ uint32 on_chip(const void* p) { return __cvta_generic_to_shared(p); }
__constant__ uint32 table[4] = {2, 3, 5, 7};
"""
)
SIGNATURE = "(uint32* a, uint16* c, uint32* out, uint32* null)"

# What the kernels get: 400 bytes, 100 bytes, 1 KiB.
A, C, OUT = (
    np.arange(100, dtype=np.uint32),
    np.arange(50, dtype=np.uint16),
    np.zeros(256, np.uint32),
)


class Case(NamedTuple):
    """A bug: where the machine must find it, in one of `threads` (block, thread), at `address`."""

    name: str
    kind: str
    body: str
    block: int = 64
    grid: int = 1
    shared: int = 0
    since: int = 75
    threads: Callable = lambda block, thread: True
    # From the addresses of a, c and out (0 for shared memory): a range; None where there is none.
    address: Callable | None = None

    def __str__(self):
        return self.name.replace(" ", "_")

    def entry(self, wrong):
        letters = "".join(x if x.isalnum() else "_" for x in self.name)
        return f"{letters}_{'wrong' if wrong else 'right'}"

    def source(self, wrong):
        body = self.body.replace("WRONG", str(int(wrong))).replace("// here", self.mark(wrong))
        return (
            f'extern "C" __global__ void {self.entry(wrong)}{SIGNATURE} {{\n'
            f"    const int i = threadIdx.x;\n{body}\n}}\n"
        )

    def mark(self, wrong):
        return f"// here {self.entry(wrong)}"


class Planted:
    """Cases in one source for each architecture."""

    def __init__(self, cases) -> None:
        self.cases = tuple(cases)
        self.source = functools.cache(self._source)

    def _source(self, architecture):
        there = [case for case in self.cases if case.since <= architecture]
        return HEAD + "".join(case.source(wrong) for case in there for wrong in (0, 1))

    def each(self, architectures):
        """Parametrize a test by every bug on every architecture that has it."""
        found = [(x, case) for x in architectures for case in self.cases if case.since <= x]
        names = [f"compute_{architecture}-{case}" for architecture, case in found]
        return pytest.mark.parametrize(("architecture", "planted"), found, ids=names)

    def test_of_twins(self, architectures):
        """Return a test that claims that every bug's twin passes."""

        @self.each(architectures)
        def test(architecture, planted):
            self.acquitted(planted, architecture)

        return test

    def launch(self, case, architecture, wrong):
        """Launch one of the twins; return the addresses of a, c and out, and the fault if any."""
        device = Device()
        addresses = [device.upload(x) for x in (A, C, OUT)]
        built = module(self.source(architecture), architecture)
        try:
            built.launch(
                case.entry(wrong),
                *(case.grid, case.block, [*addresses, 0], device.memory),
                shared=case.shared,
            )
        except Fault as fault:
            return addresses, fault
        return addresses, None

    def lines(self, case, architecture):
        """Return the lines that a report may name."""
        text = self.source(architecture).splitlines()
        return [n for n, line in enumerate(text, 1) if line.endswith(case.mark(True))]

    def condemned(self, case, architecture):
        """Claim that the bug is reported: its kind, kernel, line, thread and address."""
        addresses, fault = self.launch(case, architecture, wrong=True)
        assert fault is not None, "nothing was reported"
        assert fault.kind == case.kind, str(fault)
        assert fault.kernel == case.entry(True)
        assert fault.line in self.lines(case, architecture), str(fault)
        (block, *_), (thread, *_) = fault.thread
        assert 0 <= block < case.grid
        assert 0 <= thread < case.block
        assert case.threads(block, thread), str(fault)
        if case.address is not None:
            assert fault.address in case.address(*addresses), str(fault)
        text = str(fault)
        assert fault.kernel in text
        assert str(fault.line) in text
        assert str(fault.thread[1]) in text
        if fault.address is not None:
            assert f"{fault.address:x}" in text
        return fault

    def acquitted(self, case, architecture):
        """Claim that the twin passes."""
        _, fault = self.launch(case, architecture, wrong=False)
        assert fault is None, str(fault)
