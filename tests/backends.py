# SPDX-License-Identifier: Apache-2.0
"""What the tests run on: one backend for each instruction set this machine can execute, and GPUs.

A backend has the public functions of `halfbyte` as attributes. What a test claims, it claims of
every backend; `exact` says whether a backend promises the reference's bits or a bound. The files of
operations that have CUDA kernels run on the PTX machine as well, as a GPU of each generation, and
on a GPU where there is one.
"""

import functools
import os
from contextlib import contextmanager

import pytest

import halfbyte
from halfbyte.cpu import isa

ON_DEVICE = (
    "test_amp_clip",
    "test_amp_optimizers",
    "test_amp_scaler_machine",
    "test_amp_unscale",
    "test_calibration",
    "test_calibration_histogram",
    "test_casts",
    "test_dequantization",
    "test_fake_quantization",
    "test_quantization",
    "test_quantization_errors",
    "test_quantization_out",
    "test_quantization_out_errors",
    "test_requantization",
    "test_requantization_errors",
    "test_stochastic_rounding",
)

# Those whose cases are many and large: as a GPU of one generation.
ON_ONE_DEVICE = (
    "test_amp_on_device",
    "test_amp_optimizer_states",
    "test_amp_scaler_optimizers",
    "test_gemm_f16_far",
    "test_gemm_f16_out",
    "test_gemm_int",
    "test_gemm_int_errors",
    "test_gemm_int_far",
    "test_gemm_int_prepacked",
    "test_gemm_int_tiles",
    "test_int4_array_on_device",
    "test_linear_quantized",
    "test_linear_quantized_far",
    "test_linear_quantized_out",
    "test_linear_quantized_prepacked",
    "test_linear_quantized_rows",
    "test_linear_result_errors",
    "test_linear_tensor_cores",
    "test_out_int",
    "test_prepack_int",
    "test_promises",
    "test_quantization_large",
)

# As GPUs of two: Turing, which has no asynchronous copies, and a later one.
ON_TWO_DEVICES = ("test_gemm_f16_tails", "test_linear_quantized_on_device")

# `@without("ptx", "cuda", reason="...")`: a test, or a parameter of one, that is not for these
# backends, and why not.
without = pytest.mark.without
# Large cases, as a GPU of one generation.
one_generation = pytest.mark.one_generation
looks_at_values = without("ptx", "cuda", reason="values of arrays on a GPU are not checked")


sums_differ = without("ptx", "cuda", reason="tensor cores sum halves in an order of their own")


def only_numpys(*values):
    """A parameter that no array on a GPU can be made of."""
    return pytest.param(*values, marks=without("ptx", "cuda", reason="there is no such array"))


def on_threads(*counts):
    """Numbers of the CPU's threads, as parameters; a GPU gets the first, since it has its own."""
    first, *others = counts
    cpus = without("ptx", "cuda", reason="the CPU's threads are not the GPU's")
    return [first, *(pytest.param(count, marks=cpus) for count in others)]


class CpuBackend:
    """The CPU, limited to one instruction set."""

    kind = "cpu"
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
    """Return every backend there is, the simplest instruction set first.

    TEST_ISAS, names between spaces, leaves out others: those that another run tests.
    """
    wanted = os.environ.get("TEST_ISAS", "").split() or isa.runnable()
    return [CpuBackend(name) for name in isa.runnable() if name in wanted]


def all_backends() -> list[CpuBackend]:
    """Return those that differ in more than integer products.

    An instruction set with VNNI is one without plus VNNI, and runs its kernels for the rest.
    """
    return [backend for backend in integer_backends() if not backend.isa_name.endswith("vnni")]


@functools.cache
def device_backends() -> list:
    """Return those of the files in ON_DEVICE, the one that runs all examples first."""

    from cuda_backend import CudaBackend, has_gpu
    from ptx_backend import ARCHITECTURES, PtxBackend

    first = sorted(ARCHITECTURES, key=lambda architecture: architecture != 80)
    return [*map(PtxBackend, first), *([CudaBackend()] if has_gpu() else [])]


def is_for(item, backend) -> bool:
    """Whether neither the test nor a parameter of it is `without` this backend."""
    # What refuses an argument does so for GPUs of all generations.
    alone = item.get_closest_marker("one_generation") or item.path.stem.endswith("_errors")
    if alone and kind_of(backend) == "ptx" and backend is not device_backends()[0]:
        return False
    return not any(kind_of(backend) in mark.args for mark in item.iter_markers("without"))


def kind_of(backend) -> str:
    """Return "cpu", "ptx" or "cuda"; halfbyte itself is of the CPU where it gets NumPy arrays."""
    return getattr(backend, "kind", "cpu")


def devices_of(definition, asked: bool) -> list:
    """Return the backends on a device that a test may run on, beside those on the CPU.

    asked: whether the test itself asks for devices, so that its file need not be in ON_DEVICE.
    """
    several = {**dict.fromkeys(ON_ONE_DEVICE, 1), **dict.fromkeys(ON_TWO_DEVICES, 2)}
    if definition.path.stem in several:
        some = device_backends()[: several[definition.path.stem]]
        return [x for x in device_backends() if x.kind != "ptx" or x in some]
    return device_backends() if asked or definition.path.stem in ON_DEVICE else []


@functools.cache
def missing_nvrtc() -> str | None:
    """Say what is missing to compile CUDA C, or return None."""
    from halfbyte.cuda import compile as compiler

    try:
        compiler._nvrtc()
    except ImportError as error:
        return f"CUDA C cannot be compiled here: {error}"
    return None


@contextmanager
def threads(count: int):
    """Use `count` threads inside the block and as many as before after it."""
    before = halfbyte.get_num_threads()
    halfbyte.set_num_threads(count)
    try:
        yield
    finally:
        halfbyte.set_num_threads(before)
