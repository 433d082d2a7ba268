# SPDX-License-Identifier: Apache-2.0
"""ldmatrix and mma of the PTX machine: layouts by the manual's formulas, products by integers.

g = lane >> 2, t = lane & 3. Element i of a fragment counts a lane's registers upward, low parts
first. Products are of small whole numbers, so every sum is exact.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptx_kernels import ARCHITECTURES, PRELUDE, each_architecture, launch, module

pytestmark = pytest.mark.usefixtures("nvrtc")

WARPS = 3

# --------------------------------------------------------------------------------- ldmatrix

_LDMATRIX = (
    PRELUDE
    + """
extern "C" __global__ void matrices(const uint16* tile, const uint32* rows, uint32* out) {
    __shared__ __align__(16) uint16 shared[ROWS * 8];
    const int i = threadIdx.x;
    for (int j = i; j < ROWS * 8; j += blockDim.x) shared[j] = tile[j];
    __syncthreads();
    const uint32 address = __cvta_generic_to_shared(shared + rows[i] * 8);
    uint32 d[COUNT];
    asm volatile("ldmatrix.sync.aligned.m8n8.x" NAME " %MODE" : OUTPUTS : "r"(address));
    for (int j = 0; j < COUNT; ++j) out[i * COUNT + j] = d[j];
}
"""
)
ROWS = 50  # of 16 bytes


def ldmatrix_source(count, transposed):
    outputs = ", ".join(f'"=r"(d[{j}])' for j in range(count))
    places = ", ".join(f"%{j}" for j in range(count))
    mode = f"{'.trans' * transposed}.shared.b16 {{{places}}}, [%{count}];"
    text = _LDMATRIX.replace('" NAME " %MODE', f"{count}{mode}").replace("OUTPUTS", outputs)
    return text.replace("ROWS", str(ROWS)).replace("COUNT", str(count))


@each_architecture
@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix_deals_rows_to_lanes(count, transposed, architecture):
    draw = random.Random(count)
    tile = np.frombuffer(draw.randbytes(ROWS * 16), np.uint16)
    # Any row may be given more than once; lanes beyond 8 a matrix give addresses that do not count.
    rows = [[draw.randrange(ROWS) for _ in range(32)] for _ in range(WARPS)]
    out = np.zeros((WARPS, 32, count), np.uint32)
    launch(
        module(ldmatrix_source(count, transposed), architecture),
        *("matrices", 1, WARPS * 32, tile, np.array(rows, np.uint32), out),
    )
    word = tile.tolist()
    for warp, lane, matrix in np.ndindex(out.shape):
        g, t = lane >> 2, lane & 3
        places = [(2 * t, g), (2 * t + 1, g)] if transposed else [(g, 2 * t), (g, 2 * t + 1)]
        low, high = (word[rows[warp][8 * matrix + row] * 8 + column] for row, column in places)
        assert int(out[warp, lane, matrix]) == high << 16 | low, (warp, lane, matrix)


# -------------------------------------------------------------------------------------- mma


class Mma(NamedTuple):
    """A matrix instruction; places give (row, k), (k, column), (row, column) of (g, t, i)."""

    shape: tuple  # m, n, k
    types: tuple  # of a and b
    since: int
    a: Callable
    b: Callable
    c: Callable

    @property
    def name(self):
        m, n, k = self.shape
        d = "f32" if self.types[0] == "f16" else "s32"
        return f"m{m}n{n}k{k}.row.col.{d}.{self.types[0]}.{self.types[1]}.{d}"

    def registers(self):
        """Return how many registers a lane gives for a, b and c."""
        m, n, k = self.shape
        packed = 2 if self.types[0] == "f16" else 4
        return m * k // 32 // packed, k * n // 32 // packed, m * n // 32


def _c16(g, t, i):
    return g + 8 * (i >> 1), 2 * t + (i & 1)


def mmas():
    yield Mma((16, 8, 8), ("f16", "f16"), 75,
              lambda g, t, i: (g + 8 * (i >> 1), 2 * t + (i & 1)),
              lambda g, t, i: (2 * t + i, g), _c16)  # fmt: skip
    yield Mma((16, 8, 16), ("f16", "f16"), 80,
              lambda g, t, i: (g + 8 * ((i >> 1) & 1), 2 * t + (i & 1) + 8 * (i >> 2)),
              lambda g, t, i: (2 * t + (i & 1) + 8 * (i >> 1), g), _c16)  # fmt: skip
    for types in (("s8", "s8"), ("u8", "u8"), ("s8", "u8"), ("u8", "s8")):
        yield Mma((8, 8, 16), types, 75,
                  lambda g, t, i: (g, 4 * t + i),
                  lambda g, t, i: (4 * t + i, g),
                  lambda g, t, i: (g, 2 * t + i))  # fmt: skip
        yield Mma((16, 8, 16), types, 80,
                  lambda g, t, i: (g + 8 * (i >> 2), 4 * t + (i & 3)),
                  lambda g, t, i: (4 * t + i, g), _c16)  # fmt: skip
        yield Mma((16, 8, 32), types, 80,
                  lambda g, t, i: (g + 8 * ((i >> 2) & 1), 4 * t + (i & 3) + 16 * (i >> 3)),
                  lambda g, t, i: (4 * t + (i & 3) + 16 * (i >> 2), g), _c16)  # fmt: skip


MMAS = tuple(mmas())


def mma_source(mma):
    a, b, c = mma.registers()
    kind, letter = ("float", "f") if mma.types[0] == "f16" else ("int32", "r")
    places = iter(f"%{i}" for i in range(2 * c + a + b))
    d, *rest = ("{" + ", ".join(next(places) for _ in range(n)) + "}" for n in (c, a, b, c))
    inputs = [f'"r"(a[{j}])' for j in range(a)] + [f'"r"(b[{j}])' for j in range(b)]
    inputs += [f'"{letter}"(c[{j}])' for j in range(c)]
    return f"""{PRELUDE}
