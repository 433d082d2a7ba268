# SPDX-License-Identifier: Apache-2.0
"""Accuracy against bytes, the trace of the loss scale, and speed: small pictures for README.

An opaque ground of their own, so that a dark page does not swallow the text; colours of Okabe and
Ito, which the colour-blind can tell apart, and another marker or hatch with each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from bench.pipeline.peers import INT8
from bench.pipeline.story import FP32, SCALED, Found
from bench.pipeline.table import Row

GROUND, INK = "#fbfbf8", "#222222"
BLUE, ORANGE, GREEN, PINK, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"
KINDS = {  # the beginning of a scheme, how it is drawn
    "FP32": (INK, "s"),
    "FP16": (PINK, "P"),
    "W8A8": (BLUE, "o"),
    "W4A16": (SKY, "D"),
    "W4A8": (GREEN, "^"),
    "A4": (ORANGE, "v"),
    "QAT": (ORANGE, "*"),
}
LABELS = {"A4": "W4A4, W3A4, W2A4", "QAT": "the same, trained again"}
TICKS = (2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 15, 20, 30, 50, 70)
SHOWN = ("FP16", "W8A8 static, per channel", "W8A8 dynamic, per channel", "W4A8, groups of 32, mse")
PEERS = ("{} FP32", "torch f32", "torch int8")
DPI = 110


def draw(found: Found, place: Path) -> list[str]:
    """Draw what there is to draw, return the files' names."""
    import matplotlib as mpl

    mpl.use("Agg")
    drawn = []
    for name, of in (("accuracy", _accuracy), ("scale", _scale), ("speed", _speed)):
        if _drawn(of, found, place / f"{name}.png"):
            drawn.append(f"{name}.png")
    return drawn


def _drawn(of: Callable[[Any, Found], bool], found: Found, path: Path) -> bool:
    from matplotlib import pyplot as plt

    with plt.rc_context({"font.size": 8, "text.color": INK, "axes.labelcolor": INK}):
        figure = plt.figure(figsize=(7.2, 2.9), layout="constrained", facecolor=GROUND)
        some = of(figure, found)
        if some:
            figure.savefig(path, dpi=DPI, metadata={"Software": None})
        plt.close(figure)
    return some


def _panels(figure: Any, count: int, **shared: Any) -> Any:
    axes = figure.subplots(1, count, squeeze=False, **shared)[0]
    for axis in axes:
        axis.set_facecolor(GROUND)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, color=INK)
    return axes


def _kind(scheme: str) -> str | None:
    if "trained again" in scheme:
        return "QAT"
    if scheme[:2] in ("W2", "W3") or scheme.startswith("W4A4"):
        return "A4"
    return next(
        (kind for kind in ("FP16", "W8A8", "W4A16", "W4A8") if scheme.startswith(kind)), None
    )


def _accuracy(figure: Any, found: Found) -> bool:
    networks = dict.fromkeys(row.network for row in found.rows.values() if row.accuracy)
    if not networks:
        return False
    from matplotlib.ticker import FixedLocator

    known: dict[str, Any] = {}
    for axis, network in zip(_panels(figure, len(networks)), networks, strict=True):
        for row in (row for row in found.rows.values() if row.network == network and row.nbytes):
            kind = FP32 if row.scheme == FP32 else _kind(row.scheme)
            if kind is not None and row.accuracy:
                known.setdefault(LABELS.get(kind, kind), _point(axis, row, kind))
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=10)
        axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axis.yaxis.set_major_locator(FixedLocator(TICKS))
        axis.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
        axis.minorticks_off()
        axis.set_title(network, fontsize=9)
        axis.set_xlabel("KiB of parameters and scales")
    figure.axes[0].set_ylabel("error, %")
    legend = {"loc": "outside lower center", "ncols": 7, "frameon": False, "fontsize": 7}
    figure.legend(known.values(), known, **legend)
    return True


def _point(axis: Any, row: Row, kind: str) -> Any:
    colour, marker = KINDS[kind]
    x, y = (row.nbytes or 0) / 1024, 100 - mean(row.accuracy)
    face = GROUND if kind == "A4" else colour
    size = 8 if kind == "QAT" else 5.5
    (drawn,) = axis.plot(x, y, marker, color=colour, mfc=face, ms=size)
    if kind in ("A4", "QAT"):  # how many bits the weights have
        axis.annotate(row.scheme[1], (x, y), (4, 3), textcoords="offset points", fontsize=6)
    return drawn


def _scale(figure: Any, found: Found) -> bool:
    traces = {kind: each[0] for (kind, name), each in found.traces.items() if name == SCALED}
    if not traces:
        return False
    axis = _panels(figure, 1)[0]
    for (kind, trace), colour, style in zip(
        traces.items(), (BLUE, ORANGE, GREEN), ("-", "--", "-."), strict=False
    ):
        label = f"{kind}: {trace.skipped} steps skipped"
        axis.plot(trace.scales, style, color=colour, lw=1.6, drawstyle="steps-post", label=label)
    axis.set_yscale("log", base=2)
    axis.set_xlabel("step")
    axis.set_ylabel("loss scale")
    axis.legend(frameon=False)
    axis.set_title("The loss scale grows until gradients overflow, then halves", fontsize=9)
    return True


def _speed(figure: Any, found: Found) -> bool:
    rows = [row for row in found.rows.values() if row.milliseconds]
    networks = dict.fromkeys(row.network for row in rows)
    if not networks:
        return False
    peers = [name.format(found.library) for name in PEERS]
    names = [*SHOWN, *peers]
    axes = _panels(figure, len(networks), sharey=True)
    for axis, network in zip(axes, networks, strict=True):
        rates = _rates([row for row in rows if row.network == network], found.library)
        for place, name in enumerate(names):
            style = {"color": "#bbbbbb", "hatch": "//"} if name in peers else {"color": BLUE}
            axis.barh(-place, rates.get(name, 0), edgecolor=GROUND, **style)
        axis.set_title(network, fontsize=9)
    axes[0].set_yticks([-place for place in range(len(names))], names)
    of = "one thread" if found.library == "numpy" else "one GPU"
    figure.supxlabel(f"thousand images a second, batches of 256, {of}", fontsize=8)
    return True


def _rates(rows: list[Row], library: str) -> dict[str, float]:
    times = {row.scheme: row.milliseconds for row in rows if row.scheme in SHOWN}
    times[f"{library} FP32"] = rows[0].numpy
    for row in rows:
        if row.torch:
            times[f"torch {row.torch_kind}"] = row.torch
        if row.scheme in INT8.values():
            times["torch int8"] = row.milliseconds
    return {name: 256 / known[256] for name, known in times.items()}
