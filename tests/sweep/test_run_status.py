"""How far runs are, read from files alone."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from support import as_lines

from bn_repro.records import paths
from bn_repro.records.json_files import TAIL_BYTES
from bn_repro.records.reader import Outcome
from bn_repro.records.recorder import write_status
from bn_repro.sweep.run_status import RunRow, RunStatus, Statuses, run_status, time_left


def lay(directory, state, *, step=200, rows=(), error=None):
    """A run directory as training leaves it."""
    directory.mkdir(parents=True)
    write_status(directory, Outcome(state, step, 1.0, error=error))
    (directory / paths.METRICS).write_text(as_lines(rows))
    paths.lock_file(directory).touch()
    return directory


@pytest.fixture
def directory(tmp_path):
    """Where a run may lie."""
    return tmp_path / "mnist/bn-1/seed0"


def at(step, split="test", statistics="moving", top1=0.5):
    return {"step": step, "split": split, "statistics": statistics, "loss": 1.0, "top1": top1}


def test_a_run_without_a_directory_has_not_begun(directory):
    assert run_status(directory) == RunStatus("not begun")


def test_a_run_whose_lock_nobody_holds_is_interrupted(directory):
    lay(directory, "running", rows=[at(200), at(250, "train", "batch")])
    with FileLock(paths.lock_file(directory)):
        now = run_status(directory)
    assert (now.state, now.step, now.top1) == ("running", 250, 0.5)
    assert run_status(directory) == replace(now, state="interrupted")
    paths.lock_file(directory).unlink()
    assert run_status(directory).state == "interrupted"


def test_a_timed_step_without_its_accuracy_is_being_evaluated(directory):
    lay(directory, "running", rows=[at(100)])
    (directory / paths.TIMING).write_text('{"step": 100}\n{"step": 200}\n')
    with FileLock(paths.lock_file(directory)):
        assert run_status(directory).state == "evaluating"
        (directory / paths.METRICS).write_text(json.dumps(at(200)) + "\n")
        assert run_status(directory).state == "running"


def test_a_run_whose_last_accuracy_is_far_back_still_trains(directory):
    losses = [at(k, "train", "batch") for k in range(200, 2_000)]
    lay(directory, "running", rows=[at(200), *losses])
    (directory / paths.TIMING).write_text('{"step": 200}\n')
    assert (directory / paths.METRICS).stat().st_size > 2 * TAIL_BYTES
    with FileLock(paths.lock_file(directory)):
        assert run_status(directory).state == "running"


def test_the_rate_is_known_where_the_batch_is(directory):
    lay(directory, "running", rows=[at(100)])
    (directory / paths.TIMING).write_text('{"step": 100, "examples_per_second": 6000.0}\n')
    assert run_status(directory, 60).rate == 100.0
    assert run_status(directory).rate is None


def test_what_is_being_written_is_left_out(directory):
    lay(directory, "running", rows=[at(k) for k in range(1, 2_000)])
    with open(directory / paths.METRICS, "a") as file:
        file.write('{"step": 9999, "spl')
    assert (directory / paths.METRICS).stat().st_size > 2 * TAIL_BYTES
    assert run_status(directory).step == 1_999


def test_a_finished_run_has_its_accuracy_on_the_monitored_split(directory):
    last = [at(400, "val", top1=0.9), at(400, "test", top1=0.8), at(400, "train", top1=1.0)]
    lay(directory, "completed", step=400, rows=last)
    assert run_status(directory).top1 == 0.9


def test_an_unreadable_status_is_an_error(directory):
    lay(directory, "running")
    (directory / paths.STATUS).write_text("[")
    status = run_status(directory)
    assert status.state == "unreadable"
    assert str(directory / paths.STATUS) in (status.error or "")


def test_a_run_without_a_status_is_told_by_its_other_records(directory):
    lay(directory, "preempted", step=200, rows=[at(200)])
    (directory / paths.STATUS).unlink()
    statuses, row = Statuses(), RunRow("a run", directory, 400, 60)
    (now,) = statuses.read([row])
    assert now == run_status(directory, 60)
    assert (now.state, now.step, now.top1) == ("preempted", 200, 0.5)
    (directory / paths.METRICS).write_text(json.dumps(at(300)) + "\n")
    assert statuses.read([row])[0].step == 300
    assert statuses.read([replace(row, directory=directory / "x")]) == [RunStatus("not begun")]


def test_the_rate_is_that_between_two_readings(directory):
    def record(step, seconds):
        lines = as_lines(at(k, "train", "batch") for k in (step - 1, step))
        (directory / paths.METRICS).write_text(lines)
        for path in (directory / paths.METRICS, directory / paths.STATUS):
            os.utime(path, (seconds, seconds))

    lay(directory, "running", step=0)
    statuses, row = Statuses(), RunRow("a run", directory, 400, 60)
    with FileLock(paths.lock_file(directory)):
        record(100, 1000.0)
        assert statuses.read([row])[0].rate is None
        record(160, 1002.0)
        assert statuses.read([row])[0].rate == 30.0
        record(160, 1009.0)  # another record of the same step
        assert statuses.read([row])[0].rate == 30.0


def test_the_time_left_shares_the_work_among_those_at_work():
    def run(name, seed, steps=100):
        return RunRow(f"{name} {seed}", Path(name) / f"seed{seed}", steps, 60)

    rows = [run("a", 0), run("a", 1), run("a", 2), run("b", 0, steps=10)]
    statuses = [
        RunStatus("completed", 100, seconds=200.0),
        RunStatus("running", 50, rate=1.0),
        RunStatus("not begun"),
        RunStatus("evaluating", 5, rate=0.01),
    ]
    assert time_left(rows, statuses) == 500.0  # the longest of those at work
    slow = [*statuses[:3], RunStatus("evaluating", 5, rate=1.0)]
    all_of_them = {row.directory for row in rows}
    # 50 s and 5 s of those at work; 100 steps at the mean pace of their configuration, 2 s and 1 s
    assert time_left(rows, slow, all_of_them) == pytest.approx((50 + 5 + 150) / 2)
    assert time_left(rows, slow) == 50.0
    assert time_left(rows, [RunStatus("not begun")] * 4, all_of_them) is None
