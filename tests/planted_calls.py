# SPDX-License-Identifier: Apache-2.0
"""Calls that bring every line of the CUDA kernels to work, and kernels with a line left out.

A line that is marked `// plant: KIND` is needed: a barrier, a wait, a bound. So is every lane that
a mask names.
"""

import functools
import itertools
import math
import random
import re
import shutil
from unittest import mock

import numpy as np

import ptx_backend
from halfbyte import QuantizedTensor
from halfbyte.cuda import compile as compiler
from halfbyte_reference.inputs import floats, strided
from halfbyte_reference.inputs_quantized import accumulators, codes
from ptx_backend import PtxBackend
from ptx_machine import Fault

BACKEND = PtxBackend(80)

# Kernels whose lines have tests of their own.
OTHERS = ("amp_", "gemm_", "linear_")

# Rows and columns around the edges of vectors, warps and blocks.
SHAPES = [(1, 1), (1, 1031), (7, 100), (100, 7), (3, 1032), (2, 9001), (33, 40)]
LAYOUTS = ("c", "transposed", "sliced", "unaligned")


def quantizations():
    """Yield arguments of quantize but for x."""
    forms = ({}, {"axis": 0}, {"axis": 1}, {"group_size": 32}, {"group_size": 3})
    for form, bits, symmetric in itertools.product(forms, (8, 4), (True, False)):
        yield {**form, "bits": bits, "symmetric": symmetric}


def scale_of(x, form):
    """Return a scale of every channel, and zero points."""
    scale = BACKEND.quantize(x, **form | {"bits": 8, "symmetric": True}).scale
    return {"scale": scale, "zero_point": np.ones(scale.shape, np.int32)}


def calls():
    """Yield (name, function without arguments); what it returns depends on nothing but itself."""
    for shape, layout in itertools.product(sorted(SHAPES, key=math.prod), LAYOUTS):
        x = strided(floats(shape, 1), layout)
        name = f"{layout} {shape}"
        yield f"casts {name}", functools.partial(casts, x)
        for form in quantizations():
            yield f"quantize {name} {form}", functools.partial(quantize, x, form)
        yield f"requantize {name}", functools.partial(requantize, shape, layout)
        yield f"fake {name}", functools.partial(fake, x)
        yield f"observe {name}", functools.partial(observe, x)


def casts(x):
    halves = BACKEND.to_f16(x)
    return [halves, BACKEND.to_f32(halves), BACKEND.to_f32(halves[:, 1:])]


def quantize(x, form):
    data = BACKEND.quantize(x, **form)
    given = scale_of(x, form)
    if form["symmetric"]:
        del given["zero_point"]
    found = [data, BACKEND.quantize(x.astype(np.float16), **form, method="mse")]
    found.append(BACKEND.quantize(x, **form, **given, rounding="stochastic", seed=1))
    parts = (None if x is None else x.copy() for x in (data.values, data.scale, data.zero_point))
    kept = QuantizedTensor._trusted(*parts, *data._arguments())
    found.append(BACKEND.quantize(2 * x, **form, out=kept))
    return [*found, BACKEND.dequantize(data), BACKEND.dequantize(kept, dtype=np.float16)]


def requantize(shape, layout):
    acc = strided(accumulators(shape, 1), layout)
    found = []
    for axis in (0, 1):
        scale = np.abs(floats(shape[axis], 2)) + np.float32(1e-3)
        zero = codes(shape[axis], 3).astype(np.int32)
        found.append(BACKEND.requantize(acc, scale, zero_point=zero, bias=scale, axis=axis))
    return found


def fake(x):
    found = []
    for form in ({}, {"axis": 0}, {"axis": 1}, {"group_size": 32}, {"group_size": 3}):
        given = scale_of(x, form)
        found.append(BACKEND.fake_quantize(x, **given, **form))
        found += BACKEND.fake_quantize_backward(x + 1, x, **given, **form)
    return found


def observe(x):
    found = []
    for kind, axis in itertools.product(("MinMaxObserver", "MovingAverageObserver"), (None, 0, 1)):
        observer = getattr(BACKEND, kind)(axis)
        for update in (x, x * np.float32(3)):
            observer.update(update)
        found += observer.scale_zero_point(symmetric=False)
    observer, other = (BACKEND.HistogramObserver("percentile", 60) for _ in range(2))
    observer.update(x)
    observer.update(x * np.float32(1000))
    other.update(np.zeros_like(x))
    other.update(x / np.float32(1000))
    other.merge(observer)
    return [*found, *observer.scale_zero_point(), *other.scale_zero_point()]


def content(found):
    """Return the bytes of results."""
    parts = []
    for x in found:
        parts += [x.values, x.scale, x.zero_point] if isinstance(x, QuantizedTensor) else [x]
    return [None if part is None else np.ascontiguousarray(part).tobytes() for part in parts]


# ------------------------------------------------------------------------------------ mutants


def files():
    """Return the names of the files, headers among them, that these calls are made of."""
    stems = [path.stem for path in compiler.SOURCES.glob("*.cu")]
    stems = [stem for stem in stems if not stem.startswith(OTHERS)]
    return sorted({name for stem in stems for name in included(stem)})


def mutants(name):
    """Return (line number, kind, text without it) for every needed line of a file."""
    lines = (compiler.SOURCES / name).read_text(encoding="utf-8").splitlines(keepends=True)
    found = []
    for number, line in enumerate(lines, 1):
        others = lines[: number - 1], lines[number:]
        if mark := re.search(r"// plant: (\w+)$", line.rstrip()):
            found.append((number, mark[1], "".join([*others[0], "\n", *others[1]])))
        if "_sync(0xffffffffu" in line:
            half = line.replace("_sync(0xffffffffu", "_sync(0x0000ffffu")
            found.append((number, "mask", "".join([*others[0], half, *others[1]])))
    return found


@functools.cache
def included(stem):
    """Return the files that a kernel is made of."""
    found, waiting = set(), [f"{stem}.cu"]
    while waiting:
        name = waiting.pop()
        found.add(name)
        text = (compiler.SOURCES / name).read_text(encoding="utf-8")
        waiting += set(re.findall(r'#include "(.*)"', text)) - found
    return found


@functools.cache
def all_calls():
    """Return all calls, those of few elements first, mixed: another kind may condemn what one
    does not."""
    found = list(calls())
    random.Random(1).shuffle(found)
    return sorted(found, key=lambda call: call[0])


@functools.cache
def expected(number):
    """Return the kernels that a call launches, and what it returns."""
    stems = set()
    original = ptx_backend.module

    def module(architecture, stem, defines):
        stems.add(stem)
        return original(architecture, stem, defines)

    with mock.patch.object(ptx_backend, "module", module):
        result = content(all_calls()[number][1]())
    return stems, result


def verdicts(name, text, folder):
    """Yield what each call that uses a file says of another text of it: a fault, a difference."""
    changed = folder / "sources"
    shutil.copytree(compiler.SOURCES, changed, ignore=lambda _, names: {"__pycache__"} & {*names})
    (changed / name).write_text(text, encoding="utf-8")
    original = ptx_backend.module

    @functools.cache
    def module(architecture, stem, defines):
        if name not in included(stem):
            return original(architecture, stem, defines)
        with mock.patch.object(compiler, "SOURCES", changed):
            return original.__wrapped__(architecture, stem, defines)

    for number, (title, call) in enumerate(all_calls()):
        stems, result = expected(number)
        if any(name in included(stem) for stem in stems):
            try:
                with mock.patch.object(ptx_backend, "module", module):
                    yield title, None if content(call()) == result else "another result"
            except Fault as fault:
                yield title, str(fault)
