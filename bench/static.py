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

import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench import ROOT
from bench.gpus import GPUS, PARTITIONS, Gpu, blocks_of
from bench.static_table import HEAD, NOTES, cells, markdown, terminal, update_readme

PLACE = ROOT / "bench" / "results" / "static"
FILE = "results.json"
MMA = 2 * 16 * 8 * 16  # multiplications and additions of an mma of 16 x 8 x 16
DEPTH = 256  # steps of k of a product; another with twice as many tells what the loop does
LARGE = 4096  # the product whose operands' and result's bytes count
ROWS, COLUMNS = 64, 4096


class Case(NamedTuple):
    """A kernel, and how it comes to be launched on a machine."""

    kernel: str  # the file
    title: str
    launches: Callable[[Any], list[Any]]
    deeper: Callable[[Any], list[Any]] | None = None  # the same with a loop twice as long

    @property
    def name(self) -> str:
        return f"{self.kernel}: {self.title}"


# ----------------------------------------------------------------------------------- the cases


def cases(gpu: Gpu) -> Iterator[Case]:
    """Yield what is counted on a GPU."""
    from halfbyte.cuda import gemm_f16_plan as planning

    for tile in planning.TILES:
        if gpu.capability > planning.TURING or tile != "huge":
            yield _product(tile)
    for layout in ("tn", "nt", "tt"):
        yield _product("large", layout)
    yield _product("small", "nn", odd=1)
    for m, layout in ((1, "nn"), (1, "nt"), (8, "nn")):
        title = f"{m} row{'s' * (m > 1)}" + ", b transposed" * (layout == "nt")
        yield Case("gemm_f16_rows", title, functools.partial(_multiply, m, 4096, 128, layout))
    yield Case("gemm_f16_sum", "1 row", functools.partial(_multiply, 1, 4096, 128, "nn"))
    x = np.random.default_rng(1).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    h, acc = x.astype(np.float16), np.int32(1000 * x)
    scale, scales = np.float32(0.03), np.full(COLUMNS, 0.001, np.float32)
    yield _call("casts", "float32 to float16", "to_f16", x)
    yield _call("casts", "float16 to float32", "to_f32", h)
    yield _call("quantize_rows", "INT8 a row, float32", "quantize", x, axis=0)
    yield _call("quantize_rows", "INT8 a row, float16", "quantize", h, axis=0)
    yield _call("quantize_rows", "INT4, groups of 128", "quantize", x, **_GROUPS)
    yield _call("quantize", "INT8, scale given", "quantize", x, scale=scale)
    yield _call("extremes", "of a tensor", "quantize", x)
    yield Case("dequantize", "INT8 a row", functools.partial(_dequantize, x, {"axis": 0}))
    yield Case("dequantize", "INT4, groups of 128", functools.partial(_dequantize, x, _GROUPS))
    yield _call("requantize", "INT32 to INT8, a scale a column", "requantize", acc, scales)
    yield _call("fake_quantize", "INT8", "fake_quantize", x, scale)


_GROUPS = {"bits": 4, "group_size": 128}


def _product(tile: str, layout: str = "nn", odd: int = 0) -> Case:
    shallow, deep = (
        functools.partial(_tile, tile, steps, layout, odd) for steps in (DEPTH, 2 * DEPTH)
    )
    title = tile + "".join(
        f", {name} transposed" for name, letter in zip("ab", layout, strict=True) if letter == "t"
    )
    return Case("gemm_f16", title + ", by elements" * odd, shallow, deep)


def _tile(name: str, depth: int, layout: str, odd: int, machine: Any) -> list[Any]:
    """Multiply one tile. odd: how much longer rows are than their elements, so in no chunks."""
    from bench import counted
    from halfbyte.cuda.gemm_f16_plan import TILES

    tile = TILES[name]
    with counted.one_tile(name):
        return _multiply(tile.block_m, depth, tile.block_n, layout, machine, odd)


def _multiply(m: int, k: int, n: int, layout: str, machine: Any, odd: int = 0) -> list[Any]:
    import halfbyte
    from bench.counted import aligned

    a, b = (
        aligned(np.ones((x, y + odd) if letter == "n" else (y, x + odd), np.float16))
        for x, y, letter in ((m, k, layout[0]), (k, n, layout[1]))
    )
    a = a[:, :k] if layout[0] == "n" else a[:, :m].T
    b = b[:, :n] if layout[1] == "n" else b[:, :k].T
    machine.launches = []
    machine.call(halfbyte.gemm_f16, a, b)
    return machine.launches


def _call(kernel: str, title: str, function: str, *args: Any, **kwargs: Any) -> Case:
    def launches(machine: Any) -> list[Any]:
        import halfbyte

        return machine.launched(getattr(halfbyte, function), *args, **kwargs)

    return Case(kernel, title, launches)


def _dequantize(x: Any, arguments: dict[str, Any], machine: Any) -> list[Any]:
    import halfbyte

    def both(x: Any) -> Any:
        return halfbyte.dequantize(halfbyte.quantize(x, **arguments))

    return machine.launched(both, x)


# --------------------------------------------------------------------------------- the figures


def figures(case: Case, gpu: Gpu) -> dict[str, Any]:
    """Return all that is known of a kernel on a GPU."""
    from bench import counted

    machine = counted.Machine(gpu)
    (launched,) = (x for x in case.launches(machine) if x.stem == case.kernel)
    whole = work = launched.counts
    if case.deeper:
        (deep,) = (x for x in case.deeper(machine) if x.stem == case.kernel)
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
        **_roof(work, gpu, product=case.deeper is not None),
    }


def _roof(work: Any, gpu: Gpu, *, product: bool) -> dict[str, Any]:
    """Return what limits a kernel. product: operands are read by many blocks, from a cache."""
    cycle = 1 / (gpu.multiprocessors * gpu.clock)
    moved = 32.0 * work.device.ideal
    if product:
        moved = work.operations * (2 + 2 + 4) * LARGE**2 / (2 * LARGE**3)
    seconds = {
        "tensor": work.operations / (gpu.tensor * gpu.mma),
        "memory": moved / gpu.bandwidth,
        "shared": work.shared.done * cycle,
        "issue": work.issued / PARTITIONS * cycle,
    }
    limit = max(seconds, key=seconds.__getitem__)
    return {
        "limit": limit,
        "of_roof": round(seconds["tensor" if product else "memory"] / seconds[limit], 3),
        "rate": float(f"{(work.operations if product else moved) / seconds[limit]:.4g}"),
        "unit": "FLOP/s" if product else "B/s",
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
