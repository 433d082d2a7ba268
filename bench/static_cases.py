# SPDX-License-Identifier: Apache-2.0
"""The launches that `static` counts: of each CUDA kernel those that its users' calls make."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from bench.gpus import Gpu

DEPTH = 256  # steps of k of a product; another with twice as many tells what the loop does
ROWS, COLUMNS = 64, 4096


class Widths(NamedTuple):
    """Bytes of an element of a product's operands and result."""

    a: float
    b: float
    out: float


HALVES, CODES, NIBBLES = Widths(2, 2, 4), Widths(1, 1, 4), Widths(1, 0.5, 4)


class Case(NamedTuple):
    """A kernel, and how it comes to be launched on a machine."""

    kernel: str  # the file
    title: str
    launches: Callable[[Any], list[Any]]
    deeper: Callable[[Any], list[Any]] | None = None  # the same with a loop twice as long
    widths: Widths | None = None  # of a product that is limited by its loop

    @property
    def name(self) -> str:
        return f"{self.kernel}: {self.title}"


_GROUPS = {"bits": 4, "group_size": 128}
_ROW = {"axis": 0}


def cases(gpu: Gpu) -> Iterator[Case]:
    """Yield what is counted on a GPU."""
    from halfbyte.cuda.gemm_f16_plan import TILES, TURING

    tiles = [tile for tile in TILES if gpu.capability > TURING or tile != "huge"]
    yield from _products(tiles)
    yield from _integers(tiles)
    yield from _layers()
    x = np.random.default_rng(1).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    yield from _codes(x)
    for kind in (np.float32, np.float16):
        yield from _training([x.astype(kind), x[0].astype(kind)])


def _products(tiles: list[str]) -> Iterator[Case]:
    yield from map(_product, tiles)
    for layout in ("tn", "nt", "tt"):
        yield _product("large", layout)
    yield _product("small", "nn", odd=1)
    for m, layout in ((1, "nn"), (1, "nt"), (8, "nn")):
        title = _rows(m) + ", b transposed" * (layout == "nt")
        yield Case("gemm_f16_rows", title, functools.partial(_multiply, m, 4096, 128, layout))
    yield Case("gemm_f16_sum", "1 row", functools.partial(_multiply, 1, 4096, 128, "nn"))


def _integers(tiles: list[str]) -> Iterator[Case]:
    yield from map(_of_codes, tiles)
    yield _of_codes("large", 4)
    for bits, packed in ((8, True), (4, True), (8, False)):
        call = functools.partial(_product_of_codes, 1, 1024, 128, bits, packed)
        yield Case("gemm_int_rows", f"1 row, INT{bits}{' packed' * packed}", call)


def _layers() -> Iterator[Case]:
    yield _layer("large", _ROW)
    yield _layer("small", {"bits": 4, "axis": 0})
    yield _layer("small", _GROUPS)
    yield _layer("tall", _GROUPS)
    yield _layer("tall", _GROUPS, 16)
    for m, form, x_bits in ((1, _ROW, 8), (1, _GROUPS, 8), (1, _GROUPS, 16), (16, _GROUPS, 16)):
        call = functools.partial(_rows_of_layer, m, 1024, 128, form, x_bits)
        yield Case("linear_few", f"{_rows(m)}, {_scheme(form, x_bits)}", call)
    call = functools.partial(_rows_of_layer, ROWS, COLUMNS, 32, _ROW, 8)
    yield Case("linear_rows", "x by rows, float32", call)


def _codes(x: Any) -> Iterator[Case]:
    h, acc = x.astype(np.float16), np.int32(1000 * x)
    scale, scales = np.float32(0.03), np.full(COLUMNS, 0.001, np.float32)
    yield _call("casts", "float32 to float16", "to_f16", x)
    yield _call("casts", "float16 to float32", "to_f32", h)
    yield _call("quantize_rows", "INT8 a row, float32", "quantize", x, **_ROW)
    yield _call("quantize_rows", "INT8 a row, float16", "quantize", h, **_ROW)
    yield _call("quantize_rows", "INT4, groups of 128", "quantize", x, **_GROUPS)
    yield _call("quantize", "INT8, scale given", "quantize", x, scale=scale)
    yield _call("extremes", "of a tensor", "quantize", x)
    yield Case("dequantize", "INT8 a row", functools.partial(_dequantize, x, _ROW))
    yield Case("dequantize", "INT4, groups of 128", functools.partial(_dequantize, x, _GROUPS))
    yield _call("requantize", "INT32 to INT8, a scale a column", "requantize", acc, scales)
    yield _call("fake_quantize", "INT8", "fake_quantize", x, scale)


