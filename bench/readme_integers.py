# SPDX-License-Identifier: Apache-2.0
"""The tables of README on integers: products with who is exact, layers with their errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from bench import gemm_int, integers, linear, pairs, table
from bench.integers import Product
from bench.layers import Layer
from bench.rows import Entry, Result
from bench.table import figure, markdown_table

PEERS = ("torch._int_mm", "onnxruntime", "numkong prepacked", "numpy f32")
LIBRARIES = ("torch", "onnxruntime", "numpy")
SIZES = (1024, 2048)


def products(results: Sequence[Result]) -> list[str]:
    """s8 x s8 and u8 x s8: rates, and who is exact; [] if none was measured."""
    body = []
    for result in results:
        row = result.row
        if row.operation != "gemm_int" or row.threads > 1:
            continue
        product = Product(**row.params)
        square = product.m == product.n == product.k and product.m in SIZES
        if not (square or (product.m == 1 and product.cold)) or integers.bits(product.b) == 4:
            continue
        size = f"{product.m} x {product.n} x {product.k}"
        ours = (_with_roof(result, form) for form in (gemm_int.PLAIN, gemm_int.PREPACKED))
        theirs = (_rate(result, result.entry(name)) for name in PEERS)
        kinds = f"{product.a} x {product.b}"
        body.append([kinds, size, *ours, *theirs, _exactness(result.entries)])
    if not body:
        return []
    head = ["", "m x n x k", "halfbyte (of the roof)", "halfbyte prepacked", *PEERS, "exact?"]
    return [
        "",
        "Products of integers of the full range, one thread, in GOP/s; the roof is that of exact",
        "sums in int32. Who is exact was found by running these data on this machine:",
        "",
        *markdown_table(head, body),
    ]


def layers(results: Sequence[Result]) -> list[str]:
    """Layers with quantized weights: rates and errors; [] if none was measured."""
    body = []
    for result in results:
        row = result.row
        if row.operation != "linear" or row.threads > 1:
            continue
        layer = Layer(**row.params)
        square = layer.m == layer.n == layer.k
        if not (square or layer.cold or layer == linear.DYNAMIC):
            continue
        ours = [_with_roof(result, form) for form in (linear.PLAIN, linear.PREPACKED)]
        errors = [_error(result.entry(linear.PREPACKED))]
        theirs = [cell for library in LIBRARIES for cell in _fastest(result, library)]
        size = f"{layer.m} x {layer.n} x {layer.k}"
        body.append([layer.kind, size, *ours, *errors, *theirs])
    if not body:
        return []
    head = ["", "m x n x k", "halfbyte (of the roof)", "halfbyte prepacked", "error"]
    head += [cell for library in LIBRARIES for cell in (f"{library}, its fastest", "error")]
    return [
        "",
        "Layers with quantized weights, one thread, in GOP/s. W4A8: 4-bit weights, x rounded to 8",
        "bits. Errors are relative to the exact product of x with the dequantized weights (norm of",
        "the difference, of norm). Most of an error is the rounding of x; halfbyte's results are,",
        "to the bit, the reference's. (Levels of onnxruntime's MatMulNBits: 0 and 1 multiply in",
        "float32, 4 in int8.)",
        "",
        *markdown_table(head, body),
    ]


def _rate(result: Result, entry: Entry | None) -> str:
    if entry is None or not entry.seconds:
        return ""
    return f"{result.row.flops / median(entry.seconds.values()) / 1e9:.3g}"


def _with_roof(result: Result, form: str) -> str:
    entry = result.entry(form)
    text = _rate(result, entry)
    return f"{text} ({figure(pairs.of_roof(result, entry))})" if entry and text else ""


def _error(entry: Entry | None) -> str:
    return table.error(entry) if entry and entry.seconds else ""


def _fastest(result: Result, library: str) -> tuple[str, str]:
    """The rate of the fastest way that a library has, with its name, and its error."""
    ways = [e for e in result.entries if e.contender.startswith(library) and e.seconds]
    if not ways:
        return "", ""
    best = min(ways, key=lambda entry: median(entry.seconds.values()))
    way = best.contender.removeprefix(library).strip()
    return f"{_rate(result, best)} {way}", _error(best)


def _exactness(entries: Iterable[Entry]) -> str:
    """Who is not."""
    off = {
        f"{entry.contender} ({table.error(entry)})"
        for entry in entries
        if entry.seconds and entry.verdict is not None and not entry.verdict.same_bits
    }
    return "all but " + ", ".join(sorted(off)) if off else "all"
