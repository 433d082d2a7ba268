# SPDX-License-Identifier: Apache-2.0
"""Pictures as BLIS draws them: size across, rate up, the axis ending at the roof."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.rows import Result

WIDTH, HEIGHT = 5.2, 3.6  # inches of one panel
LEGEND = 1.4  # beside the panels
FEWEST = 3  # sizes that make a curve
STYLES = {
    "halfbyte": ("#0b6e4f", "-", 2.2),
    "halfbyte prepacked": ("#6bbf59", "-", 2.2),
    "halfbyte linear(x, w)": ("#b5d99c", "-", 1.6),
    "halfbyte, b (n, k)": ("#b5d99c", "-", 1.6),
    "numpy f32": ("#c0392b", "--", 1.5),
    "torch f32": ("#8e44ad", "--", 1.5),
    "torch._int_mm": ("#8e44ad", "--", 1.5),
    "onnxruntime": ("#2471a3", "--", 1.5),
}


def can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw(results: Sequence[Result], caption: str, path: Path) -> bool:
    """One panel a thread count, from the rows that have a size. False: there are none."""
    sized = [result for result in results if result.row.size is not None]
    counts = sorted({result.row.threads for result in sized})
    drawable = [count for count in counts if len(_sizes(sized, count)) >= FEWEST]
    if not drawable:
        return False

    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "halfbyte"  # the same figures, the same file
    mpl.rcParams["svg.fonttype"] = "none"  # text as text, a tenth of the size
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1,
        len(drawable),
        figsize=(WIDTH * len(drawable) + LEGEND, HEIGHT),
        squeeze=False,
        layout="constrained",
    )
    for axis, count in zip(axes[0], drawable, strict=True):
        _panel(axis, [result for result in sized if result.row.threads == count], count)
    lines = axes[0][0].get_lines()
    names = [line.get_label() for line in lines]
    figure.legend(lines, names, fontsize=7, frameon=False, loc="outside right upper")
    figure.suptitle(caption, fontsize=9)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
    return True


def _sizes(results: Sequence[Result], threads: int) -> set[int | None]:
    return {result.row.size for result in results if result.row.threads == threads}


def _panel(axis, results: Sequence[Result], threads: int) -> None:  # type: ignore[no-untyped-def]
    results = sorted(results, key=lambda result: result.row.size or 0)
    roofs = [r.roofs[r.row.compute] for r in results if r.row.compute in r.roofs]
    for name in dict.fromkeys(entry.contender for result in results for entry in result.entries):
        points = [
            (result.row.size, result.row.flops / median(entry.seconds.values()) / 1e9)
            for result in results
            if (entry := result.entry(name)) is not None and entry.seconds
        ]
        if points:
            color, line, width = STYLES.get(name, (None, ":", 1.0))
            sizes, rates = zip(*points, strict=True)
            axis.plot(sizes, rates, line, color=color, lw=width, label=name, marker=".", ms=4)
    axis.set_xscale("log", base=2)
    ticks = [size for size in (64, 128, 256, 512, 1024, 2048, 4096) if size in _all(results)]
    axis.set_xticks(ticks, [str(size) for size in ticks])
    axis.minorticks_off()
    axis.set_ylim(0, median(roofs) / 1e9 if roofs else None)
    axis.set_xlabel("m = n = k")
    axis.set_ylabel(f"{results[0].row.unit}; the axis ends at the roof")
    axis.set_title(f"{threads} thread{'s' if threads > 1 else ''}", fontsize=9)
    axis.grid(alpha=0.3)


def _all(results: Sequence[Result]) -> set[int | None]:
    return {result.row.size for result in results}
