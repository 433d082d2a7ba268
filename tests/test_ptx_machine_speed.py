# SPDX-License-Identifier: Apache-2.0
"""The PTX machine is fast enough to be used in every test, with all its checks."""

import time

import numpy as np
import pytest

from ptx_kernels import AMPERE, ARCHITECTURES, kernel_source, module
from ptx_kernels.realistic import GemmF16, row_quantize

pytestmark = pytest.mark.usefixtures("nvrtc")


def least_seconds(function, times):
    """Return the shortest of several runs, after one that compiles: the rest is other programs."""
    function()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return min(taken)


@pytest.mark.parametrize("architecture", AMPERE, ids=lambda x: f"compute_{x}")
def test_product_of_128_takes_a_tenth_of_a_second(architecture):
    product = GemmF16(kernel_source("gemm_f16"), architecture, 128, 128, 128)
    assert least_seconds(product.launch, 5) <= 0.1
    np.testing.assert_array_equal(*product.results())


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda x: f"compute_{x}")
def test_quantizing_256_rows_of_4096_takes_half_a_second(architecture):
    text = kernel_source("row_quantize")
    module(text, architecture)
    results = []

    def run():
        results.append(row_quantize(text, architecture, 256, 4096, grid=256))

    assert least_seconds(run, 3) <= 0.5
    np.testing.assert_array_equal(*results[-1])
