# SPDX-License-Identifier: Apache-2.0
"""The table and picture of README, from a recorded run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench import ROOT, pairs
from bench.rows import Entry, Result
from bench.table import figure, markdown_table

START, END = "<!-- bench:start -->", "<!-- bench:end -->"
SHOWN = (
    *("halfbyte", "halfbyte prepacked"),
    *("numpy f32", "torch f32", "torch bf16", "numkong f16 prepacked"),
)
SQUARES = (64, 256, 1024, 2048, 4096)


def update(place: Path, machine: dict[str, Any], results: Sequence[Result]) -> None:
    """Write what README shows between its two marks."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(START)
    _, after = rest.split(END)
    relative = os.path.relpath(place, ROOT)
    where = f"[{relative}/results.md]({relative}/results.md)"
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}.",
        "Weights of the products with up to 16 rows come from memory.",
        f"Every figure, quartiles, casts, first calls, other contenders: {where}.",
        "",
        *_rows(results),
        "",
        f"![GFLOP/s of square products]({relative}/gemm_f16.svg)",
    ]
    readme.write_text(before + START + "\n" + "\n".join(lines) + "\n" + END + after)


def _rows(results: Sequence[Result]) -> list[str]:
    body = []
    for result in results:
        row = result.row
        square = row.size in SQUARES
        layer = "x 4096 x 4096" in row.title
        if row.operation != "gemm_f16" or not (square or layer):
            continue
        if "transposed" in row.title or (row.size is not None and not square):
            continue
        body.append([row.title.split(",")[0], str(row.threads), *(_cell(result, e) for e in SHOWN)])
    head = ["m x n x k", "threads", *SHOWN]
    head[2] += " (of the roof)"
    return ["Rate in GFLOP/s:", "", *markdown_table(head, body)]


def _cell(result: Result, contender: str) -> str:
    entry = result.entry(contender)
    if entry is None or not entry.seconds:
        return ""
    text = f"{_rate(result, entry):.3g}"
    if contender == SHOWN[0]:
        text += f" ({figure(pairs.of_roof(result, entry))})"
    return text


def _rate(result: Result, entry: Entry) -> float:
    return result.row.flops / median(entry.seconds.values()) / 1e9
