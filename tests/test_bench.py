# SPDX-License-Identifier: Apache-2.0
"""The bench's own logic: statistics of rounds, tables, and one short run of the whole."""

import json
import os
import subprocess
import sys

import pytest

from bench import ROOT, pairs, rows, table
from bench.rows import Entry, Headline, Result, Row, Verdict

EXACT = Verdict(same_bits=True, of_bound=0.0)


@pytest.fixture
def result():
    """halfbyte twice as fast as numpy in every round, on a machine that slows down by ten."""
    row = Row("gemm_f16", "8 x 8 x 8", {}, ("halfbyte", "numpy f32"), "numpy f32", flops=1024.0)
    ours = Entry("halfbyte", {0: 1e-6, 1: 1e-6, 2: 1e-5}, {0: 5e-7, 1: 5e-7, 2: 5e-6}, EXACT)
    theirs = Entry("numpy f32", {0: 2e-6, 1: 2e-6, 2: 2e-5, 3: 1.0}, verdict=EXACT)
    return Result(row, [ours, theirs], {"fma": 2e9})


def test_quartiles_are_interpolated():
    assert pairs.quartiles({0: 4.0, 1: 1.0, 2: 2.0, 3: 3.0}) == (1.75, 2.5, 3.25)


def test_one_round_is_its_own_quartiles():
    assert pairs.quartiles({5: 3.0}) == (3.0, 3.0, 3.0)


def test_a_ratio_is_formed_within_a_round():
    assert pairs.ratio({0: 2.0, 1: 200.0, 2: 2.0}, {0: 1.0, 1: 100.0, 3: 5.0}) == 2.0


def test_contenders_that_never_met_have_no_ratio():
    assert pairs.ratio({0: 1.0}, {1: 1.0}) is None


def test_drift_of_the_machine_cancels_in_the_speedup(result):
    ours, theirs = result.entries
    assert pairs.speedup(theirs, ours) == 2.0


def test_a_peer_is_compared_with_the_roof_of_its_round(result):
    assert [pairs.of_roof(result, entry) for entry in result.entries] == [0.5, 0.25]


def test_the_best_peer_is_not_halfbyte(result):
    assert pairs.best_peer(result).contender == "numpy f32"


def test_a_row_of_the_table_says_time_rate_roof_and_ratios(result):
    assert table.cells(result, result.entries[0]) == [
        "1 us",
        "[1 us, 5.5 us]",
        "1.02 GFLOP/s",
        "0.500",
        "2.000",
        "2.000 (numpy f32)",
        "equal bits",
    ]


def test_a_wrong_result_is_shown_and_not_timed(result):
    wrong = Entry("halfbyte", verdict=Verdict(same_bits=False, of_bound=3.0, acceptable=False))
    result.entries[0] = wrong
    assert wrong.failed
    assert table.cells(result, wrong)[0] == "not timed"
    assert table.cells(result, wrong)[-1] == "WRONG"


def test_a_failure_says_why_in_markdown(result):
    result.entries[0] = Entry("halfbyte", failure="ValueError: no")
    machine = {"cpu": "x", "cores": 1, "caches": {}, "system": "", "versions": {}}
    assert "| failed | ValueError: no |" in table.markdown(machine, [result], [], [])


@pytest.mark.parametrize(
    ("value", "text"), [(2.5, "2.5 s"), (0.0125, "12.5 ms"), (4e-6, "4 us"), (5e-8, "50 ns")]
)
def test_seconds_choose_their_unit(value, text):
    assert table.seconds(value) == text


@pytest.mark.parametrize(
    ("figure", "low_is_good", "reached"),
    [
        (0.96, False, "yes"),
        (0.99, False, "dream"),
        (0.90, False, "no"),
        (0.90, True, "dream"),
        (0.97, True, "yes"),
        (0.99, True, "no"),
        (None, True, "not measured"),
    ],
)
def test_a_headline_says_what_was_reached(figure, low_is_good, reached):
    must, dream = (0.98, 0.95) if low_is_good else (0.95, 0.98)
    assert Headline("x", figure, must, dream, low_is_good=low_is_good).reached == reached


@pytest.mark.parametrize("scale", ["quick", "tour", "full"])
@pytest.mark.parametrize("name", rows.OPERATIONS)
def test_every_row_names_contenders_that_exist(name, scale):
    operation = rows.operation(name)
    for row in operation.rows(scale, (1, 2)):
        assert set(row.contenders) <= set(operation.CONTENDERS)
        assert row.operation == name


@pytest.mark.parametrize("name", rows.OPERATIONS)
def test_rows_of_one_operation_have_names_of_their_own(name):
    names = [row.name for row in rows.operation(name).rows("full", (1, 2))]
    assert len(names) == len(set(names))


def test_a_quick_run_checks_measures_and_writes(tmp_path):
    command = [sys.executable, "-m", "bench", "--quick", "--threads", "1", "--out", str(tmp_path)]
    only = ["--only", "gemm_f16: (33|64) x|casts: to_f16"]
    env = os.environ | {"MPLCONFIGDIR": str(tmp_path)}
    run = subprocess.run(
        [*command, *only], cwd=ROOT, env=env, check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    known = json.loads((tmp_path / "results.json").read_text())
    ours = [
        entry
        for result in known["results"]
        for entry in result["entries"]
        if entry["contender"].startswith("halfbyte")
    ]
    assert len(ours) == 7
    assert all(entry["verdict"]["same_bits"] and entry["seconds"] for entry in ours)
    assert "33 x 33 x 33" in (tmp_path / "results.md").read_text()
