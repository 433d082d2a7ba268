# SPDX-License-Identifier: Apache-2.0
"""What is counted of the CUDA kernels is what is recorded, or better; and the arithmetic on it."""

import functools

import pytest

from bench import ROOT, static, static_table
from bench import __main__ as bench
from bench.gpus import GPUS, blocks_of
from halfbyte.cuda.gemm_f16_plan import TILES

T4, A100, RTX4090, H100 = GPUS
PLAIN = {f"{kernel}: {tile}" for kernel in ("gemm_f16", "gemm_int") for tile in TILES}
RECORD = static.read()
RECORDED = {(x["gpu"], x["kernel"]): x for x in RECORD["results"]}


@functools.cache
def cases(gpu):
    return {case.name: case for case in static.cases(gpu)}


def compared():
    """All kernels on one GPU, and the tiles of the products on the others."""
    return [
        pytest.param(gpu, name, id=f"{gpu.name}, {name}")
        for gpu in GPUS
        for name in cases(gpu)
        if gpu is A100 or name in PLAIN
    ]


@pytest.mark.parametrize(("gpu", "name"), compared())
def test_kernel_is_not_worse_than_recorded(gpu, name, nvrtc):
    now = static.figures(cases(gpu)[name], gpu)
    assert static.worse(now, RECORDED[gpu.name, name]) == []
    if static.nvrtc_version() == RECORD["nvrtc"]:
        assert now == RECORDED[gpu.name, name], "record it: python -m bench static --record"


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_all_kernels_are_recorded(gpu):
    assert [name for of, name in RECORDED if of == gpu.name] == [*cases(gpu)]


def test_recorded_table_is_of_the_recorded_figures():
    text = (static.PLACE / "results.md").read_text()
    assert text == static_table.markdown(RECORD["results"], RECORD["nvrtc"])


def test_readme_has_the_recorded_figures():
    shown = "\n".join(static_table.readme(RECORD["results"]))
    assert shown in (ROOT / "README.md").read_text()


def test_no_kernel_spills():
    assert {name for name, x in RECORDED.items() if x["stack"]} == set()


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_products_meet_no_bank_twice_and_read_no_sector_in_vain(gpu):
    products = [x for (of, name), x in RECORDED.items() if of == gpu.name and name in PLAIN]
    assert len(products) >= 2 * (len(TILES) - 1)
    assert {x["conflicts"] for x in products} == {0}
    assert {x["sectors"] - x["sectors_ideal"] for x in products} == {0}


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_two_of_five_instructions_of_a_large_tile_multiply(gpu):
    assert RECORDED[gpu.name, "gemm_f16: large"]["mma_share"] >= 0.4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"conflicts": 1}, "gemm_f16: large on A100: conflicts 1, recorded 0"),
        ({"stack": 8}, "gemm_f16: large on A100: stack 8, recorded 0"),
        ({"sectors": 100_000}, "sectors against the ideal"),
    ],
    ids=["bank conflict", "spill", "sectors"],
)
def test_what_is_worse_is_said(changed, said):
    before = RECORDED["A100", "gemm_f16: large"]
    (complaint,) = static.worse(before | changed, before)
    assert said in complaint


def test_what_is_better_is_not_worse():
    now = RECORDED["A100", "gemm_f16: large"]
    assert static.worse(now, now | {"conflicts": 7, "stack": 16}) == []


@pytest.mark.parametrize(
    ("gpu", "threads", "registers", "shared", "blocks"),
    [
        (A100, 128, 254, 48 * 1024, 2),  # registers: 256 x 128 of 65536
        (A100, 256, 32, 0, 8),  # 64 warps
        (A100, 32, 16, 0, 32),  # no more blocks than that
        (A100, 256, 40, 0, 6),  # 1280 a warp: 12 of a partition's 16384
        (A100, 128, 32, 40 * 1024, 4),  # 41 KiB each, of 164
        (RTX4090, 128, 32, 40 * 1024, 2),
        (T4, 128, 32, 32 * 1024, 2),  # the system takes nothing
        (T4, 256, 64, 0, 4),
        (H100, 1024, 65, 0, 0),  # 2304 a warp: 28 warps of 32
    ],
)
def test_blocks_are_those_that_fit_a_multiprocessor(gpu, threads, registers, shared, blocks):
    assert blocks_of(gpu, threads, registers, shared) == blocks


def test_peaks_are_those_of_the_published_clocks():
    # Of halves, and of bytes.
    per_cycle = {
        "T4": (1024, 2048),
        "A100": (2048, 4096),
        "RTX 4090": (512, 2048),
        "H100": (4096, 8192),
    }
    for gpu in GPUS:
        for peak, each in zip((gpu.tensor, gpu.integer), per_cycle[gpu.name], strict=True):
            most = gpu.multiprocessors * gpu.clock * each
            assert most == pytest.approx(peak, rel=0.003)  # published with three digits or four


def test_table_is_printed_and_kept(tmp_path, capsys, nvrtc):
    only = "casts: float32 to float16"
    assert bench.main(["static", "--only", only, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(only) == len(GPUS)
    kept = static.read(tmp_path)["results"]
    assert [(x["gpu"], x["kernel"]) for x in kept] == [(gpu.name, only) for gpu in GPUS]
