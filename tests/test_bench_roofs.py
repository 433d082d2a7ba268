# SPDX-License-Identifier: Apache-2.0
"""The bench's roofs: which one a row is compared with, and that the integer one is what it says."""

import numpy as np
import pytest

from bench import contenders, loops, pairs
from bench.rows import Entry, Result, Row
from halfbyte.cpu import isa


@pytest.mark.parametrize("name", isa.runnable())
def test_the_integer_roof_has_a_sum_a_chain_and_a_step(name):
    with isa.forced(name) as active:
        loop = loops.dot_loop(active.lanes, 12, active.vnni)
        loop(1, np.int32(0x01020304))
    assembly = "".join(loop.inspect_asm().values())
    if active.vnni:
        assert assembly.count("vpdpbusd") == 12
    else:  # LLVM's target may join pmaddwd and the addition
        assert assembly.count("pmaddwd") + assembly.count("vpdpwssd") == 12


@pytest.mark.parametrize("name", isa.runnable())
def test_the_integer_roof_multiplies_and_adds(name):
    with isa.forced(name) as active:
        loop = loops.dot_loop(active.lanes, 3, active.vnni)
        got = loop(2, np.int32(0x01020304))
    count, dtype = (4, np.int8) if active.vnni else (2, np.int16)
    factor = np.full(1, 0x01020304, np.int32).view(dtype).astype(np.int64)
    accs = np.arange(3, dtype=np.int32)
    for _ in range(2):
        x = np.tile(factor, (3, 1)) if active.vnni else accs.view(dtype).reshape(3, count)
        accs = (accs + (x * factor).sum(axis=1)).astype(np.int32)
    assert got == accs.sum(dtype=np.int32)


def test_a_row_of_integers_is_compared_with_the_integer_roof():
    row = Row("x", "x", {}, (), "", flops=12.0, compute="int", beside=("fma",))
    assert row.roofs == ("int", "fma")
    assert contenders.least_seconds(row, {"int": 4.0, "fma": 2.0}) == 3.0
    assert [contenders.work_at(row, kind) for kind in row.roofs] == [12.0, 12.0]


def test_bytes_are_what_a_memory_roof_counts():
    row = Row("x", "x", {}, (), "", flops=1.0, bytes=12.0, written=4.0, memory="read+stream")
    work = [contenders.work_at(row, kind) for kind in ("read", "stream", "copy")]
    assert work == [12.0, 4.0, 12.0]


def test_a_time_may_be_compared_with_one_of_the_roofs():
    row = Row("x", "x", {}, (), "", flops=8.0, compute="int", beside=("fma",))
    ours = Entry("halfbyte", {0: 2.0}, {0: 1.0}, alone={"int": {0: 1.0}, "fma": {0: 4.0}})
    peer = Entry("peer", {0: 8.0})
    result = Result(row, [ours, peer])
    assert [pairs.of_one(result, entry, "fma") for entry in result.entries] == [2.0, 0.5]