extern "C" __global__ void product(const uint32* a, const uint32* b, const {kind}* c,
                                   {kind}* out) {{
    const int i = threadIdx.x;
    a += i * {a}; b += i * {b}; c += i * {c}; out += i * {c};
    {kind} d[{c}];
    asm volatile("mma.sync.aligned.{mma.name} {d}, {", ".join(rest)};"
                 : {", ".join(f'"={letter}"(d[{j}])' for j in range(c))}
                 : {", ".join(inputs)});
    for (int j = 0; j < {c}; ++j) out[j] = d[j];
}}"""


def fragments(matrices, place, elements, dtype):
    """Deal matrices, one a warp, to lanes."""
    lanes = [
        [matrix[row][column] for i in range(elements) for row, column in [place(g, t, i)]]
        for matrix in matrices
        for g in range(8)
        for t in range(4)
    ]
    return np.array(lanes).astype(dtype)


def multiplied(mma, architecture, a, b, c):
    """Return the products of matrices (nested lists), one a warp, with c added."""
    m, n, k = mma.shape
    real = mma.types[0] == "f16"
    kinds = [np.float16] * 2 if real else [{"s8": np.int8, "u8": np.uint8}[x] for x in mma.types]
    total = np.float32 if real else np.int32
    operands = [
        fragments(a, mma.a, m * k // 32, kinds[0]).view(np.uint32),
        fragments(b, mma.b, k * n // 32, kinds[1]).view(np.uint32),
        fragments(c, mma.c, m * n // 32, total),
    ]
    out = np.zeros((len(a) * 32, m * n // 32), total)
    launch(module(mma_source(mma), architecture), "product", 1, len(a) * 32, *operands, out)
    got = [[[None] * n for _ in range(m)] for _ in a]
    for thread, values in enumerate(out.tolist()):
        for i, value in enumerate(values):
            row, column = mma.c(thread % 32 >> 2, thread & 3, i)
            got[thread // 32][row][column] = value
    return got


def exact(mma, a, b, c):
    """Return c + a b in Python's integers, wrapped to 32 bits where they are integers."""
    m, n, k = mma.shape

    def wrapped(x):
        return x if mma.types[0] == "f16" else (x + 2**31) % 2**32 - 2**31

    return [
        [wrapped(c[i][j] + sum(a[i][p] * b[p][j] for p in range(k))) for j in range(n)]
        for i in range(m)
    ]


def matrix(draw, rows, columns, kind):
    lo, hi = {"f16": (-12, 12), "s8": (-128, 127), "u8": (0, 255), "c": (-(2**31), 2**31 - 1)}[kind]
    return [[draw.choice((lo, hi, 0, draw.randint(lo, hi))) for _ in range(columns)]
            for _ in range(rows)]  # fmt: skip


def operands(mma, seed, warps=WARPS):
    m, n, k = mma.shape
    draw = random.Random(seed)
    c_kind = "f16" if mma.types[0] == "f16" else "c"
    shapes = ((m, k, mma.types[0]), (k, n, mma.types[1]), (m, n, c_kind))
    return [[matrix(draw, *shape) for _ in range(warps)] for shape in shapes]


CASES = [(arch, mma) for arch in ARCHITECTURES for mma in MMAS if mma.since <= arch]
each_case = pytest.mark.parametrize(
    ("architecture", "mma"), CASES, ids=[f"compute_{arch}-{mma.name}" for arch, mma in CASES]
)


@each_case
def test_fragments_lie_where_the_manual_says(mma, architecture):
    a, b, c = operands(mma, 1)
    want = [exact(mma, *one) for one in zip(a, b, c, strict=True)]
    assert multiplied(mma, architecture, a, b, c) == want


@pytest.mark.parametrize("mma", [mma for mma in MMAS if mma.since <= 80], ids=lambda x: x.name)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_any_whole_numbers_are_multiplied(mma, seed):
    a, b, c = operands(mma, seed, 1)
    assert multiplied(mma, 80, a, b, c) == [exact(mma, a[0], b[0], c[0])]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan], ids=str)
@pytest.mark.parametrize("mma", MMAS[:2], ids=lambda x: x.name)
def test_element_that_is_not_finite_spoils_its_row_alone(mma, value):
    m, n, k = mma.shape
    a, b, c = [[2.0] * k for _ in range(m)], [[1.0] * n for _ in range(k)], [[0.5] * n] * m
    a[5][3] = value
    ((*got,),) = multiplied(mma, 80, [a], [b], [c])
    want = [[str(value if i == 5 else 2.0 * k + 0.5)] * n for i in range(m)]
    assert [[str(x) for x in row] for row in got] == want


def test_products_of_halves_are_summed_in_single_precision():
    """65504 * 65504 overflows FP16 and 2**-24 * 2**-24 underflows it."""
    mma = MMAS[1]
    m, n, k = mma.shape
    for x in (65504.0, 2.0**-24):
        a, b = [[[x] + [0.0] * (k - 1)] * m], [[[x] * n] + [[0.0] * n] * (k - 1)]
        assert multiplied(mma, 80, a, b, [[[0.0] * n] * m]) == [[[x * x] * n] * m]
