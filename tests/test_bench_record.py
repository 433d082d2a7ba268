# SPDX-License-Identifier: Apache-2.0
"""What a run of the bench records, and what it leaves of earlier ones."""

import json

import pytest

from bench import __main__ as bench
from bench import casts, machine, readme, record, rows, startup
from bench.rows import Entry, Result, Verdict

HERE = {"cpu": "Some CPU", "isa": "avx512"}
ELSEWHERE = HERE | {"isa": "avx2"}
FACTS = {"isa": "avx512", "lanes": 16, "runnable": ["generic", "avx2", "avx512"]}


class Instant:
    """A contest in which everybody is right and takes so many seconds."""

    seconds = 1.0

    def __init__(self, effort, isa=None):
        self.isa = isa

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def facts(self):
        return FACTS | ({"isa": self.isa} if self.isa else {})

    def measure(self, row):
        return measured(row, Instant.seconds)


def measured(row, seconds=1.0):
    """A result in which every contender takes so long, in two rounds, and roofs 1 s."""
    times, ones = {0: seconds, 1: seconds}, {0: 1.0, 1: 1.0}
    alone = dict.fromkeys(row.roofs, ones)
    entries = [
        Entry(name, times, ones if row.roofs else {}, Verdict(same_bits=True), alone=alone)
        for name in row.contenders
    ]
    return Result(row, entries, dict.fromkeys(row.roofs, 1e9))


def results_of(*names, seconds=1.0):
    return [
        measured(row, seconds) for name in names for row in rows.operation(name).rows("full", (1,))
    ]


