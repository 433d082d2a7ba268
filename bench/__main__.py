# SPDX-License-Identifier: Apache-2.0
"""python -m bench                 a few minutes: every operation, a table and a picture
python -m bench gemm_f16        everything about one operation (or several; "all": each)
python -m bench gemm_f16 --backend cuda    on a GPU; without one, what is known of its kernels
python -m bench static          what CUDA kernels take and do: no GPU needed
python -m bench pipeline        networks trained, quantized and measured on real data
python -m bench pipeline --backend cuda    the same on a GPU
"""

from __future__ import annotations

import argparse
import functools
import importlib
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import cuda, machine, readme, record, rows, table
from bench.contenders import Contest, Effort
from bench.rows import Headline, Result

STATIC = "static"  # not an operation: nothing is timed
PIPELINE = "pipeline"  # not one either: many of them, in networks
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
    there_are = *rows.OPERATIONS, "all", STATIC, PIPELINE
    parser.add_argument("operations", nargs="*", help=", ".join(there_are))
    parser.add_argument("--quick", action="store_true", help="tiny shapes: is everything right?")
    parser.add_argument("--backend", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", help="thread counts, as in 1,2 (default: one and all cores)")
    parser.add_argument("--isa", help="ceiling for the instruction set, as in avx2")
    parser.add_argument("--only", default="", metavar="REGEX", help="rows whose name matches")
    parser.add_argument("--rounds", type=int, help="rounds of each row")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: bench-out/")
    parser.add_argument(
        "--record",
        action="store_true",
        help="to bench/results/... and README; not all operations: into the newest record of this"
        " CPU and Isa, where the others stay",
    )
    chosen = parser.parse_args(argv)
    for alone in {STATIC, PIPELINE} & {*chosen.operations}:
        if len(chosen.operations) > 1:
            parser.error(f"{alone} is measured by itself")
    if chosen.backend == "cuda" and not {*chosen.operations} <= {*cuda.KERNELS, "all", PIPELINE}:
        parser.error(f"on a GPU there are {', '.join((*cuda.KERNELS, PIPELINE))}")
    unknown = set(chosen.operations) - {*there_are}
    if unknown:
        parser.error(f"no {', '.join(sorted(unknown))}; there are {', '.join(there_are)}")
    if chosen.record and chosen.quick:
        parser.error("tiny shapes are not worth a record: leave out --quick or --record")
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    chosen = arguments(argv)
    if STATIC in chosen.operations:
        static = importlib.import_module("bench.static")
        return static.main(chosen.only, chosen.out or (static.PLACE if chosen.record else None))
    if PIPELINE in chosen.operations:
        story = importlib.import_module("bench.pipeline.command")
        named = {"quick": chosen.quick, "out": chosen.out, "record": chosen.record}
        return story.main(**named, backend=chosen.backend)
    if chosen.backend == "cuda":
        every = not chosen.operations or "all" in chosen.operations
        operations = [*cuda.KERNELS] if every else chosen.operations
        return cuda.main(operations, chosen.rounds or EFFORTS["full"].rounds)
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
        partly = bool(chosen.only or chosen.threads)
        place = chosen.out or Path("bench-out")
        if chosen.record and chosen.out is None:
            some = partly or len(names) < len(rows.OPERATIONS)
            place = record.place_of(described, chosen.isa, some=some)
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

    judged = functools.partial(_headlines, isa=described["isa"], only=bool(chosen.only))
    headlines = [] if chosen.quick else judged(names, results)
    if headlines:
        print("", table.summary(headlines), sep="\n")
    recorded = results
    if chosen.record:
        recorded = record.merged(place, described, results, () if partly else names)
        there = dict.fromkeys(result.row.operation for result in recorded)
        headlines = judged(there, recorded)
    record.write(place, described, recorded, headlines)
    if chosen.record and not chosen.isa:
        readme.update(place, described, recorded)
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


def _headlines(
    names: Iterable[str], results: Sequence[Result], isa: str, *, only: bool
) -> list[Headline]:
    return [
        line
        for name in names
        for line in rows.operation(name).headlines(results, isa)
        # What --only left out is not worth a line; what failed is.
        if line.figure is not None or not only
    ]


if __name__ == "__main__":
    sys.exit(main())
