# SPDX-License-Identifier: Apache-2.0
"""The linear layer with INT8 and INT4 weights: dynamic, static, weight-only; one row and many."""

from __future__ import annotations

import functools
import importlib
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from bench import layer_peers, layers, pairs
from bench.layers import CODES, HALVES, OUT_ZERO_POINT, Layer
from bench.rows import Contender, Headline, Job, Result, Row
from halfbyte_reference import pack_nibbles

PLAIN, PREPACKED, SUMS = "halfbyte", "halfbyte prepacked", "halfbyte gemm_int"
GROUPS = (None, 128, 32)  # of INT4 weights
STREAMED = ((8, None), (4, 128), (4, 32))  # weights of one row: bits, group_size
DYNAMIC = Layer(256, 4096, 4096)


def rows(scale: str, threads: tuple[int, ...]) -> list[Row]:
    one, most = threads[0], threads[-1]
    if scale == "quick":
        small = Layer(5, 48, 128)
        chosen = [small, replace(small, x=CODES), replace(small, x=CODES, codes_out=True)]
        chosen += [replace(small, bits=4, group_size=group) for group in GROUPS]
        chosen += [replace(small, bits=4, group_size=32, x=HALVES), replace(small, x=HALVES)]
        chosen.append(replace(small, m=1, bits=4, group_size=32))
        return [_row(layer, count) for count in threads for layer in chosen]
    if scale == "tour":
        squares = [_square(1024, 4, None), _square(1024, 4, 32)]
        streamed = [_few(1)[0], _few(1)[-1]]  # INT8, INT4 in groups of 32
        return [_row(layer, one) for layer in [*squares, *streamed, DYNAMIC]]
    squares = [_square(n, *form) for n in (1024, 2048) for form in ((8, None), *_INT4)]
    others = [_square(n, 8, None, x=CODES) for n in (1024, 2048)]
    others.append(_square(1024, 8, None, x=CODES, codes_out=True))
    others += [_square(1024, bits, group, x=HALVES) for bits, group in STREAMED]
    few = [layer for m in (1, 16) for layer in _few(m)]
    few += [replace(layer, x=HALVES) for layer in _few(1)]
    alone = [*squares, *others, *few, DYNAMIC]
    together = [*squares, *_few(1), DYNAMIC] if most != 1 else []
    return [
        _row(layer, count) for count in threads for layer in (alone if count == one else together)
    ]


_INT4 = tuple((4, group) for group in GROUPS)


def _square(n: int, bits: int, group_size: int | None, **form: Any) -> Layer:
    return Layer(n, n, n, bits, group_size, **form)


def _few(m: int) -> list[Layer]:
    return [Layer(m, 4096, 4096, bits, group, cold=True) for bits, group in STREAMED]


def _row(layer: Layer, threads: int) -> Row:
    integers = layer.x != HALVES
    ours = (PLAIN, PREPACKED, SUMS) if layer == DYNAMIC else (PLAIN, PREPACKED)
    return Row(
        operation="linear",
        title=layer.title,
        params=asdict(layer),
        contenders=ours + layer_peers.suited(layer),
        baseline="numpy f32",
        threads=threads,
        unit="GB/s" if layer.cold and layer.m == 1 else "GOP/s" if integers else "GFLOP/s",
        flops=layer.operations,
        compute="int" if integers else "fma",
        beside=("fma",) if integers and layer.bits == 4 else (),
        bytes=float(layer.weight_bytes) if layer.cold else 0.0,
        memory="read" if layer.cold else "",
    )


def _halfbyte(form: str, params: dict[str, Any]) -> Job:
    halfbyte = importlib.import_module("halfbyte")
    layer = Layer(**params)
    given = layers.inputs_of(layer)

    values = pack_nibbles(given.codes) if layer.bits == 4 else given.codes
    described = {"bits": layer.bits, "shape": (layer.n, layer.k), **layer.channel}
    many = [
        halfbyte.QuantizedTensor(codes, scale, **described)
        for codes, scale in given.several(layer.copies(layer.bits / 8), values)
    ]
    if form == PREPACKED:
        many = [halfbyte.prepack(q) for q in many]
    x, out = given.x, np.empty((layer.m, layer.n), np.uint8 if layer.codes_out else np.float32)
    named: dict[str, Any] = {"out": out, "x_bits": 16 if layer.x == HALVES else 8}
    if layer.x == CODES:
        x = halfbyte.QuantizedTensor(x, given.x_scale, given.x_zero_point, signed=False)
    if layer.codes_out:
        named |= {"out_scale": float(given.out_scale), "out_zero_point": OUT_ZERO_POINT}
    calls = [functools.partial(halfbyte.linear, x, w, **named) for w in many]

    def verdict() -> Any:
        out[...] = 0
        calls[0]()
        return layers.check(layer, out, exact=True)

    return Job(list(calls), verdict)


