# SPDX-License-Identifier: Apache-2.0
"""The bench of loss scaling and optimizers: bytes, checks, peers, headlines, README."""

from functools import partial

import numpy as np
import pytest

from bench import amp, amp_peers, readme, steps
from bench.contenders import installed
from bench.rows import Entry, Result, Verdict
from bench.steps import Case, Trial
from bench.worker import Runner
from halfbyte_reference import amp as reference

ROWS = [pytest.param(row, id=row.title) for row in amp.rows("quick", (1,))]
CASES = [pytest.param(Case(**row.params), id=row.title) for row in amp.rows("quick", (1,))]
UNSCALES = [param for param in CASES if param.values[0].function == "unscale"]
STEPS = [param for param in CASES if param.values[0].function != "unscale"]
SCALED = [param for param in STEPS if param.values[0].scaled]
ADAMW = Case("AdamW", 4000)
EXACT = Verdict(same_bits=True)


def right_unscale(case, given):
    """Unscales by the reference."""
    grads = given.gradients
    out = [np.zeros(g.shape, np.float32) for g in grads] if case.halves else grads

    def call(factor):
        for g, result in zip(grads, out, strict=True):
            result[...] = reference.unscale(g, factor)
        return reference.found_inf(out)

    return Trial([partial(call, factor) for factor in steps.FACTORS], grads, out)


def right_step(case, given, **changed):
    """Steps by the reference, but for options that are changed."""
    kind, options = getattr(reference, case.function), steps.OPTIONS[case.function] | changed
    optimizer = kind(given.parameters, **options)
    results = [p.astype(np.float32) for p in given.parameters] + given.parameters

    def call():
        grads = given.gradients
        if case.scaled:
            grads = [reference.unscale(g, steps.SCALE) for g in grads]
            if reference.found_inf(grads):
                return
        optimizer.step(grads)
        for out, x in zip(results, optimizer.master + optimizer.params, strict=True):
            out[...] = x

    return Trial([call], given.gradients, results)


def right(case, given):
    return (right_unscale if case.function == "unscale" else right_step)(case, given)


def verdict_of(case, spoil=None, *, exact=True, make=right):
    """The verdict on the reference itself, whose results are spoilt after each call."""
    given = steps.inputs(case)
    trial = make(case, given)

    def call(inner):
        answer = inner()
        return answer if spoil is None else spoil(trial, answer)

    calls = [partial(call, inner) for inner in trial.calls]
    return steps.job(case, given, trial._replace(calls=calls), exact=exact).check()


def measured(row, **seconds):
    """A result in which contenders take so long, and memory 1 s."""
    entries = [Entry(name, {0: s}, {0: 1.0}, EXACT) for name, s in seconds.items()]
    return Result(row, entries)


def row_of(case):
    (row,) = (row for row in amp.rows("full", (1,)) if row.title == case.title)
    return row


@pytest.mark.parametrize("case", CASES)
def test_the_right_bits_pass_the_check_of_a_step(case):
    assert verdict_of(case) == EXACT


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("case", CASES)
def test_one_wrong_bit_does_not_pass_the_check_of_a_step(case, place):
    def spoil(trial, answer):
        trial.results[place][-1:].view(np.uint8)[0] ^= 1
        return answer

    assert not verdict_of(case, spoil).acceptable


@pytest.mark.parametrize("case", UNSCALES)
def test_who_does_not_look_for_infinities_is_wrong(case):
    assert not verdict_of(case, lambda trial, answer: np.False_, exact=False).acceptable


@pytest.mark.parametrize("case", UNSCALES)
def test_who_finds_infinities_everywhere_is_wrong(case):
    assert not verdict_of(case, lambda trial, answer: np.True_, exact=False).acceptable


@pytest.mark.parametrize("case", SCALED)
def test_who_steps_in_spite_of_an_infinity_is_wrong(case):
    def spoil(trial, answer):
        if np.isinf(trial.gradients[-1][-1]):
            trial.results[0][0] += 1
        return answer

    assert not verdict_of(case, spoil, exact=False).acceptable


@pytest.mark.parametrize("case", STEPS)
def test_a_peer_may_round_otherwise(case):
    def spoil(trial, answer):
        if np.isfinite(trial.gradients[-1][-1]):  # else there is no step
            trial.results[0][0] = np.nextafter(trial.results[0][0], np.float32(0))
        return answer

    assert verdict_of(case, spoil, exact=False) == Verdict(same_bits=False)


@pytest.mark.parametrize("case", STEPS)
def test_a_peer_that_does_not_cast_is_wrong(case):
    def spoil(trial, answer):
        trial.results[-1][...] = steps.inputs(case).parameters[-1]
        return answer

    assert not verdict_of(case, spoil, exact=False).acceptable


@pytest.mark.parametrize(
    "changed",
    [
        {"lr": 1.01e-3},
        {"betas": (0.8, 0.999)},
        {"betas": (0.9, 0.99)},
        {"eps": 1e-3},
        {"weight_decay": 0.0},
    ],
)
def test_a_peer_with_other_options_is_wrong(changed):
    make = partial(right_step, **changed)
    assert not verdict_of(ADAMW, exact=False, make=make).acceptable


