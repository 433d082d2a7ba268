# SPDX-License-Identifier: Apache-2.0
"""to_f16 and to_f32 into a given array, against what np.copyto moves."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import pairs
from bench.matrices import SEED
from bench.rows import Contender, Headline, Job, Result, Row, Verdict

MIB = 2**20
BIG = 64 * MIB  # of float32; the halves are half of it
TARGETS = {"to_f16": np.float16, "to_f32": np.float32}


def rows(scale: str, threads: tuple[int, ...]) -> list[Row]:
    if scale == "quick":
        sizes, counts = (MIB // 16,), threads
    elif scale == "tour":
        sizes, counts = (BIG,), threads[:1]
    else:
        sizes, counts = (MIB // 4, 4 * MIB, BIG), threads
    return [_row(cast, size, count) for count in counts for cast in TARGETS for size in sizes]


def _row(cast: str, nbytes: int, threads: int) -> Row:
    return Row(
        operation="casts",
        title=_title(cast, nbytes),
        params={"cast": cast, "nbytes": nbytes},
        contenders=("halfbyte", "numpy", "torch"),
        baseline="numpy",
        threads=threads,
        unit="GB/s",
        bytes=1.5 * nbytes,  # read and written
        memory="copy",
    )


def _title(cast: str, nbytes: int) -> str:
    return f"{cast}, {nbytes / MIB:g} MiB of float32"


def _arrays(cast: str, nbytes: int) -> tuple[np.ndarray, np.ndarray]:
    """The source, and a target of the other dtype whose pages have been touched."""
    rng = np.random.default_rng(SEED)
    values = 1000 * rng.standard_normal(nbytes // 4, dtype=np.float32)
    values[:8] = [0.0, -0.0, np.inf, -np.inf, 65504.0, 65520.0, 6e-8, 1.0 + 2.0**-11]
    if cast == "to_f32":
        with np.errstate(over="ignore"):
            values = values.astype(np.float16)
    return values, np.zeros(values.shape, TARGETS[cast])


def _job(source: np.ndarray, out: np.ndarray, call: Callable[[], Any]) -> Job:
    def check() -> Verdict:
        call()
        with np.errstate(over="ignore"):
            wanted = source.astype(out.dtype)
        bits = f"u{out.itemsize}"
        same = np.array_equal(out.view(bits), wanted.view(bits))
        return Verdict(same_bits=same, acceptable=same)

    return Job([call], check)


def _halfbyte(params: dict[str, Any]) -> Job:
    halfbyte = importlib.import_module("halfbyte")
    source, out = _arrays(**params)
    return _job(source, out, functools.partial(getattr(halfbyte, params["cast"]), source, out=out))


def _numpy(params: dict[str, Any]) -> Job:
    source, out = _arrays(**params)

    def call() -> None:
        with np.errstate(over="ignore"):
            np.copyto(out, source, casting="same_kind")

    return _job(source, out, call)


def _torch(params: dict[str, Any]) -> Job:
    import torch

    source, out = _arrays(**params)
    call = functools.partial(torch.from_numpy(out).copy_, torch.from_numpy(source))
    return _job(source, out, call)


CONTENDERS = {
    "halfbyte": Contender("halfbyte", _halfbyte),
    "numpy": Contender("numpy", _numpy),
    "torch": Contender("torch", _torch),
}


def headlines(results: list[Result], isa: str) -> list[Headline]:
    lines = []
    for cast in TARGETS:
        figure = None
        for result in results:
            entry = result.entry("halfbyte")
            if result.row.title == _title(cast, BIG) and result.row.threads == 1 and entry:
                figure = pairs.of_roof(result, entry)
        what = f"{cast}, 64 MiB with out, one thread, against np.copyto's bytes a second"
        lines.append(Headline(what, figure, 1.3, 1.5, "x"))
    return lines
