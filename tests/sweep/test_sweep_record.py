import json
import os
import signal
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.core.errors import LabError
from labsupport.sweep import Sweep, finished
from labsupport.sweep.record import key_of

TRIALS = [{"width": width, "seed": seed} for width in (1, 2, 4) for seed in (0, 1)]


def area(width, seed):
    return {"area": width * width + seed}


def area_but_not_of_two(width, seed):
    if width == 2:
        raise ValueError("two is too many")
    return area(width, seed)


def dies_at_four(width, seed):
    if width == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return area(width, seed)


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path / "sweep.jsonl")


def counted(table):
    return table.drop(columns="trial_seconds")


def test_a_row_for_each_trial_in_their_order(sweep):
    table = sweep.run(area, TRIALS)
    assert list(table["area"]) == [1, 2, 4, 5, 16, 17]
    assert list(table["error"]) == [""] * 6
    assert (table["trial_seconds"] >= 0).all()


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_gives_the_same_table(sweep, tmp_path, pool):
    here = sweep.run(area, TRIALS)
    with pool(2) as executor:
        there = Sweep(tmp_path / "other.jsonl").run(area, TRIALS, executor)
    pd.testing.assert_frame_equal(counted(here), counted(there))


def test_a_trial_that_fails_is_a_row_and_not_the_end(sweep):
    table = sweep.run(area_but_not_of_two, TRIALS)
    assert list(table["error"] != "") == [False, False, True, True, False, False]
    assert table["error"][2] == "ValueError: two is too many"
    assert table["area"].isna().tolist() == [False, False, True, True, False, False]


def test_figures_that_cannot_be_written_down_are_an_error(sweep):
    table = sweep.run(lambda width, seed: {"model": object()}, TRIALS[:1])
    assert "TypeError" in table["error"][0]


def test_only_what_is_missing_or_failed_runs_again(sweep):
    sweep.run(area_but_not_of_two, TRIALS[:4])
    called = []

    def remembered(width, seed):
        called.append((width, seed))
        return area(width, seed)

    table = sweep.run(remembered, TRIALS)
    assert called == [(2, 0), (2, 1), (4, 0), (4, 1)]
    assert list(table["area"]) == [1, 2, 4, 5, 16, 17]
    assert not table["error"].any()


def test_an_interrupted_sweep_keeps_the_trials_that_ended(sweep):
    def interrupted(width, seed):
        if width == 2:
            raise KeyboardInterrupt
        return area(width, seed)

    with pytest.raises(KeyboardInterrupt):
        sweep.run(interrupted, TRIALS)
    assert list(sweep.table()["area"]) == [1, 2]


def test_a_worker_that_dies_costs_no_finished_trial(sweep):
    with ProcessPoolExecutor(1) as executor, pytest.raises(LabError, match="run again"):
        sweep.run(dies_at_four, TRIALS, executor)
    assert list(sweep.table()["area"]) == [1, 2, 4, 5]
    assert len(sweep.run(area, TRIALS)) == 6


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"trial": {"width": 1, "seed": 1}}',
        b'{"trial": 3, "figures": {}, "error": "", "seconds": 0.1}',
        b'{"trial": {"width": 1, "seed": 1}, "figures": null, "error": "", "seconds": 0.1}',
        b'{"trial": {"width": \xff}}',
        b"\0" * 40,
        b"[]",
    ],
)
def test_a_damaged_line_is_passed_over_and_its_trial_run_again(sweep, damaged):
    whole = counted(sweep.run(area, TRIALS))
    lines = sweep.path.read_bytes().splitlines()
    sweep.path.write_bytes(b"\n".join([lines[0], damaged, *lines[2:]]))
    assert len(sweep.table()) == len(TRIALS) - 1
    pd.testing.assert_frame_equal(counted(sweep.run(area, TRIALS)), whole)


@pytest.mark.parametrize("torn", [1, 10, 40])
def test_a_torn_last_line_is_run_again(sweep, torn):
    whole = sweep.run(area, TRIALS)
    text = sweep.path.read_bytes()
    sweep.path.write_bytes(text[:-torn])
    if torn > 1:  # without its line feed alone, the line is whole
        assert len(sweep.table()) == len(TRIALS) - 1
    pd.testing.assert_frame_equal(counted(sweep.run(area, TRIALS)), counted(whole))
    for line in sweep.path.read_text().splitlines()[:-2]:
        json.loads(line)


