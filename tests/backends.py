# SPDX-License-Identifier: Apache-2.0
"""What the tests run on: one backend for each instruction set this machine can execute.

A backend has the public functions of `halfbyte` as attributes. What a test claims, it claims of
every backend; `exact` says whether a backend promises the reference's bits or a bound.
"""

import functools
from contextlib import contextmanager

import halfbyte
from halfbyte.cpu import isa


class CpuBackend:
    """The CPU, limited to one instruction set."""

    exact = True

    def __init__(self, isa_name: str) -> None:
        self.isa_name = isa_name

    def __str__(self) -> str:
        return f"cpu-{self.isa_name}"

    __repr__ = __str__

    def forced(self):
        """Hold the instruction set for a block.

        It is the process's, so calls from several threads at once belong inside one such block.
        """
        return isa.forced(self.isa_name)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        function = getattr(halfbyte, name)

        @functools.wraps(function)
        def call(*args, **kwargs):
            with self.forced():
                return function(*args, **kwargs)

        return call


def integer_backends() -> list[CpuBackend]:
    """Return every backend there is, the simplest instruction set first."""
    return [CpuBackend(name) for name in isa.runnable()]


def all_backends() -> list[CpuBackend]:
    """Return those that differ in more than integer products.

    An instruction set with VNNI is one without plus VNNI, and runs its kernels for the rest.
    """
    return [backend for backend in integer_backends() if not backend.isa_name.endswith("vnni")]


@contextmanager
def threads(count: int):
    """Use `count` threads inside the block and as many as before after it."""
    before = halfbyte.get_num_threads()
    halfbyte.set_num_threads(count)
    try:
        yield
    finally:
        halfbyte.set_num_threads(before)
