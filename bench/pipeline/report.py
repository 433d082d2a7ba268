# SPDX-License-Identifier: Apache-2.0
"""What was found, as Markdown: the tables, and what may be said of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

from bench.pipeline import embeddings
from bench.pipeline.qat import METHODS
from bench.pipeline.recipes import RECIPES
from bench.pipeline.story import FP32, LEAST_EPS, SCALED, UNSCALED, Found
from bench.pipeline.table import Row, difference, spread
from bench.table import markdown_table

HEAD = (
    *("scheme", "accuracy", "to FP32, 95 %", "bytes", "ms, 1", "ms, 256"),
    *("{} FP32", "torch", "reference's bits"),
)
PTQ = "W{}A4 static, per channel, mse"
ALT = {
    "accuracy.png": "Accuracy against bytes",
    "scale.png": "The loss scale, step by step",
    "speed.png": "Images a second",
}
REAL_WEIGHTS = (
    "Real weights, all-MiniLM-L6-v2, on docstrings of the standard library: how alike embeddings"
    " and their similarities are to those in FP32, and how often a sentence's nearest neighbour"
    " comes from the same module (mean ± standard deviation of tenths). MB of linear layers;"
    " milliseconds a sentence:"
)
COMPARED = (
    ("W4A8, per channel, absmax", "W4A8, per tensor, absmax"),
    ("W4A8, groups of 32, absmax", "W4A8, per channel, absmax"),
    ("W4A8, per channel, mse", "W4A8, per channel, absmax"),
    *((f"W{n}A4, trained again, {how}", PTQ.format(n)) for n in (4, 3, 2) for how in METHODS),
    ("W4A4, trained again, LSQ", "W4A4, trained again, straight-through"),
)
INCOMPLETE = "**Incomplete**: the run was interrupted; these are the seeds that were done."


def markdown(found: Found, machine: dict[str, Any], pictures: Iterable[str]) -> str:
    """The record: everything."""
    lines = ["# The whole story", "", *described(found, machine), ""]
    if not found.complete:
        lines += [INCOMPLETE, ""]
    lines += ["## Training in mixed precision", "", *training(found), ""]
    for kind in RECIPES:
        rows = network(found, kind.name)
        lines += [f"## {kind.name}", "", *rows, ""] if rows else []
    lines += [*bounds(found), ""]
    if found.embedded:
        lines += ["## Real weights", "", embeddings.table(found.embedded), ""]
    lines += [f"![{name}]({name})" for name in pictures]
    return "\n".join(lines) + "\n"


def described(found: Found, machine: dict[str, Any]) -> list[str]:
    seeds = max((len(row.accuracy) for row in found.rows.values()), default=0)
    return [
        f"{where(machine)}. Digits: 897 to train on, 200 to",
        f"calibrate, 700 to test, drawn anew for each of {seeds} seeds. Accuracy in per cent, mean",
        "± standard deviation; differences are paired by seed, with their 95 % interval.",
        f"Milliseconds of a batch of 1 and of 256, and of 1 / 256 in {found.library} and in torch,",
        "beside W8A8 the faster of float32 and dynamic INT8.",
    ]


def where(machine: dict[str, Any]) -> str:
    return machine.get("gpu") or f"{machine['cpu']}, {machine['isa']}, one thread"


def network(found: Found, name: str) -> list[str]:
    """The table of one network."""
    rows = [row for row in found.rows.values() if row.network == name and row.accuracy]
    if not rows:
        return []
    baseline = found.rows[name, FP32]
    compared = [
        [better, worse, gain(found.rows[name, better], found.rows[name, worse])]
        for better, worse in COMPARED
        if (name, better) in found.rows
    ]
    head = [name.format(found.library) for name in HEAD]
    lines = markdown_table(head, [_cells(row, baseline) for row in rows])
    if compared:
        lines += ["", *markdown_table(("scheme", "instead of", "accuracy gained, 95 %"), compared)]
    return lines


def _cells(row: Row, baseline: Row) -> list[str]:
    paired = "" if row is baseline else gain(row, baseline)
    bits = {True: "yes", False: "NO", None: ""}[row.same_bits]
    torch = f"{_times(row.torch)} {row.torch_kind}" if row.torch else ""
    return [
        *(row.scheme, spread(row.accuracy), paired),
        "" if row.nbytes is None else f"{row.nbytes:,}",
        *(f"{row.milliseconds[batch]:.3g}" if row.milliseconds else "" for batch in (1, 256)),
        *(_times(row.numpy), torch, bits),
    ]


def gain(row: Row, baseline: Row) -> str:
    """The paired difference and its interval."""
    middle, half = difference(row, baseline)
    if half == math.inf:
        return f"{middle:+.2f}, one seed"
    return f"{round(middle, 2) + 0.0:+.2f} ± {half:.2f}"  # never -0.00


def _times(known: dict[int, float]) -> str:
    return " / ".join(f"{value:.3g}" for value in known.values())


def training(found: Found) -> list[str]:
    """Mixed precision: what flushed to zero, what was skipped, where it fails without a scale."""
    body = []
    for (kind, name), traces in found.traces.items():
        if name == FP32 or not found.rows[kind, name].accuracy:
            continue
        row, baseline = found.rows[kind, name], found.rows[kind, FP32]
        scales = traces[0].scales
        went = f"{scales[0]:.0f} .. {max(scales):.0f}" if name == SCALED else ""
        shares = 100 * mean(trace.flushed for trace in traces)
        skipped = f"{mean(trace.skipped for trace in traces):.1f} of {len(scales)}"
        body.append([f"{kind}, {name}", gain(row, baseline), f"{shares:.3f} %", skipped, went])
    head = ("", "to FP32, 95 %", "gradients flushed to 0", "steps skipped", "loss scale")
    lines = [*markdown_table(head, body)]
    if found.regimes:
        lines += ["", *regimes(found)]
    return lines


def regimes(found: Found) -> list[str]:
    """The MLP with smaller and smaller losses."""
    body = []
    for weight, regime in found.regimes.items():
        baseline = regime.rows[FP32]
        line = [f"2^{math.log2(weight):.0f}", spread(baseline.accuracy)]
        for name in (SCALED, UNSCALED):
            line += [gain(regime.rows[name], baseline), f"{100 * mean(regime.flushed[name]):.3f} %"]
        body.append(line)
    flushed = "flushed to 0"
    head = ("loss times", "FP32", "FP16 scaled, to FP32", flushed, "not scaled, to FP32", flushed)
    count = max(len(regime.rows[FP32].accuracy) for regime in found.regimes.values())
    return [
        "The MLP with its loss multiplied by a small number, as that of one task of many is",
        f"({count} seeds, AdamW's eps {LEAST_EPS}):",
        "",
        *markdown_table(head, body),
        "",
        *fails(found),
    ]


def fails(found: Found) -> list[str]:
    """What may be said of FP16 without a loss scale: nothing finer than an interval."""
    lines = []
    for kind in RECIPES:
        row = found.rows.get((kind.name, UNSCALED))
        if row is not None and row.accuracy:
            baseline = found.rows[kind.name, FP32]
            middle, half = difference(row, baseline)
            verdict = (
                "loses accuracy" if middle + half < 0 else "loses nothing that these seeds show"
            )
            lines.append(f"Without a scale the {kind.name} {verdict}: {gain(row, baseline)}.")
    for weight, regime in found.regimes.items():
        middle, half = difference(regime.rows[UNSCALED], regime.rows[FP32])
        if middle + half < 0:
            power = f"2^{math.log2(weight):.0f}"
            lines.append(f"It fails where the loss is multiplied by {power} or less.")
            break
    return lines


def bounds(found: Found) -> list[str]:
    shares = [row.of_bound for row in found.rows.values() if row.of_bound is not None]
    checked = [row.same_bits for row in found.rows.values() if row.same_bits is not None]
    if not shares:
        return []
    distance = "The distance of the integers' results to FP32 products of fake-quantized numbers"
    if found.library != "numpy":
        distance += ", and of products of halves to the exact ones,"
    return [
        f"{sum(checked)} of {len(checked)} schemes give the reference's bits, on every seed.",
        f"{distance} is at",
        f"most {max(shares):.2f} of its bound.",
    ]


def readme(
    found: Found, machine: dict[str, Any], place: Path, pictures: Iterable[str]
) -> list[str]:
    """What README shows of a whole run: the last network openly, the others to be unfolded."""
    drawn = {name: f"![{ALT[name]}]({place}/{name})" for name in pictures}
    *others, last = RECIPES
    lines = [
        *described(found, machine),
        f"Every figure: [{place}/results.md]({place}/results.md).",
        "",
    ]
    lines += [f"The {last.name}, two blocks that read the rows of an image as tokens:", ""]
    lines += [*network(found, last.name), ""]
    for kind in others:
        summary = f"<details><summary>The {kind.name}</summary>"
        lines += [summary, "", *network(found, kind.name), "", "</details>", ""]
    lines += [*bounds(found), "", drawn.pop("accuracy.png", ""), "", drawn.pop("speed.png", "")]
    lines += ["", "Trained in FP16, with a loss scale and without:", "", *training(found), ""]
    lines += [*drawn.values()]
    if found.embedded:
        lines += ["", REAL_WEIGHTS, "", embeddings.table(found.embedded)]
    return lines
