# SPDX-License-Identifier: Apache-2.0
"""FP16 GEMM: squares, odd sizes, the four transposes, and a transformer's layers."""

from __future__ import annotations

import functools
import importlib
from dataclasses import asdict
from typing import Any

import numpy as np

from bench import matrices, pairs, peers
from bench.matrices import Shape
from bench.rows import Contender, Entry, Headline, Job, Result, Row

PLAIN, PREPACKED, LINEAR = "halfbyte", "halfbyte prepacked", "halfbyte linear(x, w)"
NEIGHBOUR = 1024  # the even size that odd ones are compared with
ODD = (1000, 1023, 1025)
LAYOUTS = ("nn", "tn", "nt", "tt")
COLD_ROWS = 16  # up to so many rows, weights come from memory: nothing else would reuse them


def rows(scale: str, threads: tuple[int, ...]) -> list[Row]:
    one, most = threads[0], threads[-1]
    if scale == "quick":
        shapes = [Shape(n, n, n) for n in (33, 64)]
        shapes += [Shape(40, 40, 40, layout) for layout in LAYOUTS]
        shapes += [Shape(m, 96, 160) for m in (1, 5)]
        return [_row(shape, count) for count in threads for shape in shapes]
    if scale == "tour":
        chosen = [(Shape(n, n, n), one) for n in (64, 256, 512, 1024, 2048)]
        chosen += [(Shape(n, n, n), one) for n in ODD]
        chosen += [(Shape(n, n, n), most) for n in (1024, 2048) if most != one]
        chosen += [(Shape(NEIGHBOUR, NEIGHBOUR, NEIGHBOUR, layout), one) for layout in LAYOUTS[1:]]
        chosen += [(Shape(m, 4096, 4096, cold=True), one) for m in (1, 16)]
        return [_row(shape, count, hurry=True) for shape, count in chosen]
    sizes = sorted({64, 96, 128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096, *ODD})
    shapes = [Shape(n, n, n) for n in sizes]
    shapes += [Shape(NEIGHBOUR, NEIGHBOUR, NEIGHBOUR, layout) for layout in LAYOUTS[1:]]
    shapes += [
        Shape(m, n, 4096, cold=m <= COLD_ROWS)
        for n in (4096, 11008)
        for m in (1, 2, 4, 16, 64, 256, 1024)
    ]
    return [_row(shape, count) for count in threads for shape in shapes]


def _row(shape: Shape, threads: int, *, hurry: bool = False) -> Row:
    square = shape.m == shape.n == shape.k
    ours = (PLAIN, PREPACKED, LINEAR) if shape.layout == "nn" else (PLAIN,)
    others = peers.suited(shape)
    if hurry:
        others = peers.suited(shape, slow_flops=peers.SLOW_FLOPS)
        if square:
            ours = tuple(name for name in ours if name != LINEAR)
    if shape.layout != "nn":
        others = ("numpy f32",)
    return Row(
        operation="gemm_f16",
        title=title(shape),
        params=asdict(shape),
        contenders=ours + others,
        baseline="numpy f32",
        threads=threads,
        unit="GB/s" if shape.m <= 4 and shape.cold else "GFLOP/s",
        flops=shape.flops,
        bytes=2.0 * shape.n * shape.k if shape.cold else 0.0,
        memory="read" if shape.cold else "",
        size=shape.m if square and shape.layout == "nn" and shape.m not in ODD else None,
    )


def title(shape: Shape) -> str:
    text = f"{shape.m} x {shape.n} x {shape.k}"
    for operand, letter in zip("ab", shape.layout, strict=True):
        text += f", {operand} transposed" if letter == "t" else ""
    return text + (", weights from memory" if shape.cold else "")


def _halfbyte(form: str, params: dict[str, Any]) -> Job:
    halfbyte = importlib.import_module("halfbyte")
    shape = Shape(**params)
    a, b = matrices.operands(shape)
    many = matrices.several(b, shape.copies(2))
    call = halfbyte.gemm_f16
    if form == PREPACKED:
        many = [halfbyte.prepack(x) for x in many]
    elif form == LINEAR:
        call, many = halfbyte.linear, [np.ascontiguousarray(x.T) for x in many]
    calls = [functools.partial(call, a, x) for x in many]
    if not shape.whole_call:
        out = np.empty((shape.m, shape.n), np.float32)
        calls = [functools.partial(product, out=out) for product in calls]
    return Job(list(calls), lambda: matrices.check(shape, calls[0](), exact=True))


