# SPDX-License-Identifier: Apache-2.0
"""Kernels that test the PTX machine, and what compiles and launches them.

What a test expects of them is computed here and in the tests by scalar Python: on integers, on
fractions, by the formulas of the PTX manual. Nothing comes from the machine's own code.
"""

import functools
from pathlib import Path

import numpy as np
import pytest

from halfbyte.cuda import compile as compiler
from ptx_machine import Memory, Module

ARCHITECTURES = (75, 80, 90, 120)
AMPERE = tuple(architecture for architecture in ARCHITECTURES if architecture >= 80)

each_architecture = pytest.mark.parametrize(
    "architecture", ARCHITECTURES, ids=[f"compute_{x}" for x in ARCHITECTURES]
)
each_ampere = pytest.mark.parametrize("architecture", AMPERE, ids=[f"compute_{x}" for x in AMPERE])

NAME = "test.cu"  # what reports call the sources that tests hold as text

# The names that all kernels here use.
PRELUDE = """
using int8 = signed char; using uint8 = unsigned char;
using int16 = short; using uint16 = unsigned short;
using int32 = int; using uint32 = unsigned;
using int64 = long long; using uint64 = unsigned long long;
"""


@functools.cache
def module(source, architecture, defines=()) -> Module:
    """Compile a text to PTX and have the machine read it, once."""
    ptx = compiler.build_source(source, NAME, dict(defines), f"compute_{architecture}")
    return Module(ptx.decode())


def kernel_source(stem) -> str:
    """Return the text of a kernel in this folder."""
    return (Path(__file__).parent / f"{stem}.cu").read_text(encoding="utf-8")


class Device:
    """A memory for one test, with arrays copied to it and back."""

    def __init__(self) -> None:
        self.memory = Memory()

    def upload(self, x, align=256, offset=0) -> int:
        """Copy an array to fresh bytes and return their address."""
        address = self.memory.allocate(x.nbytes, align, offset)
        self.memory.view(address, x.nbytes)[...] = np.ascontiguousarray(x).reshape(-1).view("u1")
        return address

    def download(self, address, like) -> np.ndarray:
        """Copy bytes back, as an array of the same shape and dtype as `like`."""
        return self.memory.view(address, like.nbytes).copy().view(like.dtype).reshape(like.shape)


def launch(built, entry, grid, block, *arguments, shared=0) -> None:
    """Launch an entry on arrays, which are copied to the device and back, and on NumPy scalars.

    An array that is read-only must come back as it was. An array of one structure is passed by
    value.
    """
    device = Device()
    passed = [device.upload(x) if _is_array(x) else x for x in arguments]
    built.launch(entry, grid, block, passed, device.memory, shared=shared)
    for x, address in zip(arguments, passed, strict=True):
        if _is_array(x):
            after = device.download(address, x)
            if x.flags.writeable:
                x[...] = after
            else:
                assert after.tobytes() == x.tobytes(), "an input was changed"


def _is_array(x) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.names is None


def line_of(source, mark) -> int:
    """Return the number of the one line that has a mark in it."""
    (number,) = (n for n, line in enumerate(source.splitlines(), 1) if mark in line)
    return number
