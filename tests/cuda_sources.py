# SPDX-License-Identifier: Apache-2.0
"""A small kernel for tests of the compiler and its cache, and what they run in child processes."""

import importlib
import multiprocessing
import os
import sys
from pathlib import Path

HEADER = "#pragma once\ntemplate <typename T> __device__ T times(T x, T y) { return x * y; }\n"
SOURCE = """#include "helpers.cuh"
extern "C" __global__ void scale(const TYPE* x, TYPE* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = times(x[i], TYPE(FACTOR)) + y[i];
}
"""
DEFINES = {"FACTOR": 3, "TYPE": "float"}


def write_sources(folder):
    """Make the folder, with the kernel in it, and return it."""
    folder.mkdir()
    (folder / "scale.cu").write_text(SOURCE)
    (folder / "helpers.cuh").write_text(HEADER)
    return folder


def build_own_kernel(folder):
    """Compile the kernel of the folder, to be cached nowhere."""
    _compiler(folder).build("scale", DEFINES, "sm_80")


def print_cubin(folder):
    """Print the path of the kernel's machine code."""
    path = _compiler(folder).cubin("scale", DEFINES, 80)
    assert path.exists()
    sys.stdout.write(str(path))


def compile_in_processes(folder, count):
    """Print the path that each of several processes gets, all starting at once."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    children = [
        context.Process(target=_print_at_once, args=(folder, barrier)) for _ in range(count)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert not any(child.exitcode for child in children)


def _print_at_once(folder, barrier):
    compiler = _compiler(folder)
    barrier.wait()
    path = compiler.cubin("scale", DEFINES, 80)
    sys.stdout.write(f"{path}\n")


def fork_after_a_temporary_cubin(folder):
    """Fork with a machine code in a temporary folder; it is still there after the child ended."""
    path = _compiler(folder).cubin("scale", DEFINES, 80)
    child = os.fork()
    if not child:
        sys.exit(0)  # as a program ends, with all that it has to do then
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.exists()


def import_without_cupy():
    """Import all that is for a GPU where CuPy is not installed."""
    sys.modules["cupy"] = None
    from halfbyte.cuda import compile as compiler

    names = [path.stem for path in compiler.SOURCES.glob("*.py")]
    assert "runtime" in names
    for name in names:
        importlib.import_module(f"halfbyte.cuda.{name}")


def build_without(package):
    """Compile where a package is not installed."""
    sys.modules[package] = None  # `import package` then fails
    _compiler(Path()).build_source("", "empty.cu", {}, "sm_80")


def build_without_nvrtc():
    """Compile where CuPy does not find NVRTC."""
    from cuda import pathfinder

    def load(name):
        msg = f"no {name} here"
        raise pathfinder.DynamicLibNotFoundError(msg)

    pathfinder.load_nvidia_dynamic_lib = load
    _compiler(Path()).build_source("", "empty.cu", {}, "sm_80")


def _compiler(folder):
    from halfbyte.cuda import compile as compiler

    compiler.SOURCES = Path(folder)
    return compiler