def test_a_trial_that_json_does_not_know_is_refused(sweep):
    with pytest.raises(LabError, match="cannot be written"):
        sweep.run(area, [{"width": object(), "seed": 0}])
    assert not sweep.path.exists()


def test_no_trials_make_an_empty_table(sweep):
    assert sweep.run(area, []).empty


@given(
    st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=False) | st.none())
)
def test_the_order_of_arguments_is_no_matter(trial):
    assert key_of(trial) == key_of(dict(reversed(trial.items())))


def test_finished_gives_the_whole_table(sweep):
    table = finished(sweep.run(area, TRIALS))
    assert list(table["area"]) == [1, 2, 4, 5, 16, 17]
    assert "error" not in table


def test_a_sweep_in_which_trials_failed_is_not_finished_and_says_why(sweep):
    with pytest.raises(LabError, match=r"2 of 6 trials failed; the first: .*two is too many"):
        finished(sweep.run(area_but_not_of_two, TRIALS))
    with pytest.raises(LabError, match="without trials"):
        finished(sweep.table([]))


class Disconnected(Executor):
    """An executor that loses its workers after some trials, as one of Dask does: it cancels."""

    def submit(self, function, trial):
        future = Future()
        if trial["width"] == 1:
            future.set_result(function(trial))
        else:
            future.cancel()
            future.set_running_or_notify_cancel()
        return future


class Broken(Disconnected):
    """The same of a pool of processes: from then on it takes no trial."""

    def submit(self, function, trial):
        if trial["width"] > 1:
            raise BrokenExecutor("a process died")
        return super().submit(function, trial)


class Choosy(Disconnected):
    """An executor that cannot send some of the trials."""

    def submit(self, function, trial):
        if trial["width"] > 1:
            raise TypeError("cannot pickle it")
        return super().submit(function, trial)


@pytest.mark.parametrize(
    ("executor", "told"),
    [
        (Disconnected(), r"scheduler, are gone \(CancelledError"),
        (Broken(), r"scheduler, are gone \(Broken.* a process died"),
        (Choosy(), r"cannot be sent to the workers \(TypeError: cannot pickle it"),
    ],
)
def test_lost_workers_are_the_end_and_cost_no_finished_trial(sweep, executor, told):
    many = [{"width": width, "seed": seed} for seed in range(20) for width in (1, 2)]
    with pytest.raises(LabError, match=told):
        sweep.run(area, many, executor)
    assert sorted(sweep.table()["area"]) == list(range(1, 21))
    assert len(finished(sweep.run(area, many))) == len(many)


@pytest.mark.parametrize("name", ["width", "error", "trial_seconds"])
def test_a_figure_named_like_something_else_is_an_error(sweep, name):
    table = sweep.run(lambda width, seed: {name: 99}, TRIALS[:1])
    assert name in table["error"][0]
    assert table["width"][0] == 1


def test_the_same_trial_twice_runs_once(sweep):
    assert len(sweep.run(area, [TRIALS[0], TRIALS[0]])) == 1
    assert len(sweep.path.read_text().splitlines()) == 1


def test_a_trial_whose_own_code_has_changed_runs_again(sweep, tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text("WIDTH = 1")
    (tmp_path / "my_other_nets.py").write_text("WIDTH = 2")
    monkeypatch.syspath_prepend(tmp_path)
    trials = [{"model": name} for name in ("mlp", "my_nets:net", "my_other_nets:net")]
    called = []

    def trial(model):
        called.append(model)
        return {"calls": len(called)}

    assert list(sweep.run(trial, trials)["calls"]) == [1, 2, 3]
    assert list(sweep.run(trial, trials)["calls"]) == [1, 2, 3]
    (tmp_path / "my_nets.py").write_text("WIDTH = 3")
    assert list(sweep.table()["model"]) == ["mlp", "my_other_nets:net"]
    assert list(sweep.run(trial, trials)["calls"]) == [1, 4, 3]
    assert called[3:] == ["my_nets:net"]
