# SPDX-License-Identifier: Apache-2.0
"""Results as lines for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench import pairs
from bench.rows import Entry, Headline, Result

COLUMNS = (
    *("time", "quartiles", "rate", "of roof", "x copyto"),
    *("x baseline", "x best peer", "exact?", "error"),
)
WIDTHS = (10, 22, 15, 9, 10, 12, 34, 8, 18)
NOTES = (
    "Times and ratios are medians over rounds; quartiles in brackets. *Of roof* is the least time"
    " that the measured roofs allow, divided by the time. *x copyto* is np.copyto's time for as"
    " many bytes, divided by the time. *x baseline* is the speedup over {baseline}, *x best peer*"
    " over the fastest that is not halfbyte, whatever its error. *Exact?*: is all that was compared"
    " equal to the reference? Integer operands have the full range of their formats. Errors"
    " are in units of the bound on an FP32 product, or on a sum in FP64; of integers, the largest"
    " difference; of layers with quantized weights, relative to the exact product of x with the"
    " dequantized weights (norm of the difference, of norm), which shows what rounding x costs."
)


def seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def rate(value: float | None, unit: str) -> str:
    return "" if value is None or not unit else f"{value / 1e9:.3g} {unit}"


def figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if value < 10 else f"{value:.4g}"


def two_digits(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.3g}"


def cells(result: Result, entry: Entry) -> list[str]:
    """One contender's columns, without its name."""
    if entry.failure:
        return ["failed", entry.failure, *[""] * (len(COLUMNS) - 2)]
    verdict = [exactness(entry), error(entry)]
    if not entry.seconds:
        return ["not timed", *[""] * (len(COLUMNS) - 3), *verdict]
    low, middle, high = pairs.quartiles(entry.seconds)
    row = result.row
    work = row.bytes if row.unit == "GB/s" else row.flops
    peer = pairs.best_peer(result) if entry.ours else None
    over = result.entry(row.baseline)
    return [
        seconds(middle),
        f"[{seconds(low)}, {seconds(high)}]",
        rate(work / middle if work else None, row.unit),
        figure(pairs.of_roof(result, entry)),
        figure(pairs.of_copy(result, entry)),
        figure(pairs.speedup(over, entry)) if over is not entry else "",
        f"{figure(pairs.speedup(peer, entry))} ({peer.contender})" if peer else "",
        *verdict,
    ]


def exactness(entry: Entry) -> str:
    if entry.verdict is None:
        return ""
    if not entry.verdict.acceptable:
        return "WRONG"
    return "yes" if entry.verdict.same_bits else "no"


def error(entry: Entry) -> str:
    verdict = entry.verdict
    if verdict is None:
        return ""
    if verdict.relative is not None:
        return f"{100 * verdict.relative:.2g} %"
    if verdict.same_bits:
        return ""
    if verdict.off_by is not None:
        return f"up to {verdict.off_by:.0f}"
    if verdict.of_bound is None:
        return ""
    digits = ".2g" if verdict.of_bound < 100 else ".0f"
    return f"{verdict.of_bound:{digits}} x bound"


def roofs(result: Result) -> str:
    units = {
        "fma": "GFLOP/s",
        "int": "GOP/s",
        "read": "GB/s read",
        "stream": "GB/s written",
        "copy": "GB/s copied",
    }
    return ", ".join(f"{rate(value, units[kind])}" for kind, value in result.roofs.items())


def terminal(result: Result) -> str:
    roof = roofs(result)
    lines = [result.row.name + (f"  (roof {roof})" if roof else "")]
    for entry in result.entries:
        parts = cells(result, entry)
        if entry.failure:
            line = "  ".join(parts)
        else:
            line = "".join(f"{p:>{w}}" for p, w in zip(parts, WIDTHS, strict=True))
        lines.append(f"  {entry.contender:<24}{line}".rstrip())
    return "\n".join(lines)


def terminal_header() -> str:
    columns = "".join(f"{c:>{w}}" for c, w in zip(COLUMNS, WIDTHS, strict=True))
    return f"  {'contender':<24}{columns}"


def summary(headlines: Sequence[Headline]) -> str:
    width = max((len(line.what) for line in headlines), default=0)
    lines = [f"{'what':<{width}}  {'figure':>9}  {'must':>6}  {'dream':>6}  reached"]
    for line in headlines:
        must, dream = _goals(line)
        lines.append(
            f"{line.what:<{width}}  {_with_unit(line):>9}  {must:>6}  {dream:>6}  {line.reached}"
        )
    return "\n".join(line.rstrip() for line in lines)


def machine_lines(machine: dict[str, Any]) -> list[str]:
    caches = ", ".join(f"{name} {size // 1024} KiB" for name, size in machine["caches"].items())
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    capped = machine.get("peers", "")
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores; {caches}",
        f"{machine['system']}; {versions}",
        f"Isa: {machine.get('isa', 'unknown')}" + (f" ({capped})" if capped else ""),
    ]
    removed = machine.get("removed_from_environment")
    if removed:
        lines.append(f"set here, and removed for the contenders: {', '.join(removed)}")
    return lines


def markdown(
    machine: dict[str, Any],
    results: Sequence[Result],
    headlines: Sequence[Headline],
    pictures: Sequence[str],
) -> str:
    lines = ["# halfbyte, measured", "", *(f"- {line}" for line in machine_lines(machine)), ""]
    lines += [f"![{name}]({name})" for name in pictures]
    if headlines:
        goals = [(*_goals(line), line) for line in headlines]
        lines += [
            "",
            *markdown_table(
                ["what", "figure", "must", "dream", "reached"],
                [
                    [line.what, _with_unit(line), must, dream, line.reached]
                    for must, dream, line in goals
                ],
            ),
        ]
    for operation in dict.fromkeys(result.row.operation for result in results):
        chosen = [result for result in results if result.row.operation == operation]
        baseline = next((r.row.baseline for r in chosen if r.row.baseline), "")
        lines += ["", f"## {operation}", "", NOTES.format(baseline=baseline), ""]
        body = []
        for result in chosen:
            for entry in result.entries:
                name = f"{result.row.title} ({result.row.threads})"
                body.append([name, entry.contender, *cells(result, entry)])
        lines += markdown_table(["row (threads)", "contender", *COLUMNS], body)
    return "\n".join(lines) + "\n"


def _goals(line: Headline) -> tuple[str, str]:
    sign = "<=" if line.low_is_good else ""
    return tuple("" if g is None else f"{sign}{g:g}" for g in (line.must, line.dream))


def _with_unit(line: Headline) -> str:
    if line.figure is None:
        return ""
    return f"{line.figure:.3g} {line.unit}".rstrip()


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in body]
    return ["| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *escaped]]
