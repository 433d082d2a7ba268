# SPDX-License-Identifier: Apache-2.0
"""Published figures of GPUs, and how many blocks of a kernel fit one multiprocessor.

T4          NVIDIA T4 datasheet; NVIDIA Turing Architecture Whitepaper
A100        NVIDIA A100 datasheet (40 GB, SXM); NVIDIA A100 Architecture Whitepaper, table 1
RTX 4090    NVIDIA Ada GPU Architecture Whitepaper, appendix A (FP16 with FP32 accumulation)
H100        NVIDIA H100 Architecture Whitepaper, SXM5, without sparsity
limits of a multiprocessor: CUDA C++ Programming Guide, table "Technical Specifications per
Compute Capability"
mma.sync on Hopper: Luo et al., Benchmarking and Dissecting the Nvidia Hopper GPU Architecture
via Microbenchmarking, arXiv:2402.13499 (62.9 % of the peak; the rest needs wgmma)
"""

from __future__ import annotations

from typing import NamedTuple

REGISTERS = 1 << 16  # of a multiprocessor
PARTITIONS = 4  # schedulers of a multiprocessor, each issues one instruction of a warp a cycle
SYSTEM = 1024  # bytes of shared memory that a block has besides its own, from Ampere on


class Gpu(NamedTuple):
    name: str
    capability: int
    multiprocessors: int
    clock: float  # Hz, at which `tensor` is given
    tensor: float  # FLOP/s of dense FP16 products with FP32 accumulation
    integer: float  # OP/s of dense INT8 products
    bandwidth: float  # bytes/s of its memory
    warps: int  # most of a multiprocessor
    blocks: int
    shared: int  # KiB
    mma: float = 1.0  # part of these that mma.sync reaches


GPUS = (
    Gpu("T4", 75, 40, 1.59e9, 65.1e12, 130e12, 320e9, 32, 16, 64),
    Gpu("A100", 80, 108, 1.41e9, 312e12, 624e12, 1555e9, 64, 32, 164),
    Gpu("RTX 4090", 89, 128, 2.52e9, 165.2e12, 660.6e12, 1008e9, 48, 24, 100),
    Gpu("H100", 90, 132, 1.83e9, 989.4e12, 1979e12, 3350e9, 64, 32, 228, mma=0.629),
)


def blocks_of(gpu: Gpu, threads: int, registers: int, shared: int) -> int:
    """Return how many blocks fit a multiprocessor. shared: bytes of a block, all of them.

    A warp gets registers by the 256, and a partition has a quarter of them and of the warps.
    """
    warps = -(-threads // 32)
    of_warp = -(-registers * 32 // 256) * 256
    by_registers = REGISTERS // PARTITIONS // of_warp * PARTITIONS // warps
    system, unit = (0, 256) if gpu.capability < 80 else (SYSTEM, 128)
    taken = -(-(shared + system) // unit) * unit
    by_shared = gpu.shared * 1024 // taken if taken else gpu.blocks
    return min(gpu.blocks, gpu.warps // warps, by_registers, by_shared)
