# SPDX-License-Identifier: Apache-2.0
"""Quantize, dequantize, requantize, fake-quantize into given arrays, against what memory allows."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from bench import codes, pairs, quantization_numpy, quantization_torch
from bench.codes import Case
from bench.rows import Contender, Headline, Job, Result, Row

MIB = 2**20
BIG = 64 * MIB  # beyond the caches
MIDDLE = MIB  # within them
ROW = 4 * 4096  # one row: what a call costs

# With what is wanted of np.copyto's bytes a second, (must, dream).
CASES: tuple[tuple[Case, tuple[float, float] | None], ...] = (
    (Case("quantize", BIG, 4096), (1.25, 1.4)),
    (Case("quantize", BIG, 4096, from_data=True), (0.9, 1.0)),
    (Case("quantize", BIG, 4096, from_data=True, check_finite=True), None),
    (Case("quantize", BIG, 16384, from_data=True), (0.9, 1.0)),
    (Case("quantize", BIG, 16384, from_data=True, check_finite=True), None),
    (Case("quantize", BIG, 4096, 4, 128, from_data=True), (0.8, 1.0)),
    (Case("quantize", BIG, 4096, 4, 128, from_data=True, check_finite=True), None),
    (Case("dequantize", BIG, 4096), (1.15, 1.3)),
    (Case("dequantize", BIG, 4096, 4, 128), (1.0, 1.2)),
    (Case("fake_quantize", BIG, 4096), (1.1, 1.3)),
    (Case("fake_quantize_backward", BIG, 4096), (1.0, 1.2)),
    (Case("requantize", BIG, 4096), (1.1, 1.3)),
)
OF_ROOF = (0.85, 0.95)
OVER_TORCH = (10.0, 20.0)


def rows(scale: str, threads: tuple[int, ...]) -> list[Row]:
    cases = [case for case, _ in CASES]
    if scale == "quick":
        sizes, counts = (MIB // 16,), threads
    elif scale == "tour":
        sizes, counts = (BIG,), threads[:1]
        cases = [case for case in cases if not case.check_finite]
    else:
        sizes, counts = (ROW, MIDDLE, BIG), threads
    return [
        _row(replace(case, nbytes=nbytes), count)
        for count in counts
        for nbytes in sizes
        for case in cases
        if 4 * case.columns <= nbytes
    ]


def _row(case: Case, threads: int) -> Row:
    return Row(
        operation="quantization",
        title=case.title,
        params=asdict(case),
        contenders=("halfbyte", "numpy", "torch", "torch ops"),
        baseline="numpy",
        threads=threads,
        unit="GB/s",
        bytes=case.read + case.written,
        written=case.written,
        memory="read+stream" if case.nbytes >= BIG else "copy" if case.nbytes > ROW else "",
    )


def _halfbyte(params: dict[str, Any]) -> Job:
    halfbyte = importlib.import_module("halfbyte")
    case = Case(**params)
    given = codes.inputs(case)
    call = functools.partial(getattr(halfbyte, case.function), **given, **case.scaled)
    if case.function == "quantize":
        call = functools.partial(call, bits=case.bits)
        if case.from_data:
            call = functools.partial(call, check_finite=case.check_finite)
        out = call()
        out.values[...] = 0  # the check is for what is written into it
    elif case.function == "dequantize":
        values, scale = given["codes"], given["scale"]
        if case.bits == 4:
            values = halfbyte.Int4Array.pack(values)
        q = halfbyte.QuantizedTensor(values, scale, bits=case.bits, **case.scaled)
        call = functools.partial(halfbyte.dequantize, q)
        out = np.zeros(case.shape, np.float32)
    else:
        out = np.zeros(case.shape, np.int8 if case.function == "requantize" else np.float32)
    call = functools.partial(call, out=out)

    def results() -> codes.Arrays:
        returned = call()
        if case.function == "quantize":
            return returned.values, returned.scale
        return returned if isinstance(returned, tuple) else (returned,)

    return Job([call], lambda: codes.check(case, results(), exact=True))


CONTENDERS = {
    "halfbyte": Contender("halfbyte", _halfbyte),
    "numpy": Contender("numpy", quantization_numpy.prepare),
    "torch": Contender("torch", quantization_torch.prepare),
    "torch ops": Contender("torch", quantization_torch.prepare_chain),
}


def headlines(results: list[Result], isa: str) -> list[Headline]:
    found = {
        result.row.title: result
        for result in results
        if result.row.operation == "quantization" and result.row.threads == 1
    }
    lines = []
    for case, goals in CASES:
        result = found.get(case.title)
        entry = result.entry("halfbyte") if result else None
        copied = pairs.of_copy(result, entry) if result and entry else None
        fraction = pairs.of_roof(result, entry) if result and entry else None
        if goals is None and copied is None:
            continue
        what = f"{case.what}, 64 MiB, one thread"
        of_copyto = f"{what}, against np.copyto's bytes a second"
        lines.append(Headline(of_copyto, copied, *(goals or (None, None)), unit="x"))
        lines.append(
            Headline(f"{what}, of the memory roof", fraction, *(OF_ROOF if goals else (None, None)))
        )
    big = [found[case.title] for case, _ in CASES if case.title in found]
    for peer, meant, goals in (
        ("torch", "torch's own function", OVER_TORCH),
        ("torch ops", "a chain of torch's operations", (None, None)),
        ("numpy", "numpy", (None, None)),
    ):
        slowest = _least(pairs.speedup(r.entry(peer), r.entry("halfbyte")) for r in big)
        what = f"64 MiB, one thread, slowest case against {meant}"
        lines.append(Headline(what, slowest, *goals, unit="x"))
    return lines


def _least(figures: Iterable[float | None]) -> float | None:
    return min((figure for figure in figures if figure is not None), default=None)
