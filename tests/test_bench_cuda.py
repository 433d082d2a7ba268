# SPDX-License-Identifier: Apache-2.0
"""The bench of a GPU: its calls give right results on the PTX machine; it tells wrong ones."""

import re

import numpy as np
import pytest

import device_arrays
from bench import __main__ as bench
from bench import cuda, cuda_calls, static
from ptx_backend import PtxBackend

SMALL = {
    "product of halves": (cuda_calls.product_of_halves, (33, 40, 24)),
    "a row of halves": (cuda_calls.product_of_halves, (1, 40, 24)),
    "product of codes": (cuda_calls.product_of_codes, (33, 40, 64)),
    "a row of codes": (cuda_calls.product_of_codes, (1, 40, 64)),
    **{
        f"{m} rows, {scheme}": (cuda_calls.layer, (m, 24, 256), scheme)
        for scheme in cuda_calls.SCHEMES
        for m in (1, 5, 40)
    },
    "cast": (cuda_calls.cast, 1000),
    "quantization": (cuda_calls.quantization, (3, 1000)),
    "unscaling": (cuda_calls.unscaling, 3000, 3),
    "AdamW": (cuda_calls.adam, 3000, 3, np.float32),
    "AdamW of halves": (cuda_calls.adam, 3000, 3, np.float16),
}


class Machine:
    """The PTX machine, as the bench sees a GPU without peers."""

    cupy = torch = None
    asarray = staticmethod(device_arrays.upload)
    empty = staticmethod(device_arrays.empty)
    host = staticmethod(device_arrays.download)


@pytest.fixture
def machine(nvrtc):
    with PtxBackend(80).forced():
        yield Machine


@pytest.mark.parametrize("case", SMALL)
def test_calls_give_right_results(case, machine):
    prepare, *arguments = SMALL[case]
    calls = prepare(*arguments, machine)
    for call in calls.calls.values():
        call()
    assert calls.right()


@pytest.mark.parametrize("case", SMALL)
def test_results_that_nothing_wrote_are_wrong(case, machine):
    prepare, *arguments = SMALL[case]
    assert not prepare(*arguments, machine).right()


@pytest.mark.parametrize("operation", cuda.KERNELS)
def test_each_operation_has_cases(operation):
    assert list(cuda_calls.cases(operation))


@pytest.mark.parametrize("operation", cuda.KERNELS)
def test_without_a_gpu_the_static_figures_are_shown(operation, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(cuda, "missing_gpu", lambda: "there is no GPU here")
    monkeypatch.setattr(static, "main", lambda only: asked.append(only) or 0)
    assert bench.main([operation, "--backend", "cuda"]) == 0
    assert "there is no GPU here: nothing is timed" in capsys.readouterr().out
    assert asked == [cuda.KERNELS[operation]]


@pytest.mark.parametrize("operation", cuda.KERNELS)
def test_each_operation_has_static_figures(operation):
    assert any(re.search(cuda.KERNELS[operation], x["kernel"]) for x in static.read()["results"])


def test_what_no_gpu_does_is_refused(capsys):
    with pytest.raises(SystemExit):
        bench.main(["startup", "--backend", "cuda"])
    assert "gemm_f16, gemm_int, linear" in capsys.readouterr().err
