# SPDX-License-Identifier: Apache-2.0
"""The figures of `static` as lines for a terminal, as Markdown, and as README's table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench import ROOT
from bench.gpus import GPUS
from bench.table import markdown_table

START, END = "<!-- static:start -->", "<!-- static:end -->"
SHOWN = "A100"  # whose figures README has, beside the rates of all
HEAD = (
    *("kernel", "registers", "stack", "shared KiB", "blocks", "occupancy", "conflicts"),
    *("sectors", "mma share", "B an mma", "limit", "of the roof", "rate"),
)
NOTES = (
    "*Blocks* fit one multiprocessor, *occupancy* is their warps, of those it holds. *Conflicts*:"
    " transactions of shared memory beyond the ideal; *sectors*: of 32 bytes of global memory,"
    " against the ideal; both of a whole launch. *Mma share*: of the main loop's instructions of"
    " PTX, without moves; *B an mma*: bytes of shared memory that a warp reads for 16 x 8 x 16."
    " *Limit*: what takes longest, *of the roof*: time at the peak of tensor cores or memory"
    " divided by that, *rate*: what would then be reached, an upper bound."
)


def cells(x: dict[str, Any]) -> list[str]:
    scale, unit = {"B/s": (1e9, "GB/s")}.get(x["unit"], (1e12, f"T{x['unit']}"))
    return [
        x["kernel"],
        str(x["registers"]),
        str(x["stack"]),
        f"{x['shared'] / 1024:.3g}",
        str(x["blocks"]),
        f"{x['occupancy']:.2f}",
        str(x["conflicts"]),
        f"{x['sectors'] / max(x['sectors_ideal'], 1):.3g}",
        "" if x["mma_share"] is None else f"{x['mma_share']:.2f}",
        "" if x["shared_bytes_an_mma"] is None else f"{x['shared_bytes_an_mma']:.0f}",
        x["limit"],
        f"{x['of_roof']:.2f}",
        f"{x['rate'] / scale:.0f} {unit}",
    ]


def terminal(line: Sequence[str]) -> str:
    name, *rest = line
    return f"{name:44}" + "".join(f"{text:>13}" for text in rest)


def markdown(results: Sequence[dict[str, Any]], nvrtc: str) -> str:
    lines = ["# halfbyte's CUDA kernels, counted", "", f"NVRTC {nvrtc}. {NOTES}"]
    for gpu in GPUS:
        body = [cells(x) for x in results if x["gpu"] == gpu.name]
        if body:
            lines += ["", f"## {gpu.name}", "", *markdown_table(HEAD, body)]
    return "\n".join(lines) + "\n"


def readme(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return README's lines: the tiles of the products."""
    by_gpu = {(x["gpu"], x["kernel"]): x for x in results}
    body = []
    for (gpu, name), x in by_gpu.items():
        plain = name.startswith("gemm_f16: ") and "," not in name
        if gpu == SHOWN and plain:
            _, registers, stack, shared, blocks, _, conflicts, sectors, share, read, *_ = cells(x)
            rates = (by_gpu.get((other.name, name)) for other in GPUS)
            body.append([
                *(name.removeprefix("gemm_f16: "), registers, stack, shared, blocks),
                *(conflicts, sectors, share, read),
                *("" if rate is None else f"{rate['rate'] / 1e12:.0f}" for rate in rates),
            ])  # fmt: skip
    head = (
        *("tile", "registers", "stack", "shared KiB", "blocks", "conflicts", "sectors"),
        *("mma share", "B an mma", *(gpu.name for gpu in GPUS)),
    )
    return [START, *markdown_table(head, body), END]


def update_readme(results: Sequence[dict[str, Any]]) -> None:
    """Write what README shows between its two marks."""
    path = ROOT / "README.md"
    before, rest = path.read_text().split(START)
    _, after = rest.split(END)
    path.write_text(before + "\n".join(readme(results)) + after)