def recorded(place):
    """Seconds, by row's name."""
    return {r.row.name: r.entries[0].seconds[0] for r in record.read(place)}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Where runs are recorded, empty, beside a README."""
    place = tmp_path / "bench" / "results"
    place.mkdir(parents=True)
    (tmp_path / "README.md").write_text(f"before\n{readme.START}\nold\n{readme.END}\nafter\n")
    monkeypatch.setattr(record, "RESULTS", place)
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "Contest", Instant)
    monkeypatch.setattr(machine, "cpu_name", lambda: HERE["cpu"])
    monkeypatch.setattr(record.picture, "can_draw", lambda: False)
    return place


def keep(results, name, described, *names):
    """A record with this name, of these operations."""
    place = results / name
    record.write(place, machine.describe() | FACTS | described, results_of(*names), [])
    return place


@pytest.mark.parametrize("name", rows.OPERATIONS)
def test_results_are_read_as_they_were_written(name):
    known = json.loads(json.dumps([record.as_json(result) for result in results_of(name)]))
    assert [record.from_json(result) for result in known] == results_of(name)


def test_failures_and_errors_are_read_as_they_were_written():
    row = casts.rows("full", (1,))[0]
    verdict = Verdict(same_bits=False, of_bound=0.5, off_by=2.0, relative=0.1)
    entries = [Entry("halfbyte", verdict=verdict), Entry("numpy", failure="ValueError: no")]
    known = json.loads(json.dumps(record.as_json(Result(row, entries))))
    assert record.from_json(known) == Result(row, entries)


def test_a_run_of_some_operations_leaves_what_is_recorded_of_others(results):
    place = keep(results, "2026-01-02-some", HERE, "startup", "casts")
    new = results_of("quantization", "casts", seconds=2.0)
    merged = record.merged(place, HERE, new, ["casts", "quantization"])
    assert merged == results_of("casts", "quantization", seconds=2.0) + results_of("startup")


def test_an_operation_measured_whole_loses_the_rows_that_it_no_longer_has(results):
    place = keep(results, "2026-01-02-some", HERE, "casts")
    merged = record.merged(place, HERE, results_of("casts")[:2], ["casts"])
    assert merged == results_of("casts")[:2]


def test_an_operation_measured_in_part_keeps_its_other_rows_in_their_order(results):
    place = keep(results, "2026-01-02-some", HERE, "casts")
    merged = record.merged(place, HERE, [results_of("casts", seconds=2.0)[1]], [])
    assert [r.row.name for r in merged] == [r.row.name for r in results_of("casts")]
    assert [r.entries[0].seconds[0] for r in merged[:3]] == [1.0, 2.0, 1.0]


def test_what_another_isa_did_is_not_merged(results):
    place = keep(results, "2026-01-02-some", ELSEWHERE, "casts")
    assert record.merged(place, HERE, results_of("startup"), ["startup"]) == results_of("startup")


def test_all_operations_are_recorded_under_the_date(results):
    keep(results, "2026-01-02-some", HERE, "casts")
    place = record.place_of(HERE, None, some=False)
    assert place.parent == results
    assert place.name.endswith("-some")
    assert place.name != "2026-01-02-some"


def test_some_operations_go_to_the_newest_record_of_this_cpu_and_isa(results):
    for name in ("2026-01-02-some", "2026-01-03-some", "2026-01-05-some-avx512"):
        keep(results, name, HERE, "casts")
    keep(results, "2026-01-04-some", ELSEWHERE, "casts")
    keep(results, "2026-01-06-some-other", HERE | {"cpu": "Some Other"}, "casts")
    assert record.place_of(HERE, None, some=True) == results / "2026-01-03-some"


def test_some_operations_below_a_ceiling_go_to_its_record(results):
    keep(results, "2026-01-02-some-avx2", ELSEWHERE, "casts")
    keep(results, "2026-01-03-some", ELSEWHERE, "casts")
    assert record.place_of(ELSEWHERE, "avx2", some=True) == results / "2026-01-02-some-avx2"


def test_without_a_record_some_operations_start_one(results):
    keep(results, "2026-01-02-some", ELSEWHERE, "casts")
    assert record.place_of(HERE, None, some=True) == record.place_of(HERE, None, some=False)


def test_some_operations_do_not_replace_the_record_of_another_isa(results):
    today = record.place_of(HERE, None, some=False)
    keep(results, today.name, ELSEWHERE, "casts")
    with pytest.raises(SystemExit, match="another Isa"):
        record.place_of(HERE, None, some=True)


def test_two_runs_make_one_record(results, monkeypatch, capsys):
    assert bench.main(["startup", "--record", "--threads", "1"]) == 0
    (place,) = results.iterdir()
    first = recorded(place)
    monkeypatch.setattr(Instant, "seconds", 2.0)
    assert bench.main(["casts", "--record", "--threads", "1"]) == 0
    assert list(results.iterdir()) == [place]
    names = [r.row.name for r in results_of("casts")]
    assert recorded(place) == dict.fromkeys(names, 2.0) | first


def test_table_headlines_and_readme_are_of_the_whole_record(results, capsys):
    bench.main(["quantization", "startup", "--record"])
    bench.main(["casts", "--record"])
    (place,) = results.iterdir()
    text = (place / "results.md").read_text()
    assert [x for x in text.splitlines() if x.startswith("## ")] == [
        *("## casts", "## quantization", "## startup"),
    ]
    known = json.loads((place / "results.json").read_text())["headlines"]
    assert {line["what"] for line in known} > {
        line.what
        for operation in (casts, startup)
        for line in operation.headlines(results_of("casts", "startup"), "avx512")
    }
    assert "| fake_quantize INT8" in (results.parents[1] / "README.md").read_text()


def test_the_terminal_shows_what_was_measured(results, capsys):
    bench.main(["startup", "--record"])
    capsys.readouterr()
    bench.main(["casts", "--record"])
    assert "startup" not in capsys.readouterr().out


def test_a_run_that_is_not_recorded_stands_alone(results, tmp_path, capsys):
    for name in ("startup", "casts"):
        bench.main([name, "--out", str(tmp_path / "out")])
    assert {r.row.operation for r in record.read(tmp_path / "out")} == {"casts"}
    assert "old" in (tmp_path / "README.md").read_text()


def test_tiny_shapes_are_not_recorded(results, capsys):
    with pytest.raises(SystemExit):
        bench.main(["casts", "--quick", "--record"])
    assert not list(results.iterdir())
