# SPDX-License-Identifier: Apache-2.0
"""Every CUDA kernel compiles for every architecture, and what it takes there is in bounds.

All that a plan may choose is compiled, for the generations in turn, and one kernel of each file
for every architecture that NVRTC knows; in CI, which has minutes, for the common ones.
"""

import importlib
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from backends import missing_nvrtc
from cubins import kernels, resources
from halfbyte.cuda import compile as compiler

GENERATIONS = (75, 80, 90, 120)
COMMON = {75, 80, 86, 89, 90, 100, 120}


def plans():
    """Return the modules that say which kernels they launch."""
    names = sorted(path.stem for path in compiler.SOURCES.glob("*.py"))
    modules = [importlib.import_module(f"halfbyte.cuda.{name}") for name in names]
    return [module for module in modules if hasattr(module, "variants")]


def every_variant():
    """Return the file and the defines of every kernel, each once, by file."""
    found = {
        (stem, tuple(sorted(defines.items())))
        for plan in plans()
        for stem, defines in plan.variants()
    }
    return sorted(found, key=repr)


def architectures():
    """Return what NVRTC compiles for."""
    return [] if missing_nvrtc() else [*compiler._nvrtc().getSupportedArchs()]


def wanted():
    """Return the architectures that every file is compiled for."""
    return [arch for arch in architectures() if arch in COMMON or not os.environ.get("CI")]


def cases():
    """Return what is compiled: file, defines, architecture."""
    variants = every_variant()
    chosen = [(*x, arch) for x, arch in zip(variants, itertools.cycle(GENERATIONS))]
    for stem in sorted({stem for stem, _ in variants}):
        first = next(variant for variant in variants if variant[0] == stem)
        chosen += [(*first, arch) for arch in wanted()]
    return list(dict.fromkeys(chosen))


def name_of(case):
    stem, defines, arch = case
    return f"{stem}-{'-'.join(f'{name}={value}' for name, value in defines)}-sm_{arch}"


@pytest.fixture(scope="session")
def machine_code(nvrtc):
    """Look up a case's machine code. All cores compile ahead of the tests that ask for it."""
    with ThreadPoolExecutor() as pool:
        started = {}

        def build(case):
            if case not in started:
                at = CASES.index(case)
                for ahead in CASES[at : at + 16]:
                    if ahead not in started:
                        stem, defines, arch = ahead
                        started[ahead] = pool.submit(
                            compiler.build, stem, dict(defines), f"sm_{arch}"
                        )
            return started[case].result()

        yield build


CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_kernel_compiles_to_one_entry_without_spills_in_bounds(case, machine_code):
    cubin = machine_code(case)
    stem = case[0]
    assert kernels(cubin) == [stem]
    taken = resources(cubin, stem)
    assert taken.stack == 0
    # A thread gets registers by the eight, a block all that its threads need of 64 Ki.
    assert -(-taken.registers // 8) * 8 * taken.threads <= 2**16
    assert taken.shared <= 48 * 1024


def test_every_file_is_in_a_plan():
    files = {path.stem for path in compiler.SOURCES.glob("*.cu")}
    assert {stem for stem, _ in every_variant()} == files


def test_nvrtc_knows_turing_to_blackwell(nvrtc):
    assert set(architectures()) >= COMMON


# ---------------------------------------------------------------------------------- the reader

# 64 values that depend on each other are alive at once; four blocks of 256 leave 64 registers.
HUNGRY = """
extern "C" __global__ void __launch_bounds__(256, BLOCKS) hungry(float* p, int n) {
    __shared__ float s[SHARED];
    float a[64];
#pragma unroll
    for (int i = 0; i < 64; ++i) a[i] = p[i * n + threadIdx.x];
    s[threadIdx.x % SHARED] = a[0];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int i = 0; i < 64; ++i)
            a[i] = a[i] * a[(i * 7 + 3) % 64] + a[(i * 5 + 1) % 64] + s[(threadIdx.x + i) % SHARED];
#pragma unroll
    for (int i = 0; i < 64; ++i) p[i * n + threadIdx.x] = a[i];
}
"""
# Without __launch_bounds__, with a local array that is indexed.
INDEXED = """
extern "C" __global__ void indexed(float* p, const int* where) {
    float a[32];
    for (int i = 0; i < 32; ++i) a[i] = p[i];
    for (int i = 0; i < 32; ++i) a[where[i]] += i;
    p[threadIdx.x] = a[where[threadIdx.x]];
}
"""
each_generation = pytest.mark.parametrize("arch", GENERATIONS)


@each_generation
def test_reader_sees_spills(arch, nvrtc):
    defines = {"BLOCKS": 4, "SHARED": 100}
    taken = resources(compiler.build_source(HUNGRY, "hungry.cu", defines, f"sm_{arch}"), "hungry")
    assert taken.registers == 64
    assert taken.stack > 1000
    assert taken.threads == 256


@each_generation
@pytest.mark.parametrize("size", [100, 5000])
def test_reader_sees_shared_memory(size, arch, nvrtc):
    defines = {"BLOCKS": 1, "SHARED": size}
    taken = resources(compiler.build_source(HUNGRY, "hungry.cu", defines, f"sm_{arch}"), "hungry")
    assert taken.shared == 4 * size + (1024 if arch >= 90 else 0)


@each_generation
def test_reader_sees_arrays_in_local_memory(arch, nvrtc):
    taken = resources(compiler.build_source(INDEXED, "indexed.cu", {}, f"sm_{arch}"), "indexed")
    assert taken.stack >= 128
    assert taken.threads == 1024


@each_generation
def test_reader_sees_a_file_that_is_cut_short(arch, nvrtc):
    cubin = compiler.build_source(INDEXED, "indexed.cu", {}, f"sm_{arch}")
    with pytest.raises(AssertionError, match="cut short"):
        resources(cubin[:-1], "indexed")
