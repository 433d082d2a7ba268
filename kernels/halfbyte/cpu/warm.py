# SPDX-License-Identifier: Apache-2.0
"""Every kernel of the CPU backend, for those who would rather wait at a time of their choice."""

from halfbyte.cpu import (
    amp_gradients,
    amp_steps,
    casts_kernel,
    gemm_f16,
    gemm_int,
    isa,
    linear,
    linear_halves,
    quantization_errors,
    quantization_fake,
    quantization_kernel,
    quantization_scales,
    quantization_sums,
    quantization_values,
)
from halfbyte.cpu.compile import Kernel

MODULES = (
    amp_gradients,
    amp_steps,
    casts_kernel,
    gemm_f16,
    gemm_int,
    linear,
    linear_halves,
    quantization_errors,
    quantization_fake,
    quantization_kernel,
    quantization_scales,
    quantization_sums,
    quantization_values,
)


def compile_all() -> None:
    """Compile or load every kernel for the active instruction set."""
    for module in MODULES:
        for value in vars(module).values():
            if isinstance(value, Kernel):
                value.compile(isa.active())
