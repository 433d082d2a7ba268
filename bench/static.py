# SPDX-License-Identifier: Apache-2.0
"""python -m bench static: what each CUDA kernel takes and does, and the roof over it. No GPU.

Registers, stack and shared memory come from the machine code, all counts from the PTX machine, the
rest is arithmetic with published figures (`gpus`). So two runs are equal, and a bank conflict or a
spill that was not there is a change: see `worse`.

A kernel's roof is the least time that any of these allow, as if every multiprocessor were busy and
nothing ever waited:

    tensor    multiplications and additions / what mma.sync reaches
    memory    bytes / the rate of the GPU's memory; of a product, those of its operands and result
    shared    transactions, one a cycle of a multiprocessor
    issue     instructions of PTX (without moves), four a cycle of a multiprocessor
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.gpus import GPUS, PARTITIONS, Gpu, blocks_of
from bench.static_cases import Case, Widths, cases
from bench.static_table import HEAD, NOTES, cells, markdown, terminal, update_readme

PLACE = ROOT / "bench" / "results" / "static"
FILE = "results.json"
MMA = 2 * 16 * 8 * 16  # multiplications and additions of an mma of 16 x 8 x 16
LARGE = 4096  # the product whose operands' and result's bytes count


# --------------------------------------------------------------------------------- the figures


def figures(case: Case, gpu: Gpu) -> dict[str, Any]:
    """Return all that is known of a kernel on a GPU."""
    from bench import counted

    machine = counted.Machine(gpu)
    launched = next(x for x in case.launches(machine) if x.stem == case.kernel)
    whole = work = launched.counts
    if case.deeper:
        deep = next(x for x in case.deeper(machine) if x.stem == case.kernel)
        whole, work = deep.counts, deep.counts - work
    taken = counted.resources(gpu, launched)
    blocks = blocks_of(gpu, launched.threads, taken["registers"], taken["shared"])
    mmas = work.operations / MMA
    return {
        "kernel": case.name,
        "gpu": gpu.name,
        "threads": launched.threads,
        **taken,
        "blocks": blocks,
        "occupancy": round(blocks * -(-launched.threads // 32) / gpu.warps, 3),
        "transactions": whole.shared.done,
        "conflicts": whole.shared.excess,
        "sectors": whole.device.done,
        "sectors_ideal": whole.device.ideal,
        "instructions": {
            kind: n
            for kind, n in sorted(work.instructions.items())
            if n and kind not in counted.FREE
        },
        "mma_share": round(work.instructions["mma"] / work.issued, 3) if mmas else None,
        "shared_bytes_an_mma": round(work.shared.loaded / mmas, 1) if mmas else None,
        **_roof(work, gpu, case.widths),
    }


def _roof(work: Any, gpu: Gpu, widths: Widths | None) -> dict[str, Any]:
    """Return what limits a kernel. widths: of a product; many blocks read its operands, from a
    cache."""
    cycle = 1 / (gpu.multiprocessors * gpu.clock)
    codes = widths is not None and widths.a == 1
    moved = 32.0 * work.device.ideal
    if widths:
        moved = work.operations * sum(widths) * LARGE**2 / (2 * LARGE**3)
    seconds = {
        "tensor": work.operations / ((gpu.integer if codes else gpu.tensor) * gpu.mma),
        "memory": moved / gpu.bandwidth,
        "shared": work.shared.done * cycle,
        "issue": work.issued / PARTITIONS * cycle,
    }
    limit = max(seconds, key=seconds.__getitem__)
    return {
        "limit": limit,
        "of_roof": round(seconds["tensor" if widths else "memory"] / seconds[limit], 3),
        "rate": float(f"{(work.operations if widths else moved) / seconds[limit]:.4g}"),
        "unit": ("OP/s" if codes else "FLOP/s") if widths else "B/s",
    }


def measure(only: str = "", gpus: tuple[Gpu, ...] = GPUS) -> Iterator[dict[str, Any]]:
    for gpu in gpus:
        for case in cases(gpu):
            if re.search(only, case.name):
                yield figures(case, gpu)


def worse(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Say what a kernel has more of than is recorded of it: bank conflicts, spills, sectors."""
    ratios = [x["sectors"] / max(x["sectors_ideal"], 1) for x in (now, before)]
    found = [(name, now[name], before[name]) for name in ("conflicts", "stack")]
    return [
        f"{now['kernel']} on {now['gpu']}: {name} {new:g}, recorded {old:g}"
        for name, new, old in [*found, ("sectors against the ideal", *ratios)]
        if new > old
    ]


# ---------------------------------------------------------------------------------- the record


def nvrtc_version() -> str:
    from cupy.cuda import nvrtc

    return ".".join(map(str, nvrtc.getVersion()))


def read(place: Path = PLACE) -> dict[str, Any]:
    return json.loads((place / FILE).read_text())


def main(only: str = "", place: Path | None = None) -> int:
    """Print the table; place: where to keep it. Return 1 if something is worse than recorded."""
    try:
        nvrtc_version()
    except ImportError as error:
        sys.exit(
            f"{error}: halfbyte's extra [cuda13] brings what compiles the kernels; no GPU needed"
        )
    known = {}
    if (PLACE / FILE).exists():
        known = {(x["kernel"], x["gpu"]): x for x in read()["results"]}
    results, complaints, gpu = [], [], None
    for x in measure(only):
        if x["gpu"] != gpu:
            gpu = x["gpu"]
            print(f"\n{terminal([gpu, *HEAD[1:]])}")
        print(terminal(cells(x)), flush=True)
        results.append(x)
        if (x["kernel"], gpu) in known:
            complaints += worse(x, known[x["kernel"], gpu])
    print(f"\n{NOTES}")
    if place:
        place.mkdir(parents=True, exist_ok=True)
        content = {"nvrtc": nvrtc_version(), "results": results}
        (place / FILE).write_text(json.dumps(content, indent=1) + "\n")
        (place / "results.md").write_text(markdown(results, content["nvrtc"]))
        if place == PLACE and not only:
            update_readme(results)
        print(f"written to {place}")
    if complaints:
        print("WORSE THAN RECORDED:", *complaints, sep="\n  ")
    return 1 if complaints and place != PLACE else 0
