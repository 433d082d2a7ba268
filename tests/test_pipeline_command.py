# SPDX-License-Identifier: Apache-2.0
"""`python -m bench pipeline` as a program: its table, its record, its pictures, and Ctrl-C."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from bench import picture
from bench.pipeline import command, embeddings, report, story, workers
from bench.pipeline.devices import CPU
from bench.pipeline.networks import MLP
from bench.pipeline.progress import Progress
from bench.pipeline.recipes import Effort, Recipe
from bench.pipeline.schemes import FP16, W8A8
from bench.pipeline.story import FP32, Found, tell
from bench.pipeline.table import Row, difference

TINY = Effort(seeds=1, epochs=0.01, regimes=1, quick=True, workers=1)


@pytest.fixture(autouse=True)
def only_a_small_part(monkeypatch):
    """One network, two schemes, no real weights."""
    monkeypatch.setattr(story, "RECIPES", {MLP: Recipe(25, 2e-3, (FP16, W8A8[1]))})
    monkeypatch.setattr(embeddings, "run", lambda quick, progress, rows, device: rows)
    monkeypatch.setattr(command, "QUICK", TINY)


def run(place, capsys):
    status = command.main(quick=True, out=place, record=False)
    record = json.loads((place / "results.json").read_text())
    return status, record, capsys.readouterr().out


def test_a_run_leaves_tables_numbers_and_pictures(tmp_path, capsys):
    status, record, printed = run(tmp_path, capsys)
    assert status == 0
    assert record["complete"]
    assert {row["scheme"] for row in record["rows"]} >= {FP32, "FP16", W8A8[1].name}
    assert "| W8A8 static, per channel |" in printed
    assert "Incomplete" not in printed
    pictures = [path.stat().st_size for path in tmp_path.glob("*.png")]
    assert len(pictures) == (3 if picture.can_draw() else 0)
    assert all(1000 < size < 100_000 for size in pictures)


def test_an_interrupted_run_leaves_what_it_measured(tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(story, "_regime", interrupt)
    status, record, printed = run(tmp_path, capsys)
    assert status == 130
    assert not record["complete"]
    assert report.INCOMPLETE in printed
    assert "| W8A8 static, per channel |" in printed


@pytest.mark.parametrize("calls", range(0, 10, 3))
def test_wherever_it_is_interrupted_there_is_a_report(calls, monkeypatch):
    """At each of the first calls that end a piece of work."""
    left = iter(range(calls))
    original = story.accuracy

    def counted(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(story, "accuracy", counted)
    found = Found()
    try:
        tell(TINY, Progress({}, io.StringIO()), found)
    except KeyboardInterrupt:
        assert not found.complete
    assert report.markdown(found, command.described_machine(CPU), []).startswith(
        "# The whole story"
    )


def test_workers_find_what_one_process_finds():
    effort = Effort(seeds=1, epochs=0.01, regimes=2)
    losses = [(weight, effort, seed) for weight in story.WEIGHTS[:2] for seed in range(2)]
    of = {n: [*workers.each(story._regime, losses, replace(effort, workers=n))] for n in (1, 2)}
    assert of[1] == of[2]


def test_progress_is_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    progress = Progress({"first": 1, "second": 1}, stream)
    progress.phase("first", 2)
    progress.step("a")
    progress.phase("second")
    assert [line.partition("] ")[2] for line in stream.getvalue().splitlines()] == [
        "first",
        "second",
    ]


def test_progress_is_a_bar_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    progress = Progress({"first": 1, "second": 1}, stream)
    progress.phase("first")
    progress.phase("second", 2)
    progress.step("half of it")
    progress.step("all but a quarter")
    assert "75%  all but a quarter" in stream.getvalue()
    assert "\n" not in stream.getvalue()


def test_a_record_replaces_what_readme_shows(tmp_path, capsys, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{command.START}\nstale\n{command.END}\nafter\n")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "FULL", TINY)
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    command.main(quick=False, out=None, record=True)
    text = readme.read_text()
    assert text.startswith(f"before\n{command.START}\n")
    assert text.endswith(f"{command.END}\nafter\n")
    assert "stale" not in text
    assert "| W8A8 static, per channel |" in text
    assert "(pipeline/results.md)" in text


def test_intervals_are_those_of_students_distribution():
    from scipy import stats

    for count in range(2, 11):
        row, baseline = (
            Row("", "", [*np.random.default_rng(s).normal(size=count)]) for s in (1, 2)
        )
        middle, half = difference(row, baseline)
        low, high = stats.ttest_rel(row.accuracy, baseline.accuracy).confidence_interval(0.95)
        assert (middle, half) == pytest.approx(((high + low) / 2, (high - low) / 2), rel=1e-3)
