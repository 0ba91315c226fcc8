"""How far runs are, told from files alone, for one look and for many."""

import io
import json
import os
import time
from dataclasses import replace

import pytest
import yaml
from filelock import FileLock
from rich.console import Console

from bn_repro.cli import status as command
from bn_repro.config.compose import compose
from bn_repro.records import paths, reader
from bn_repro.records.recorder import write_status
from bn_repro.sweep import status
from bn_repro.sweep.status import Look, Row
from bn_repro.training.run import run


def lay(root, name, state, *, step=200, steps=400, rows=(), error=None, **keys):
    """A run directory as training leaves it."""
    directory = root / "mnist" / name
    directory.mkdir(parents=True)
    train = {"steps": steps, "batch_size": 60}
    config = {"model": {}, "data": {}, "optimizer": keys, "train": train}
    (directory / paths.CONFIG).write_text(yaml.safe_dump(config))
    write_status(directory, state, step, 1.0, error)
    (directory / paths.METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths.lock_file(directory).touch()
    return directory


def at(step, split="test", statistics="moving", top1=0.5):
    return {"step": step, "split": split, "statistics": statistics, "loss": 1.0, "top1": top1}


def test_a_run_that_has_not_begun_waits(tmp_path):
    assert status.look(tmp_path / "none") == Look("waiting")


def test_a_run_whose_lock_nobody_holds_is_interrupted(tmp_path):
    directory = lay(tmp_path, "bn-1/seed0", "running", rows=[at(200), at(250, "train", "batch")])
    with FileLock(paths.lock_file(directory)):
        now = status.look(directory)
    assert (now.state, now.step, now.top1) == ("running", 250, 0.5)
    dead = status.look(directory)
    assert dead == replace(now, state="interrupted", age=dead.age)
    paths.lock_file(directory).unlink()
    assert status.look(directory).state == "interrupted"


def test_the_age_is_that_of_the_last_record(tmp_path):
    directory = lay(tmp_path, "bn-1/seed0", "preempted", rows=[at(200)])
    for path in directory.iterdir():
        long_ago = time.time() - 500
        os.utime(path, (long_ago, long_ago))
    age = status.look(directory).age
    assert age is not None
    assert 500 <= age < 510


def test_the_rate_is_told_where_the_batch_is_known(tmp_path):
    directory = lay(tmp_path, "bn-1/seed0", "running", rows=[at(100)])
    (directory / paths.TIMING).write_text('{"step": 100, "examples_per_second": 6000.0}\n')
    assert status.look(directory, 60).rate == 100.0
    assert status.look(directory).rate is None


def test_what_is_being_written_is_left_out(tmp_path):
    directory = lay(tmp_path, "bn-1/seed0", "running", rows=[at(k) for k in range(1, 500)])
    with open(directory / paths.METRICS, "a") as file:
        file.write('{"step": 999, "spl')
    assert (directory / paths.METRICS).stat().st_size > 2 * reader.TAIL_BYTES
    assert status.look(directory).step == 499


def test_a_finished_run_tells_what_it_was_followed_on(tmp_path):
    last = [at(400, "val", top1=0.9), at(400, "test", top1=0.8), at(400, "train", top1=1.0)]
    directory = lay(tmp_path, "bn-1/seed0", "completed", step=400, rows=last)
    assert status.look(directory).top1 == 0.9


def test_a_status_that_is_none_is_told(tmp_path):
    directory = lay(tmp_path, "bn-1/seed0", "running")
    (directory / paths.STATUS).write_text("[")
    seen = status.look(directory)
    assert seen.state == "unreadable"
    assert str(directory / paths.STATUS) in (seen.error or "")


def test_runs_are_found_with_what_tells_them_apart(tmp_path):
    lay(tmp_path, "bn-1/seed0", "completed", lr=0.1, momentum=0.0)
    lay(tmp_path, "bn-2/seed0", "completed", lr=0.3, momentum=0.0)
    lay(tmp_path, "bn-2/seed0.20260101-000000", "completed", lr=0.3)  # moved aside
    torn = lay(tmp_path, "baseline-3/seed11", "completed", lr=1.0)
    (torn / paths.CONFIG).unlink()
    rows = status.found(tmp_path)
    assert [row.title for row in rows] == [
        "mnist/baseline seed 11",
        "mnist/bn optimizer.lr=0.1 seed 0",
        "mnist/bn optimizer.lr=0.3 seed 0",
    ]
    assert [row.steps for row in rows] == [0, 400, 400]


def test_no_runs_yet_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=f"runs: no run directory under {tmp_path}; .* train one"):
        status.found(tmp_path)


