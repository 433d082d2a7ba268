# SPDX-License-Identifier: Apache-2.0
"""The kernels of this folder: launched on arrays of any size, with NumPy's result beside.

Each function launches a text, which may be the kernel's own or one with a line left out, and
returns what it made and what NumPy makes of the same input.
"""

import re

import numpy as np

from ptx_kernels import Device, kernel_source, module

KERNELS = ("transpose", "reduce", "row_quantize", "gemm_f16")


def plants(stem):
    """Return (line, kind, text without that line) for every line of a kernel that is needed."""
    lines = kernel_source(stem).splitlines(keepends=True)
    return [
        (number, found[1], "".join([*lines[: number - 1], "\n", *lines[number:]]))
        for number, line in enumerate(lines, 1)
        if (found := re.search(r"// plant: (\w+)$", line.rstrip()))
    ]


def transpose(text, architecture, height, width):
    x = np.random.default_rng(height).integers(0, 2**32, (height, width), np.uint32)
    out = np.zeros((width, height), np.uint32)
    device = Device()
    source, target = device.upload(x), device.upload(out)
    arguments = [source, target, np.int32(height), np.int32(width)]
    built = module(text, architecture)
    built.launch("transpose", -(-height // 32), (32, 8), arguments, device.memory)
    return device.download(target, out), x.T


def reduce(text, architecture, rows, n):
    x = np.random.default_rng(n).integers(-(2**20), 2**20, (rows, n), np.int32)
    sums = np.zeros(rows, np.int32)
    device = Device()
    source, target = device.upload(x), device.upload(sums)
    arguments = [source, target, np.int32(rows), np.int32(n)]
    module(text, architecture).launch("reduce", min(rows, 3), 96, arguments, device.memory)
    return device.download(target, sums), x.sum(1, dtype=np.int32)


def row_quantize(text, architecture, rows, columns, grid=3):
    """Return codes and scales, side by side."""
    x = np.random.default_rng(rows).standard_normal((rows, columns)).astype(np.float32)
    x[::5] *= np.float32(1e-38)  # partly subnormal
    x[1::5] = 0
    codes, scales = np.zeros((rows, columns), np.int8), np.zeros(rows, np.float32)
    device = Device()
    addresses = [device.upload(array) for array in (x, codes, scales)]
    arguments = [*addresses, np.int32(rows), np.int32(columns)]
    module(text, architecture).launch("row_quantize", grid, 256, arguments, device.memory)
    got = (device.download(addresses[1], codes), device.download(addresses[2], scales))
    most = np.abs(x).max(1)
    want = np.where(most > 0, most / np.float32(127), np.float32(1))
    return join(*got), join(np.rint(x / want[:, None]).astype(np.int8), want)


def join(codes, scales):
    return np.concatenate([codes.view(np.uint8), scales[:, None].view(np.uint8)], 1)


def padded(values, pitch):
    """Return rows of `pitch` elements, NaN beyond the values, ending with the last value."""
    rows, columns = values.shape
    out = np.full((rows, pitch), np.nan, values.dtype)
    out[:, :columns] = values
    return out.ravel()[: (rows - 1) * pitch + columns]


class GemmF16:
    """Operands of small whole numbers, of which FP32 has the exact product."""

    def __init__(self, text, architecture, m, n, k, stages=3) -> None:
        rng = np.random.default_rng(m)
        self.a, self.b = rng.integers(-8, 9, (m, k)), rng.integers(-8, 9, (k, n))
        lda, ldb = -(-k // 8) * 8 + 8, -(-n // 8) * 8 + 8
        self.out = np.full((m, n), np.nan, np.float32)
        self.device = Device()
        a = self.device.upload(padded(self.a.astype(np.float16), lda))
        b = self.device.upload(padded(self.b.astype(np.float16), ldb))
        self.target = self.device.upload(self.out)
        dtype = [
            ("a", "u8"),
            ("b", "u8"),
            *((name, "i4") for name in ("m", "n", "k", "lda", "ldb")),
        ]
        operands = np.zeros(1, np.dtype(dtype, align=True))
        operands[0] = (a, b, m, n, k, lda, ldb)
        self.arguments = [operands, self.target, np.int32(n)]
        self.grid = (-(-n // 128), -(-m // 128))
        self.shared = stages * 16384
        self.module = module(text, architecture, (("STAGES", stages),))

    def launch(self):
        arguments, memory = self.arguments, self.device.memory
        self.module.launch("gemm_f16", self.grid, 256, arguments, memory, shared=self.shared)

    def results(self):
        want = (self.a @ self.b).astype(np.float32)
        return self.device.download(self.target, self.out), want


def gemm_f16(text, architecture, m, n, k, stages=3):
    product = GemmF16(text, architecture, m, n, k, stages)
    product.launch()
    return product.results()
