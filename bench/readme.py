# SPDX-License-Identifier: Apache-2.0
"""The tables and the picture of README, from a recorded run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench import ROOT, pairs, quantization, readme_amp, readme_integers
from bench.codes import Case
from bench.rows import Entry, Result
from bench.table import figure, markdown_table, two_digits

START, END = "<!-- bench:start -->", "<!-- bench:end -->"
SHOWN = (
    *("halfbyte", "halfbyte prepacked"),
    *("numpy f32", "torch f32", "torch bf16", "numkong f16 prepacked"),
)
QUANTIZATION_PEERS = ("numpy", "torch", "torch ops")
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
        *_products(results),
        *readme_integers.products(results),
        *readme_integers.layers(results),
        *_quantizations(results),
        *readme_amp.steps(results),
        "",
        f"![GFLOP/s of square products]({relative}/gemm_f16.svg)",
    ]
    if (place / "gemm_int.svg").exists():
        lines += ["", f"![GOP/s of square integer products]({relative}/gemm_int.svg)"]
    readme.write_text(before + START + "\n" + "\n".join(lines) + "\n" + END + after)


def _products(results: Sequence[Result]) -> list[str]:
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


def _quantizations(results: Sequence[Result]) -> list[str]:
    """One line an operation, on arrays that come from memory; [] if there is none."""
    body = []
    for result in results:
        row, entry = result.row, result.entry(SHOWN[0])
        if row.operation != "quantization" or row.threads > 1 or not (entry and entry.seconds):
            continue
        case = Case(**row.params)
        if case.nbytes == quantization.BIG:
            peers = (pairs.speedup(result.entry(peer), entry) for peer in QUANTIZATION_PEERS)
            ratios = (pairs.of_roof(result, entry), pairs.of_copy(result, entry), *peers)
            rate = f"{row.bytes / median(entry.seconds.values()) / 1e9:.3g}"
            body.append([case.what, rate, *(two_digits(ratio) for ratio in ratios)])
    if not body:
        return []
    head = ["64 MiB, one thread", "GB/s", "of the roof", "x np.copyto"]
    head += [f"x {peer}" for peer in QUANTIZATION_PEERS]
    return [
        "",
        "Bytes read and written a second; what part that is of what memory allows (the rates of a",
        "loop that only reads and of one that only writes); how many times what np.copyto moves;",
        "how many times as fast as numpy, torch's own function and a chain of torch's operations.",
        "check_finite=True reads x twice, so that an error changes nothing; both readings count:",
        "",
        *markdown_table(head, body),
    ]


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