def _sums(params: dict[str, Any]) -> Job:
    """The product alone, of codes that are there: what remains is what x's quantization costs."""
    halfbyte = importlib.import_module("halfbyte")
    layer = Layer(**params)
    a, b = layers.codes_of_rows(layer), halfbyte.prepack(layers.inputs_of(layer).codes.T)
    out = np.empty((layer.m, layer.n), np.int32)
    call = functools.partial(halfbyte.gemm_int, a, b, out=out)
    return Job([call], lambda: layers.check_sums(layer, call()))


CONTENDERS = {
    PLAIN: Contender("halfbyte", functools.partial(_halfbyte, PLAIN)),
    PREPACKED: Contender("halfbyte", functools.partial(_halfbyte, PREPACKED)),
    SUMS: Contender("halfbyte", _sums),
} | layer_peers.contenders()


# What is wanted of W4A8, prepacked, at 1024^3, (must, dream), by group size: fractions of the
# integer roof with VNNI; else, in 16 bits, more than that roof, so in units of the FMA roof.
OF_INTEGERS = {None: (0.96, 0.98), 128: (0.9, 0.95), 32: (0.82, 0.88)}
OF_FMA: dict[int | None, tuple[float | None, float | None]] = {
    None: (2.3, 2.6),
    128: (None, None),
    32: (2.0, 2.3),
}
# And of the weights' bytes, one row from memory, of the read loop's rate.
OF_MEMORY = {(8, None): 0.95, (4, 128): 0.93, (4, 32): 0.85}


def headlines(results: list[Result], isa: str) -> list[Headline]:
    """Figures of the rows that were measured, or were to be."""
    found = {(r.row.title, r.row.threads): r for r in results if r.row.operation == "linear"}
    one = min((threads for _, threads in found), default=1)

    def result_of(layer: Layer) -> Result | None:
        return found.get((layer.title, one))

    lines = []
    for n in (1024, 2048):
        for group in GROUPS:
            layer = _square(n, 4, group)
            if result := result_of(layer):
                lines.append(_int4_line(layer, result, isa))
    layer = _square(1024, 4, 32)
    if result := result_of(layer):
        levels = [result.entry(f"onnxruntime level {level}") for level in layer_peers.LEVELS]
        over = [pairs.speedup(entry, result.entry(PREPACKED)) for entry in levels]
        figure = min((x for x in over if x is not None), default=None)
        what = f"{layer.kind}, 1024^3, one thread, prepacked, against MatMulNBits' best level"
        lines.append(Headline(what, figure, 2.8, 3.5, "x"))
    for layer in _few(1):
        if result := result_of(layer):
            entry = result.entry(PREPACKED)
            what = f"{layer.kind}, 1 row, 4096 x 4096, prepacked"
            must = OF_MEMORY[layer.bits, layer.group_size]
            figure = pairs.of_roof(result, entry)
            lines.append(Headline(f"{what}, of the read loop's rate", figure, must, 1.0))
            figure = pairs.speedup(pairs.best_peer(result), entry)
            lines.append(Headline(f"{what}, against the best peer", figure, 1.0, 1.3, "x"))
    if result := result_of(DYNAMIC):
        figure = pairs.speedup(result.entry(PREPACKED), result.entry(SUMS))
        what = f"{DYNAMIC.kind}, 256 x 4096 x 4096, prepacked, of gemm_int's time"
        lines.append(Headline(what, figure, 1.06, 1.03, "x", low_is_good=True))
    layer = _few(16)[0]
    if result := result_of(layer):
        figure = pairs.of_one(result, result.entry(PLAIN), "read")
        what = f"{layer.kind}, 16 rows, 4096 x 4096, plain"
        what += ", of the read loop's rate over the weights"
        lines.append(Headline(what, figure, 0.6, 0.9))
    return lines


def _int4_line(layer: Layer, result: Result, isa: str) -> Headline:
    what, entry = f"{layer.kind}, {layer.m}^3, one thread, prepacked", result.entry(PREPACKED)
    nothing = (None, None)
    if isa == "avx2":
        figure = pairs.of_one(result, entry, "fma")
        goals = OF_FMA[layer.group_size] if layer.m == 1024 else nothing
        return Headline(f"{what}, in units of the FMA roof", figure, *goals, unit="x")
    goals = OF_INTEGERS[layer.group_size] if layer.m == 1024 and "vnni" in isa else nothing
    return Headline(f"{what}, of the integer roof", pairs.of_roof(result, entry), *goals)
