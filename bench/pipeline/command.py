# SPDX-License-Identifier: Apache-2.0
"""`python -m bench pipeline`: tell the story, print the table, leave a record."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench import ROOT, cuda, machine, picture
from bench.pipeline import devices, pictures, report
from bench.pipeline.devices import Device
from bench.pipeline.progress import Progress
from bench.pipeline.recipes import FULL, QUICK
from bench.pipeline.story import Found, tell

RESULTS = ROOT / "bench" / "results"
START, END = "<!-- pipeline:start -->", "<!-- pipeline:end -->"
# About how long each phase takes.
SHARES = {"train, quantize, train again": 75, "small losses": 8, "measure speed": 2}
SHARES["real weights"] = 15


def main(*, quick: bool, out: Path | None, record: bool, backend: str = "cpu") -> int:
    for package in ("sklearn", "threadpoolctl"):
        if importlib.util.find_spec(package) is None:
            sys.exit(f"{package} is not installed: halfbyte's extra [bench] brings it")
    missing = cuda.missing_gpu() if backend == "cuda" else ""
    if missing:
        sys.exit(f"pipeline --backend cuda: {missing}")
    import threadpoolctl

    import halfbyte

    effort = QUICK if quick else FULL
    if backend == "cuda":  # one GPU, on which seeds follow each other
        effort = replace(effort, device=devices.gpu(), workers=1)
    began = time.monotonic()
    found, progress, status = Found(), Progress(SHARES), 0
    threads = halfbyte.get_num_threads()
    halfbyte.set_num_threads(1)
    try:
        with threadpoolctl.threadpool_limits(1):  # sums of BLAS depend on the number of threads
            tell(effort, progress, found)
    except KeyboardInterrupt:
        progress.note("interrupted: what was measured so far follows")
        status = 130
    finally:
        halfbyte.set_num_threads(threads)
    progress.end()
    name = "pipeline" if backend == "cpu" else f"pipeline-{backend}"
    place = out or (RESULTS if record else Path("bench-out")) / name
    described = described_machine(effort.device)
    write(found, described, place, update=record and found.complete and backend == "cpu")
    print(f"\n{time.monotonic() - began:.0f} s; written to {place}")
    wrong = [
        f"{row.network}: {row.scheme}" for row in found.rows.values() if row.same_bits is False
    ]
    if wrong:
        print("NOT THE REFERENCE'S BITS:", *wrong, sep="\n  ")
    return 1 if wrong else status


def write(found: Found, described: dict[str, Any], place: Path, *, update: bool) -> None:
    place.mkdir(parents=True, exist_ok=True)
    drawn = pictures.draw(found, place) if picture.can_draw() else []
    if not picture.can_draw():
        print("no pictures: matplotlib is not installed (halfbyte's extra [bench] brings it)")
    text = report.markdown(found, described, drawn)
    (place / "results.md").write_text(text)
    (place / "results.json").write_text(json.dumps(as_json(found, described), indent=1) + "\n")
    print(text)
    if update:
        into_readme(report.readme(found, described, place.relative_to(ROOT), drawn))


def described_machine(device: Device) -> dict[str, Any]:
    from halfbyte.cpu import isa

    gpu = {"gpu": cuda.name()} if device.library == "cupy" else {}
    return machine.describe() | {"isa": isa.active().name} | gpu


def as_json(found: Found, described: dict[str, Any]) -> dict[str, Any]:
    return {
        "machine": described,
        "complete": found.complete,
        "library": found.library,
        "rows": [asdict(row) for row in found.rows.values()],
        "regimes": [{"weight": key} | asdict(regime) for key, regime in found.regimes.items()],
        "traces": [
            {
                "network": network,
                "training": name,
                "skipped": [trace.skipped for trace in traces],
                "flushed": [trace.flushed for trace in traces],
                "scales": runs(traces[0].scales),
            }
            for (network, name), traces in found.traces.items()
        ],
        "embeddings": [asdict(row) for row in found.embedded],
    }


def runs(values: list[float]) -> list[tuple[int, float]]:
    """The first seed's scales: from which step on, which."""
    changes = [
        (step, value) for step, value in enumerate(values) if step == 0 or value != values[step - 1]
    ]
    return changes


def into_readme(lines: list[str]) -> None:
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(START)
    _, after = rest.split(END)
    readme.write_text(before + START + "\n" + "\n".join(lines) + "\n" + END + after)
