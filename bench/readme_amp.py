# SPDX-License-Identifier: Apache-2.0
"""The table of README on loss scaling and optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from bench import amp, pairs, table
from bench.rows import Result
from bench.steps import Case

PEERS = ("numpy", "torch")


def steps(results: Sequence[Result]) -> list[str]:
    """One line an operation, of arrays from memory or of many small ones; [] if there is none."""
    body = []
    for result in results:
        row, entry = result.row, result.entry("halfbyte")
        if row.operation != "amp" or row.threads > 1 or not (entry and entry.seconds):
            continue
        case = Case(**row.params)
        if case.tensors == 1 and case.nbytes < amp.BIG:
            continue
        seconds = median(entry.seconds.values())
        rate = f"{row.bytes / seconds / 1e9:.3g}" if row.unit else table.seconds(seconds)
        ratios = [pairs.of_roof(result, entry)]
        ratios += [pairs.speedup(result.entry(peer), entry) for peer in PEERS]
        body.append([row.title, rate, *map(table.two_digits, ratios)])
    if not body:
        return []
    head = ["one thread", "GB/s, or time", "of the roof", *(f"x {peer}" for peer in PEERS)]
    return [
        "",
        "Loss scaling, and optimizers with float16 parameters and gradients and float32 masters.",
        "MiB are those of the float32 results or masters. Through GradScaler gradients are read",
        "twice, for nothing may change where one is not finite; both readings count. torch has its",
        "fused optimizers, on float32 parameters and gradients, and casts to float16 afterwards:",
        "",
        *table.markdown_table(head, body),
    ]
