# SPDX-License-Identifier: Apache-2.0
"""Integer GEMM: squares, odd sizes, a few rows, a small k; s8 x s8, u8 x s8 and s4 x s4."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np

from bench import integer_peers, integers, pairs
from bench.gemm_f16 import COLD_ROWS, NEIGHBOUR, ODD
from bench.integers import Product
from bench.matrices import several
from bench.rows import Contender, Headline, Job, Result, Row

PLAIN, PREPACKED, TRANSPOSED = "halfbyte", "halfbyte prepacked", "halfbyte, b (n, k)"
KINDS = (("s8", "s8"), ("u8", "s8"))
SIZES = tuple(sorted({64, 96, 128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096, *ODD}))
MANY = (1024, 2048, 4096)  # for more than one thread
FEW = (1, 2, 4, 16, 64)  # rows of a, with b of 4096 x 4096
WHOLE_CALL = Product(64, 64, 64, whole_call=True)


def rows(scale: str, threads: tuple[int, ...]) -> list[Row]:
    one, most = threads[0], threads[-1]
    if scale == "quick":
        chosen = [_square(n, *kinds) for kinds in KINDS for n in (33, 64)]
        chosen += [_square(34, "s4", "s4"), Product(1, 96, 160), Product(5, 96, 160, "u8")]
        return [_row(product, count) for count in threads for product in chosen]
    if scale == "tour":
        chosen = [_square(1024), _square(1024, "u8"), _few(1)]
        both = [_square(1024)] if most != one else []
        return [_row(p, one) for p in chosen] + [_row(p, most) for p in both]
    alone = [_square(n, *kinds) for kinds in KINDS for n in SIZES]
    alone += [_square(1024, "s4", "s4"), WHOLE_CALL, Product(4096, 4096, 64)]
    alone += [_few(m, *kinds) for kinds in KINDS for m in FEW]
    together = [_square(n, *kinds) for kinds in KINDS for n in MANY]
    together += [_few(m) for m in FEW]
    return [
        _row(product, count) for count in threads for product in (alone if count == 1 else together)
    ]


def _square(n: int, a: str = "s8", b: str = "s8") -> Product:
    return Product(n, n, n, a, b)


def _few(m: int, a: str = "s8", b: str = "s8") -> Product:
    return Product(m, 4096, 4096, a, b, cold=m <= COLD_ROWS)


def _row(product: Product, threads: int) -> Row:
    square = product.m == product.n == product.k and not product.whole_call
    drawn = square and (product.a, product.b) == ("s8", "s8") and product.m not in ODD
    ours = (PLAIN, PREPACKED) if product.b == "s4" else (PLAIN, PREPACKED, TRANSPOSED)
    return Row(
        operation="gemm_int",
        title=product.title,
        params=asdict(product),
        contenders=ours + integer_peers.suited(product),
        baseline="numpy f32",
        threads=threads,
        unit="GB/s" if product.cold and product.m <= 4 else "GOP/s",
        flops=product.operations,
        compute="int",
        bytes=float(product.weight_bytes) if product.cold else 0.0,
        memory="read" if product.cold else "",
        size=product.m if drawn else None,
    )


def _halfbyte(form: str, params: dict[str, Any]) -> Job:
    halfbyte = importlib.import_module("halfbyte")
    product = Product(**params)
    a, b = integers.operands_of(product)
    many = several(b, product.copies(integers.bits(product.b) / 8))
    if product.b == "s4":
        a, many = halfbyte.Int4Array.pack(a), [halfbyte.Int4Array.pack(x) for x in many]
    if form == PREPACKED:
        many = [halfbyte.prepack(x) for x in many]
    elif form == TRANSPOSED:
        many = [np.ascontiguousarray(x.T).T for x in many]
    out = None if product.whole_call else np.empty((product.m, product.n), np.int32)
    calls = [functools.partial(halfbyte.gemm_int, a, x, out=out) for x in many]
    return Job(list(calls), lambda: integers.check(product, calls[0](), exact=True))


CONTENDERS = {
    form: Contender("halfbyte", functools.partial(_halfbyte, form))
    for form in (PLAIN, PREPACKED, TRANSPOSED)
} | integer_peers.contenders()


# Fractions of the integer roof that are wanted, (must, dream): plain, prepacked.
VNNI = {PLAIN: (0.94, 0.98), PREPACKED: (0.965, 0.98)}
PAIRS = {PLAIN: (0.91, 0.96), PREPACKED: (0.93, 0.96)}
WANTED = {"avx512vnni": VNNI, "avxvnni": VNNI, "avx512": PAIRS, "avx2": PAIRS}
NOTHING = {PLAIN: (None, None), PREPACKED: (None, None)}
NAMES = {PLAIN: "plain", PREPACKED: "prepacked", TRANSPOSED: "plain b (n, k)"}


def headlines(results: list[Result], isa: str) -> list[Headline]:
    """Figures of the rows that were measured, or were to be."""
    found = {(r.row.title, r.row.threads): r for r in results if r.row.operation == "gemm_int"}
    one = min((threads for _, threads in found), default=1)
    many = max((threads for _, threads in found), default=1)

    def result_of(product: Product, threads: int = one) -> Result | None:
        return found.get((product.title, threads))

    lines = []
    for n in (1024, 2048):
        for kinds in KINDS:
            if result := result_of(_square(n, *kinds)):
                for form, goals in WANTED.get(isa, NOTHING).items():
                    figure = pairs.of_roof(result, result.entry(form))
                    what = f"{' x '.join(kinds)}, {n}^3, one thread, {NAMES[form]}"
                    lines.append(Headline(f"{what}, of the integer roof", figure, *goals))
    for kinds in KINDS:
        squares = [result_of(_square(n, *kinds)) for n in SIZES if 1000 <= n <= 2048]
        if any(squares):
            figure = _least(_over_peer(result, PLAIN, exact=True) for result in squares if result)
            what = f"{' x '.join(kinds)}, 1000^3 .. 2048^3, one thread, plain"
            what += ", slowest against the best exact peer"
            lines.append(Headline(what, figure, 1.0, 1.05, "x"))
    even = result_of(_square(NEIGHBOUR))
    for n in ODD:
        if even and (result := result_of(_square(n))):
            fractions = [pairs.of_roof(r, r.entry(PLAIN)) for r in (result, even)]
            what = f"s8 x s8, {n}^3 against {NEIGHBOUR}^3, of the roof"
            lines.append(Headline(what, _divide(*fractions), 0.95, 0.98))
    for n in MANY:
        if many > one and (result := result_of(_square(n), many)):
            figure = pairs.of_roof(result, result.entry(PLAIN))
            what = f"s8 x s8, {n}^3, {many} threads, plain, of {many} roofs"
            lines.append(Headline(what, figure, 0.92, 0.96))
    if result := result_of(_few(1)):
        what = "s8 x s8, 1 row, 4096 x 4096, prepacked"
        figure = pairs.of_roof(result, result.entry(PREPACKED))
        lines.append(Headline(f"{what}, of the read loop's rate", figure, 0.95, 1.0))
        figure = _over_peer(result, PREPACKED)
        lines.append(Headline(f"{what}, against the best peer", figure, 1.0, 1.3, "x"))
    if result := result_of(_few(16)):
        figure = pairs.of_one(result, result.entry(PLAIN), "read")
        what = "s8 x s8, 16 rows, 4096 x 4096, plain, of the read loop's rate over the weights"
        lines.append(Headline(what, figure, 0.6, 0.9))
    if result := result_of(WHOLE_CALL):
        taken = result.entry(PLAIN).seconds.values()
        figure = 1e6 * median(taken) if taken else None
        lines.append(
            Headline("s8 x s8, 64^3, whole call", figure, 6.0, 3.0, "us", low_is_good=True)
        )
    return lines


def _over_peer(result: Result, form: str, *, exact: bool = False) -> float | None:
    return pairs.speedup(pairs.best_peer(result, exact=exact), result.entry(form))


def _least(figures: Iterable[float | None]) -> float | None:
    return min((figure for figure in figures if figure is not None), default=None)


def _divide(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None
