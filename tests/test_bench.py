# SPDX-License-Identifier: Apache-2.0
"""The bench's own logic: statistics of rounds, tables, and one short run of the whole."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import halfbyte_reference as reference
from bench import ROOT, codes, contenders, loops, pairs, quantization, readme, rows, table
from bench.codes import Case
from bench.rows import Entry, Headline, Result, Row, Verdict

CASES = [  # with three rows
    pytest.param(dataclasses.replace(case, nbytes=4 * case.columns * 3), id=case.what)
    for case, _ in quantization.CASES
]
EXACT = Verdict(same_bits=True, of_bound=0.0)


def right(case):
    """What a contender gives whose every bit is right."""
    function, given = getattr(reference, case.function), codes.inputs(case)
    bits = {} if case.function in ("dequantize", "requantize") else {"bits": case.bits}
    results = function(**given, **bits, **case.scaled)
    if case.function == "quantize":
        packed = reference.pack_nibbles(results.codes) if case.bits == 4 else results.codes
        return packed, results.scale
    if case.function == "fake_quantize_backward":
        return results[0], results[1].astype(np.float32)
    return (results,)


def measured(case, seconds, peers):
    """A result in which halfbyte takes so long, np.copyto 2 s, and the peers what they are said."""
    row = next(row for row in quantization.rows("full", (1,)) if row.title == case.title)
    entries = [Entry("halfbyte", {0: seconds}, {0: 1.0}, EXACT, alone={"copy": {0: 2.0}})]
    return Result(row, entries + [Entry(name, {0: s}) for name, s in peers.items()])


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


def test_without_a_copy_beside_it_nothing_is_in_its_units(result):
    assert pairs.of_copy(result, result.entries[0]) is None


def test_a_peer_is_compared_with_the_copy_of_its_round(result):
    result.entries[0].alone = {"copy": {0: 1e-6, 1: 2e-6, 2: 1e-5}}
    assert [pairs.of_copy(result, entry) for entry in result.entries] == [1.0, 0.5]


def test_memory_takes_the_time_to_read_and_then_to_write():
    row = Row("x", "x", {}, (), "", bytes=12.0, written=4.0, memory="read+stream")
    rates = {"read": 2.0, "stream": 1.0, "copy": 100.0}
    assert row.roofs == tuple(rates)
    assert contenders.least_seconds(row, rates) == 8.0


def test_the_best_peer_is_not_halfbyte(result):
    assert pairs.best_peer(result).contender == "numpy f32"


def test_a_row_of_the_table_says_time_rate_roof_and_ratios(result):
    assert table.cells(result, result.entries[0]) == [
        "1 us",
        "[1 us, 5.5 us]",
        "1.02 GFLOP/s",
        "0.500",
        "",
        "2.000",
        "2.000 (numpy f32)",
        "yes",
        "",
    ]


def test_a_wrong_result_is_shown_and_not_timed(result):
    wrong = Entry("halfbyte", verdict=Verdict(same_bits=False, of_bound=3.0, acceptable=False))
    result.entries[0] = wrong
    assert wrong.failed
    assert table.cells(result, wrong)[0] == "not timed"
    assert table.cells(result, wrong)[-2:] == ["WRONG", "3 x bound"]


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
    products = "gemm_f16: (33|64) x|gemm_int: s8 x s8, 33|linear: W4A8, groups of 32, 1 x"
    only = ["--only", f"{products}|casts: to_f16"]
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
    assert len(ours) == 12
    assert all(entry["verdict"]["same_bits"] and entry["seconds"] for entry in ours)
    assert "33 x 33 x 33" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_the_stream_loop_fills_lines_and_nothing_else(lanes):
    words = np.zeros(8 * 6, np.uint64)
    lines = words[-words.ctypes.data % loops.LINE // 8 :][: 8 * 5].reshape(5, 8)
    loop = loops.stream_loop(lanes)
    loop(lines[1:4])
    assert lines.any(axis=1).tolist() == [False, True, True, True, False]
    assert lines[1:4].all()
    assert "movntps" in "".join(loop.inspect_asm().values())


@pytest.mark.parametrize("case", CASES)
def test_the_right_bits_pass_the_check_of_quantization(case):
    verdict = codes.check(case, right(case), exact=True)
    assert verdict.same_bits
    assert verdict.acceptable


@pytest.mark.parametrize("case", CASES)
def test_one_wrong_bit_does_not_pass_the_check_of_quantization(case):
    results = right(case)
    results[0].reshape(-1)[-1:].view(np.uint8)[0] ^= 1
    assert not codes.check(case, results, exact=True).acceptable


@pytest.mark.parametrize(("steps", "acceptable"), [(1, True), (2, False)])
@pytest.mark.parametrize("function", ["quantize", "requantize"])
def test_codes_of_a_peer_may_be_one_step_away(function, steps, acceptable):
    case = Case(function, 2**16, 4096)
    results = right(case)
    element = results[0].reshape(-1)[-1:]
    element += np.int8(-steps if element > 0 else steps)
    verdict = codes.check(case, results, exact=False)
    assert not verdict.same_bits
    assert verdict.acceptable == acceptable


def test_a_sum_of_a_peer_that_lacks_a_term_is_wrong():
    case = Case("fake_quantize_backward", 2**16, 4096)
    dx, dscale = right(case)
    assert not codes.check(case, (dx, dscale / 2), exact=False).acceptable


@pytest.mark.parametrize("case", CASES)
def test_numpy_is_right_where_it_is_measured(case):
    assert quantization.CONTENDERS["numpy"].prepare(dataclasses.asdict(case)).check().acceptable


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")  # deprecated
@pytest.mark.parametrize("contender", ["torch", "torch ops"])
@pytest.mark.parametrize("case", CASES)
def test_torch_is_right_where_it_is_measured(case, contender, torch):
    prepare = quantization.CONTENDERS[contender].prepare
    assert prepare(dataclasses.asdict(case)).check().acceptable


@pytest.mark.parametrize("case", CASES)
def test_traffic_is_every_array_once_and_x_twice_to_check_it_first(case):
    given, results = codes.inputs(case), right(case)
    if case.function == "dequantize" and case.bits == 4:
        given = given | {"codes": reference.pack_nibbles(given["codes"])}
    read = sum(array.nbytes for array in given.values())
    assert case.read == read + (given["x"].nbytes if case.check_finite else 0)
    new = results[:1] if case.function == "quantize" and not case.from_data else results
    assert case.written == sum(array.nbytes for array in new)


def test_one_row_of_codes_is_not_compared_with_memory():
    chosen = [row for row in quantization.rows("full", (1,)) if row.title.endswith(" 1 x 4096")]
    assert chosen
    assert not any(row.roofs for row in chosen)


def test_the_slowest_case_is_the_headline_against_torch():
    first, second = (case for case, _ in quantization.CASES[:2])
    results = [measured(first, 1.0, {"torch": 30.0}), measured(second, 2.0, {"torch": 24.0})]
    known = {line.what: line for line in quantization.headlines(results, "avx2")}
    (slowest,) = (line for what, line in known.items() if "torch's own" in what)
    assert slowest.figure == 12.0
    assert slowest.reached == "yes"


def test_codes_that_are_checked_first_have_figures_and_no_goals():
    case = next(case for case, goals in quantization.CASES if goals is None)
    lines = quantization.headlines([measured(case, 4.0, {})], "avx2")
    chosen = [line for line in lines if line.what.startswith(case.what)]
    assert [(line.figure, line.reached) for line in chosen] == [(0.5, ""), (0.25, "")]


def test_readme_has_one_line_an_operation_on_codes(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    path = tmp_path / "README.md"
    path.write_text(f"before\n{readme.START}\nold\n{readme.END}\nafter\n")
    case = Case("fake_quantize", quantization.BIG, 4096)
    result = measured(case, 1.0, {"numpy": 8.0, "torch": 20.0, "torch ops": 6.5})
    small = measured(dataclasses.replace(case, nbytes=quantization.MIDDLE), 1.0, {})
    machine = {"cpu": "x", "cores": 1, "isa": "avx2"}
    readme.update(tmp_path / "results", machine, [result, small])
    text = path.read_text()
    line = "| fake_quantize INT8, scale per channel | 0.134 | 1.00 | 2.00 | 8.00 | 20 | 6.50 |"
    assert [x for x in text.splitlines() if x.startswith("| fake")] == [line]
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