def _training(arrays: list[Any]) -> Iterator[Case]:
    kind = arrays[0].dtype.name
    yield Case("amp_multiply", f"unscale, {kind}", functools.partial(_unscale, arrays))
    yield Case("amp_norm", f"norm, {kind}", functools.partial(_clip, arrays))
    for kernel, name in (("amp_sgd", "SGD"), ("amp_adam", "AdamW")):
        yield Case(kernel, f"{name}, {kind}", functools.partial(_step, name, arrays))


def _rows(m: int) -> str:
    return f"{m} row{'s' * (m > 1)}"


def _scheme(form: dict[str, Any], x_bits: int) -> str:
    groups = f", groups of {form['group_size']}" if "group_size" in form else ""
    return f"W{form.get('bits', 8)}A{x_bits}{groups}"


def _product(tile: str, layout: str = "nn", odd: int = 0) -> Case:
    shallow, deep = (
        functools.partial(_tile, tile, steps, layout, odd) for steps in (DEPTH, 2 * DEPTH)
    )
    title = tile + "".join(
        f", {name} transposed" for name, letter in zip("ab", layout, strict=True) if letter == "t"
    )
    return Case("gemm_f16", title + ", by elements" * odd, shallow, deep, HALVES)


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


def _of_codes(tile: str, bits: int = 8) -> Case:
    shallow, deep = (
        functools.partial(_tile_of_codes, tile, steps, bits) for steps in (DEPTH, 2 * DEPTH)
    )
    title = tile + ", INT4" * (bits == 4)
    return Case("gemm_int", title, shallow, deep, CODES if bits == 8 else NIBBLES)


def _tile_of_codes(name: str, depth: int, bits: int, machine: Any) -> list[Any]:
    from bench import counted
    from halfbyte.cuda.gemm_f16_plan import TILES

    tile = TILES[name]
    with counted.one_tile(name):
        return _product_of_codes(tile.block_m, depth, tile.block_n, bits, True, machine)


def _product_of_codes(m: int, k: int, n: int, bits: int, packed: bool, machine: Any) -> list[Any]:
    import halfbyte
    from bench.counted import aligned

    a, b = aligned(np.ones((m, k), np.int8)), aligned(np.ones((k, n), np.int8))
    right = halfbyte.Int4Array.pack(b) if bits == 4 else b

    def product(a: Any, b: Any) -> Any:
        right = halfbyte.prepack(b) if packed else b
        return halfbyte.gemm_int(a, right)

    machine.launches = []
    machine.call(product, a, right)
    return machine.launches


def _layer(tile: str, form: dict[str, Any], x_bits: int = 8) -> Case:
    shallow, deep = (
        functools.partial(_tile_of_layer, tile, steps, form, x_bits) for steps in (DEPTH, 2 * DEPTH)
    )
    kernel = "linear_tiles" if x_bits == 8 else "linear_halves"
    widths = Widths(x_bits / 8, form.get("bits", 8) / 8, 4)
    return Case(kernel, f"{tile}, {_scheme(form, x_bits)}", shallow, deep, widths)


def _tile_of_layer(
    name: str, depth: int, form: dict[str, Any], x_bits: int, machine: Any
) -> list[Any]:
    from bench import counted
    from halfbyte.cuda.gemm_f16_plan import TILES

    tile = TILES[name]
    with counted.one_tile(name):
        return _rows_of_layer(tile.block_m, depth, tile.block_n, form, x_bits, machine)


def _rows_of_layer(
    m: int, k: int, n: int, form: dict[str, Any], x_bits: int, machine: Any
) -> list[Any]:
    import halfbyte

    x = np.ones((m, k), np.float32 if x_bits == 8 else np.float16)
    w = np.ones((n, k), np.float32)

    def layer(x: Any, w: Any) -> Any:
        packed = halfbyte.prepack(halfbyte.quantize(w, **form))
        return halfbyte.linear(x, packed, x_bits=x_bits)

    return machine.launched(layer, x, w)


def _unscale(grads: list[Any], machine: Any) -> list[Any]:
    import halfbyte

    def unscale(*arrays: Any) -> Any:
        half = len(arrays) // 2
        return halfbyte.unscale(list(arrays[:half]), 2.0, out=list(arrays[half:]))

    return machine.launched(unscale, *grads, *(g.astype(np.float32) for g in grads))


def _clip(grads: list[Any], machine: Any) -> list[Any]:
    import halfbyte

    return machine.launched(lambda *arrays: halfbyte.clip_grad_norm(list(arrays), 1.0), *grads)


def _step(name: str, params: list[Any], machine: Any) -> list[Any]:
    import halfbyte

    def step(*arrays: Any) -> None:
        half = len(arrays) // 2
        momentum = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = getattr(halfbyte, name)(list(arrays[:half]), lr=0.1, **momentum)
        optimizer.grads = list(arrays[half:])
        optimizer.step()

    return machine.launched(step, *params, *params)


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