CONTENDERS = {
    form: Contender("halfbyte", functools.partial(_halfbyte, form))
    for form in (PLAIN, PREPACKED, LINEAR)
} | peers.contenders()


# Fractions of the FMA roof that are wanted, (must, dream): plain, prepacked.
WANTED = {
    "avx512": {PLAIN: (0.95, 0.98), PREPACKED: (0.965, 0.98)},
    "avx2": {PLAIN: (0.93, 0.97), PREPACKED: (0.95, 0.97)},
}


def headlines(results: list[Result], isa: str) -> list[Headline]:
    found = {(r.row.title, r.row.threads): r for r in results if r.row.operation == "gemm_f16"}
    one = min((threads for _, threads in found), default=1)
    many = max((threads for _, threads in found), default=1)

    def square(n: int, layout: str = "nn", threads: int = one) -> Result | None:
        return found.get((title(Shape(n, n, n, layout)), threads))

    lines = []
    for n in (1024, 2048):
        for form, goals in WANTED.get(isa, {PLAIN: (None, None), PREPACKED: (None, None)}).items():
            kind = "plain" if form == PLAIN else "prepacked"
            figure = _fraction(square(n), form)
            lines.append(Headline(f"{n}^3, one thread, {kind}, of the FMA roof", figure, *goals))
    for n in (1024, 2048):
        figure = _least(_speedup(square(n), f"{peer} f32") for peer in ("numpy", "torch"))
        what = f"{n}^3, one thread, plain, against numpy f32 and torch f32, the better"
        lines.append(Headline(what, figure, 1.05, 1.2, "x"))
    even = _fraction(square(NEIGHBOUR), PLAIN)
    for n in ODD:
        figure = _divide(_fraction(square(n), PLAIN), even)
        lines.append(Headline(f"{n}^3 against {NEIGHBOUR}^3, of the roof", figure, 0.96, 0.99))
    fractions = [_fraction(square(NEIGHBOUR, layout), PLAIN) for layout in LAYOUTS]
    known = [fraction for fraction in fractions if fraction is not None]
    figure = min(known) / max(known) if len(known) == len(LAYOUTS) else None
    lines.append(Headline(f"transposes at {NEIGHBOUR}, slowest / fastest", figure, 0.95, 0.98))
    for n in (1024, 2048, 4096):
        if many > one and (result := square(n, threads=many)) is not None:
            what = f"{n}^3, {many} threads, plain, of {many} roofs"
            lines.append(Headline(what, _fraction(result, PLAIN), 0.92, 0.96))
    row = found.get((title(Shape(1, 4096, 4096, cold=True)), one))
    for form, must in ((PREPACKED, 0.95), (PLAIN, 0.9), (LINEAR, 0.8)):
        kind = {PREPACKED: "prepacked", PLAIN: "plain (k, n)", LINEAR: "plain w (n, k)"}[form]
        what = f"1 row, 4096 x 4096, {kind}, of the read loop's rate"
        lines.append(Headline(what, _fraction(row, form), must, 1.0))
    row = found.get((title(Shape(16, 4096, 4096, cold=True)), one))
    what = "16 rows, 4096 x 4096, prepacked, of the larger of compute and memory time"
    lines.append(Headline(what, _fraction(row, PREPACKED), 0.85, 0.93))
    return lines


def _fraction(result: Result | None, form: str) -> float | None:
    entry = _entry(result, form)
    return pairs.of_roof(result, entry) if result and entry else None


def _speedup(result: Result | None, over: str) -> float | None:
    return pairs.speedup(_entry(result, over), _entry(result, PLAIN))


def _entry(result: Result | None, contender: str) -> Entry | None:
    return result.entry(contender) if result else None


def _least(figures: Any) -> float | None:
    return min((figure for figure in figures if figure is not None), default=None)


def _divide(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None
