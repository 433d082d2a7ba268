# SPDX-License-Identifier: Apache-2.0
"""Compile every kernel for the instruction sets named, or print which belong together.

Instruction sets that differ in VNNI alone share most kernels: one process compiles them, or two
would compile the same.
"""

import itertools
import sys

import halfbyte
from halfbyte.cpu import isa


def families() -> list[list[str]]:
    """Return the instruction sets of this process, those with equal vectors together."""
    plain = {}
    for name in isa.runnable():
        with isa.forced(name) as chosen:
            plain[name] = repr(chosen.plain)
    names = sorted(plain, key=plain.get)
    return [list(group) for _, group in itertools.groupby(names, key=plain.get)]


if sys.argv[1:]:
    for name in sys.argv[1:]:
        with isa.forced(name):
            halfbyte.warm_up()
else:
    for family in families():
        sys.stdout.write(" ".join(family) + "\n")
