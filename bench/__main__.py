# SPDX-License-Identifier: Apache-2.0
"""python -m bench                 two minutes: every operation, a table and a picture
python -m bench gemm_f16        everything about one operation (or several; "all": each)
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import ROOT, machine, picture, readme, rows, table
from bench.contenders import Contest, Effort
from bench.rows import Headline, Result

EFFORTS = {
    "quick": Effort(rounds=2, least_rounds=1, seconds=0.2, sample=0.002),
    "tour": Effort(rounds=7, least_rounds=3, seconds=0.55, sample=0.02),
    "full": Effort(rounds=11, least_rounds=4, seconds=1.0, sample=0.03),
}


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("operations", nargs="*", help=", ".join((*rows.OPERATIONS, "all")))
    parser.add_argument("--quick", action="store_true", help="tiny shapes: is everything right?")
    parser.add_argument("--threads", help="thread counts, as in 1,2 (default: one and all cores)")
    parser.add_argument("--isa", help="ceiling for the instruction set, as in avx2")
    parser.add_argument("--only", default="", metavar="REGEX", help="rows whose name matches")
    parser.add_argument("--rounds", type=int, help="rounds of each row")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: bench-out/")
    parser.add_argument("--record", action="store_true", help="to bench/results/... and README")
    chosen = parser.parse_args(argv)
    unknown = set(chosen.operations) - {*rows.OPERATIONS, "all"}
    if unknown:
        known = ", ".join((*rows.OPERATIONS, "all"))
        parser.error(f"no operation {', '.join(sorted(unknown))}; there are {known}")
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    chosen = arguments(argv)
    scale = "quick" if chosen.quick else "full" if chosen.operations else "tour"
    names = [
        name
        for name in rows.OPERATIONS
        if not chosen.operations or name in chosen.operations or "all" in chosen.operations
    ]
    effort = EFFORTS[scale]
    if chosen.rounds:
        effort = Effort(chosen.rounds, min(chosen.rounds, effort.least_rounds), 1e9, effort.sample)

    results: list[Result] = []
    with Contest(effort, chosen.isa) as contest:
        facts = contest.facts()
        if "failure" in facts:
            sys.exit(f"halfbyte does not start: {facts['failure']}")
        described = machine.describe() | facts
        if chosen.isa in machine.PEER_CEILINGS:
            described["peers"] = "numpy, torch and numkong too; onnxruntime uses what it finds"
        elif chosen.isa:
            described["peers"] = "peers use what they find"
        print("\n".join(table.machine_lines(described)), end="\n\n")
        print(table.terminal_header())
        planned = [
            row
            for name in names
            for row in rows.operation(name).rows(scale, _threads(chosen.threads))
            if re.search(chosen.only, row.name)
        ]
        for row in planned:
            results.append(contest.measure(row))
            print(table.terminal(results[-1]), flush=True)

    headlines = [
        line
        for name in (names if scale != "quick" else ())
        for line in rows.operation(name).headlines(results, described["isa"])
        # What --only left out is not worth a line; what failed is.
        if line.figure is not None or not chosen.only
    ]
    if headlines:
        print("", table.summary(headlines), sep="\n")
    place = chosen.out or _default_place(described, chosen.isa, record=chosen.record)
    _write(place, described, results, headlines)
    if chosen.record and not chosen.isa:
        readme.update(place, described, results)
    wrong = [
        f"{result.row.name}: {entry.contender}"
        for result in results
        for entry in result.entries
        if entry.ours and entry.failed
    ]
    print(f"\n{time.monotonic() - began:.0f} s; written to {place}")
    if wrong:
        print("WRONG OR FAILED:", *wrong, sep="\n  ")
    return 1 if wrong else 0


def _threads(text: str | None) -> tuple[int, ...]:
    if text:
        return tuple(sorted({int(part) for part in text.split(",")}))
    return tuple(sorted({1, machine.cores()}))


def _default_place(described: dict, isa: str | None, *, record: bool) -> Path:
    if not record:
        return Path("bench-out")
    date = dt.datetime.now(tz=dt.UTC).date().isoformat()
    parts = [date, machine.slug(described["cpu"]), *([isa] if isa else [])]
    return ROOT / "bench" / "results" / "-".join(parts)


def _write(place: Path, described: dict, results: list[Result], headlines: list[Headline]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    pictures = []
    if picture.can_draw():
        caption = f"{described['cpu']}, {described['isa']}"
        for name in dict.fromkeys(result.row.operation for result in results):
            chosen = [result for result in results if result.row.operation == name]
            if picture.draw(chosen, f"{name}: {caption}", place / f"{name}.svg"):
                pictures.append(f"{name}.svg")
    else:
        print("\nno picture: matplotlib is not installed (halfbyte's extra [bench] brings it)")
    text = table.markdown(described, results, headlines, pictures)
    (place / "results.md").write_text(text)
    known = {
        "machine": described,
        "results": [table.as_json(result) for result in results],
        "headlines": [vars(line) | {"reached": line.reached} for line in headlines],
    }
    (place / "results.json").write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