def test_a_study_shows_runs_that_have_not_begun(tmp_path):
    words = ["scale=smoke", "train.steps=2", f"runs={tmp_path}"]
    run(compose(["experiment=mnist/bn", *words]), log=lambda line: None)
    config = compose(["study=fig1", *words])
    text = io.StringIO()
    command.show(config, words, Console(file=text, width=200))
    lines = text.getvalue().splitlines()
    assert lines[0] == "study fig1: 2 runs, 1 waiting, 1 completed"
    assert lines[2].split()[:4] == ["mnist/baseline", "seed", "0", "waiting"]
    assert "2/2" in lines[3]


def told(rows, looks, **options):
    text = io.StringIO()
    console = Console(file=text, **{"width": 200, **options})
    console.print(command.table(rows, looks, console.width))
    return text.getvalue().splitlines()[1:]


ROW = Row("mnist/bn optimizer.lr=0.003 model.init_std=0.001 seed 2", paths.Path("x"), 400, 60)


def test_a_line_tells_all_of_a_run():
    (line,) = told([ROW], [Look("running", 100, 0.912, 50.0, 3.0)])
    words = [
        ROW.title,
        "running",
        "━━━━············",
        "100/400",
        "91.2 %",
        "6 s",
        "50.0/s",
        "3 s ago",
    ]
    assert [part.strip() for part in line.split("  ") if part.strip()] == words
    (line,) = told([ROW], [Look("completed", 400, 0.95, 50.0, 3.0)])
    assert "ago" not in line
    assert "/s" not in line


@pytest.mark.parametrize("width", [80, 90, 100, 140])
def test_a_line_fits_and_keeps_the_end_of_its_title(width):
    (line,) = told([ROW], [Look("interrupted", 100, 0.912, 50.0, 500.0)], width=width)
    assert len(line) <= width
    assert "seed 2  interrupted  ━━" in line
    assert "91.2 %" in line


def test_a_log_is_told_once_with_the_errors(tmp_path):
    lay(tmp_path, "bn-1/seed0", "failed", error="OSError: [disk] full")
    text = io.StringIO()
    config = replace(compose([]), runs=str(tmp_path))
    command.show(config, [], Console(file=text, width=200))
    lines = text.getvalue().splitlines()
    assert lines[0] == f"{tmp_path}: 1 run, 1 failed"
    assert lines[-1] == (
        f"mnist/bn seed 0: failed: OSError: [disk] full ({tmp_path}/mnist/bn-1/seed0)"
    )


def screen(height=20):
    text = io.StringIO()
    return Console(file=text, force_terminal=True, width=120, height=height), text


def test_a_terminal_is_followed_until_all_have_ended(tmp_path, monkeypatch):
    directory = lay(tmp_path, "bn-1/seed0", "preempted", step=100)
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        write_status(directory, "completed" if len(naps) > 1 else "preempted", 400, 2.0)

    monkeypatch.setattr(command.time, "sleep", sleep)
    console, text = screen()
    command.show(replace(compose([]), runs=str(tmp_path)), [], console)
    assert len(naps) == 2
    assert "completed" in text.getvalue()


def test_a_small_screen_shows_what_is_at_work_first(tmp_path):
    rows = [replace(ROW, title=f"run {k}") for k in range(100)]
    looks = [Look("completed", 400)] * 97 + [Look("running", 5), Look("failed", 5), Look("waiting")]
    console, text = screen(height=12)
    console.print(command.view("all", rows, looks, console))
    shown = text.getvalue()
    assert shown.index("run 97") < shown.index("run 98") < shown.index("run 99")
    assert "and 94 more: 94 completed (live=false tells of all)" in shown
    assert len(shown.splitlines()) < 12


def test_looking_changes_nothing(tmp_path):
    for k, state in enumerate(("running", "completed", "failed")):
        lay(tmp_path, f"bn-1/seed{k}", state, rows=[at(200)])

    def everything():
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")}

    before = everything()
    command.show(replace(compose([]), runs=str(tmp_path)), [], Console(file=io.StringIO()))
    assert everything() == before


def test_six_hundred_runs_take_little_time(tmp_path):
    rows = [at(k, split) for k in range(0, 4000, 100) for split in ("train", "test")]
    for k in range(600):
        state = "running" if k < 4 else "completed"
        lay(tmp_path, f"bn-{k // 3}/seed{k % 3}", state, rows=rows, lr=float(k // 3))
    config = replace(compose([]), runs=str(tmp_path))
    text = io.StringIO()
    begun = time.process_time()  # other work on the machine must not fail this
    command.show(config, [], Console(file=text, width=200))
    assert time.process_time() - begun < 1.5
    assert len(text.getvalue().splitlines()) == 602


def test_a_rate_is_measured_between_two_looks(tmp_path, monkeypatch):
    directory = lay(tmp_path, "bn-1/seed0", "running", step=100)
    clock = [10.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: clock[0])
    seen = command.Watch()
    row = replace(ROW, directory=directory)
    with FileLock(paths.lock_file(directory)):
        assert seen.look(row).rate is None
        write_status(directory, "running", 160, 1.0)
        clock[0] = 12.0
        assert seen.look(row).rate == 30.0