@pytest.mark.parametrize("row", ROWS)
def test_every_contender_is_right_and_timed_where_it_is_measured(row):
    names = [name for name in row.contenders if installed(amp.CONTENDERS[name].library)]
    runner = Runner("numpy", 1)  # which leaves every library's threads alone
    verdicts = {name: runner.prepare("amp", name, row.params)["verdict"] for name in names}
    assert verdicts["halfbyte"]["same_bits"]
    assert all(verdict["acceptable"] for verdict in verdicts.values())
    assert all(runner.sample(name, 1e-4, [], 0)["seconds"] > 0 for name in names)


def after_two_turns(trial):
    """What a contender has after a call, and after two more."""
    first, second = trial.calls
    first()
    before = [x.copy() for x in trial.results]
    second()
    first()
    return before, trial.results


@pytest.mark.parametrize("make", [amp._unscale, amp_peers._numpy_unscale])
@pytest.mark.parametrize("case", UNSCALES)
def test_calls_in_turn_leave_values_where_they_are(case, make):
    before, after = after_two_turns(make(case, steps.inputs(case)))
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("case", UNSCALES)
def test_calls_of_torch_in_turn_leave_values_where_they_are(case, torch):
    before, after = after_two_turns(amp_peers._torch_unscale(case, steps.inputs(case)))
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("case", CASES)
def test_traffic_is_every_array_once_and_gradients_twice_to_check_them_first(case):
    given = steps.inputs(case)
    gradients = sum(g.nbytes for g in given.gradients)
    if case.function == "unscale":
        state, new = 0, 4 * sum(g.size for g in given.gradients)
    else:
        optimizer = getattr(reference, case.function)(
            given.parameters, **steps.OPTIONS[case.function]
        )
        kept = [x for s in optimizer.state for key, x in s.items() if key != "beta_products"]
        state = sum(x.nbytes for x in (*optimizer.master, *kept))
        new = state + sum(p.nbytes for p in given.parameters)
    assert case.read == state + gradients * (2 if case.scaled else 1)
    assert case.written == new


def test_a_large_array_is_checked_at_both_ends_and_between():
    index = steps.sample(2**24)
    assert (index[0], index[-1]) == (0, 2**24 - 1)
    assert 0.9 * steps.SAMPLED < len(index) <= steps.SAMPLED
    assert np.diff(index).max() < 2**24 / 100


def test_many_small_arrays_are_not_compared_with_memory():
    chosen = [row for row in amp.rows("full", (1,)) if row.params["tensors"] > 1]
    assert len(chosen) == 3
    assert not any(row.roofs or row.unit for row in chosen)


def test_a_tour_measures_every_goal():
    taken = dict.fromkeys(("halfbyte", "numpy", "torch"), 1.0)
    results = [measured(row, **taken) for row in amp.rows("tour", (1, 2))]
    lines = amp.headlines(results, "avx2")
    assert len(lines) == 5
    assert all(line.figure is not None and line.must is not None for line in lines)


def test_without_results_only_goals_are_headlines():
    lines = amp.headlines([], "avx2")
    assert [line.reached for line in lines] == ["not measured"] * 5


def test_adamw_is_judged_by_memory_and_by_torch():
    result = measured(row_of(Case("AdamW", amp.BIG)), halfbyte=1.25, torch=1.75)
    lines = [line for line in amp.headlines([result], "avx2") if line.what.startswith("AdamW")]
    assert [(line.figure, line.reached) for line in lines] == [(0.8, "yes"), (1.4, "yes")]


def test_a_call_is_judged_in_microseconds():
    case = Case("unscale", amp.SMALL * amp.SMALL_BYTES, amp.SMALL, halves=False)
    lines = amp.headlines([measured(row_of(case), halfbyte=2.0**-14)], "avx2")
    (line,) = (line for line in lines if line.unit == "us")
    assert line.what == "unscale float32 in place, 200 x 1000 elements, one thread, whole call"
    assert (line.figure, line.reached) == (2.0**-14 * 1e6, "dream")


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """README with what was measured of a step from memory, of small arrays, and of tiny ones."""
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text(f"{readme.START}\nold\n{readme.END}\n")
    small = Case("SGD", amp.SMALL * amp.SMALL_BYTES, amp.SMALL)
    results = [
        measured(row_of(Case("AdamW", amp.BIG, scaled=True)), halfbyte=1.25, numpy=20.0, torch=2.0),
        Result(row_of(small), [Entry("halfbyte", {0: 8e-5}), Entry("numpy", {0: 4e-4})]),
        measured(amp.rows("quick", (1,))[0], halfbyte=1.0),
    ]
    machine = {"cpu": "x", "cores": 1, "isa": "avx2"}
    readme.update(tmp_path / "results", machine, results)
    return [x for x in (tmp_path / "README.md").read_text().splitlines() if x.startswith("| ")]


def test_readme_has_one_line_a_step_and_a_time_where_arrays_are_small(shown):
    table = shown[shown.index("| one thread | GB/s, or time | of the roof | x numpy | x torch |") :]
    assert table[2:] == [
        "| AdamW step, GradScaler, 64 MiB | 0.403 | 0.80 | 16 | 1.60 |",
        "| SGD step, 200 x 1000 | 80 us |  | 5.00 |  |",
    ]
