# SPDX-License-Identifier: Apache-2.0
"""Products of halves on a device: laid out and planned as a test asks, and their bound."""

from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest

from halfbyte.cuda import gemm_f16_plan as planning
from halfbyte_reference import bounds
from halfbyte_reference.inputs import halves, strided

# k is no multiple of a chunk. Splits are those of tiles; few rows are split where k is long.
PRODUCTS = pytest.mark.parametrize(
    ("m", "k", "splits"),
    [(5, 203, 1), (5, 3101, 1), (20, 203, 1), (20, 203, 3)],
    ids=["few-rows", "few-rows-split", "tiles", "tiles-split"],
)


@contextmanager
def planned(tile, splits=1):
    """Give every product of more than a few rows this tile and so many splits of k."""
    planning.plan.cache_clear()
    try:
        with (
            mock.patch.object(planning, "_candidates", return_value=[planning.TILES[tile]]),
            mock.patch.object(planning, "_split_counts", return_value=range(splits, splits + 1)),
        ):
            yield
    finally:
        planning.plan.cache_clear()


def pitched(values):
    """Return a matrix whose rows begin at multiples of 16 bytes, and which ends with the last."""
    rows, columns = values.shape
    pitch = -(-columns // 8) * 8 + 8
    memory = np.full(rows * pitch + 128, np.nan, np.float16)
    first = -memory.ctypes.data % 256 // 2
    memory = memory[first : first + (rows - 1) * pitch + columns]
    matrix = np.lib.stride_tricks.as_strided(memory, values.shape, (2 * pitch, 2))
    matrix[...] = values
    return matrix


def operands(m, k, n, layout):
    """Return a and b, of which chunks lie along k, across it, or not at all."""
    a, b = halves((m, k), 1), halves((k, n), 2)
    if layout == "along":
        return pitched(a), pitched(b.T).T
    if layout == "across":
        return pitched(a.T).T, pitched(b)
    return strided(a, "padded"), strided(b, "padded")


def bounded(a, b, splits=1, **epilogue):
    """Return what a product in so many partial sums must be, with an epilogue: a `Bounded`."""
    a, b = np.float64(a), np.float64(b)
    error = bounds.gemm_tensor_core(bounds.magnitude(a, b), a.shape[-1], splits)
    return bounds.epilogue(a @ b, error, **epilogue)
