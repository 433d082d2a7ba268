# SPDX-License-Identifier: Apache-2.0
"""warm_up leaves no kernel for the first call to compile."""

import importlib
import pkgutil

import halfbyte
import halfbyte.cpu
from halfbyte.cpu import isa
from halfbyte.cpu.compile import Kernel


def every_kernel():
    """Each kernel of the package under the first name it has."""
    found = {}
    for module in pkgutil.walk_packages(halfbyte.cpu.__path__, "halfbyte.cpu."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Kernel):
                found.setdefault(value, f"{module.name}.{name}")
    return found


def test_warm_up_compiles_every_kernel(monkeypatch):
    compiled = []
    monkeypatch.setattr(Kernel, "compile", lambda kernel, chosen: compiled.append((kernel, chosen)))
    halfbyte.warm_up()
    left_out = {n for k, n in every_kernel().items() if (k, isa.active()) not in compiled}
    assert not left_out


def test_kernels_are_found_where_they_are_made():
    names = set(every_kernel().values())
    assert {"halfbyte.cpu.casts_kernel.to_half", "halfbyte.cpu.quantization_fake.fake"} <= names
