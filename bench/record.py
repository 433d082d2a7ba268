# SPDX-License-Identifier: Apache-2.0
"""What a run leaves on disk, and reads back: another run measures only some operations again."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench import ROOT, machine, pairs, picture, rows, table
from bench.rows import Entry, Headline, Result, Row, Verdict

RESULTS = ROOT / "bench" / "results"
FILE = "results.json"


def place_of(described: dict[str, Any], isa: str | None, *, some: bool) -> Path:
    """Where to record: under today's date; `some` of the operations: where others are recorded.

    That is the newest record of this CPU and Isa. `isa`: the ceiling, if there is one.
    """
    ending = "-".join(["", machine.slug(described["cpu"]), *([isa] if isa else [])])
    today = RESULTS / (dt.datetime.now(tz=dt.UTC).date().isoformat() + ending)
    if some:
        places = (path.parent for path in RESULTS.glob(f"????-??-??{ending}/{FILE}"))
        newest = max((path for path in places if _is_of(path, described)), default=None)
        if newest is None and (today / FILE).exists():
            sys.exit(f"{today} is a record of another Isa; choose another place with --out")
        return newest or today
    return today


def merged(
    place: Path, described: dict[str, Any], results: Sequence[Result], whole: Collection[str]
) -> list[Result]:
    """These results, and what else is recorded there of this CPU and Isa, in canonical order.

    whole: operations of which nothing recorded stays, since all their rows were measured.
    """
    recorded = read(place) if _is_of(place, described) else []
    known = {
        result.row.name: result
        for result in recorded
        if result.row.operation in rows.OPERATIONS and result.row.operation not in whole
    }
    known |= {result.row.name: result for result in results}
    return sorted(known.values(), key=lambda r: rows.OPERATIONS.index(r.row.operation))


def write(
    place: Path, described: dict[str, Any], results: Sequence[Result], headlines: Sequence[Headline]
) -> None:
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
        "results": [as_json(result) for result in results],
        "headlines": [vars(line) | {"reached": line.reached} for line in headlines],
    }
    (place / FILE).write_text(json.dumps(known, indent=1) + "\n")


def read(place: Path) -> list[Result]:
    known = json.loads((place / FILE).read_text())
    return [from_json(result) for result in known["results"]]


def as_json(result: Result) -> dict[str, Any]:
    """Everything measured, round by round, so that any other ratio can be formed later."""
    row = result.row
    entries = []
    for entry in result.entries:
        known = {"contender": entry.contender, "failure": entry.failure}
        known["verdict"] = vars(entry.verdict) if entry.verdict else None
        known |= {"seconds": entry.seconds, "least_seconds": entry.least}
        known["roof_seconds"] = entry.alone
        if entry.seconds:
            known["median_seconds"] = median(entry.seconds.values())
            known["of_roof"] = pairs.of_roof(result, entry)
            known["of_copyto"] = pairs.of_copy(result, entry)
            known["speedup"] = pairs.speedup(result.entry(row.baseline), entry)
        entries.append(known)
    return vars(row) | {"roofs": result.roofs, "entries": entries}


def from_json(known: dict[str, Any]) -> Result:
    """What `as_json` was given."""
    fields = {key: tuple(x) if isinstance(x, list) else x for key, x in known.items()}
    entries, roofs = fields.pop("entries"), fields.pop("roofs")
    return Result(Row(**fields), [_entry(entry) for entry in entries], roofs)


def _entry(known: dict[str, Any]) -> Entry:
    verdict = known["verdict"]
    return Entry(
        known["contender"],
        _by_round(known["seconds"]),
        _by_round(known["least_seconds"]),
        verdict and Verdict(**verdict),
        known["failure"],
        {kind: _by_round(seconds) for kind, seconds in known["roof_seconds"].items()},
    )


def _by_round(known: dict[str, float]) -> dict[int, float]:
    """JSON has no integers for keys."""
    return {int(number): value for number, value in known.items()}


def _is_of(place: Path, described: dict[str, Any]) -> bool:
    """Whether what is recorded there was measured with this CPU and Isa."""
    path = place / FILE
    if not path.exists():
        return False
    there = json.loads(path.read_text())["machine"]
    return all(there[key] == described[key] for key in ("cpu", "isa"))
