"""What a person sees of runs that train: a table in a terminal and a notebook, lines in a log."""

import io
import json
import time
from dataclasses import replace

import pytest
from rich.console import Console

from bn_repro.records import paths
from bn_repro.records.reader import Outcome
from bn_repro.records.recorder import write_status
from bn_repro.sweep import display
from bn_repro.sweep.console import duration, log, print_table
from bn_repro.sweep.display import Display, table
from bn_repro.sweep.run_status import RunRow, RunStatus

TITLE = "mnist/bn optimizer.lr=0.003 model.init_std=0.001 seed 2"


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Three runs of 100 steps that have not begun; all locks are taken for held."""
    monkeypatch.setattr("bn_repro.sweep.run_status.is_locked", lambda directory: True)
    return [RunRow(f"mnist/bn [x] seed {k}", tmp_path / f"seed{k}", 100, 60) for k in range(3)]


def at(row, step, top1=None):
    """A run at ``step``, as its records have it."""
    row.directory.mkdir(exist_ok=True)
    write_status(row.directory, Outcome("running", 0, 0.0))
    with open(row.directory / paths.METRICS, "a") as file:
        for split, statistics, value in (("train", "batch", 0.1), ("test", "moving", top1)):
            line = {"step": step, "split": split, "statistics": statistics, "top1": value}
            if value is not None:
                file.write(json.dumps(line) + "\n")


def log_of(rows, title="sweep", **options):
    text = io.StringIO()
    to_train = {row.directory for row in rows}
    return Display(rows, Console(file=text, width=200), title, to_train, **options), text


def test_a_name_does_not_act_on_the_terminal(rows):
    title = "mnist/\x1b]0;owned\x07\x1b[2J\udcff"
    outcome = Outcome("failed", 1, 0.0, error="a/\x1b[2J.png: cannot be read")
    text = io.StringIO()
    console = Console(file=text, width=200)
    print_table(console, table([replace(rows[0], title=title)], [RunStatus("failed", 1)], 200))
    print_table(console, display.table_of_outcomes([title], [outcome]))
    log(console, title)
    assert "\x1b" not in text.getvalue()
    assert text.getvalue().count(r"mnist/\x1b]0;owned\x07\x1b[2J\udcff") == 3


def test_a_log_gets_a_line_for_each_run_that_ends(rows):
    d, text = log_of(rows)
    d.update()
    d.end(rows[0], Outcome("completed", 100, 61.0, 0.912))
    d.end(rows[1], Outcome("failed", 7, 1.0, error="out of [luck]"))
    d.end(rows[2], Outcome("preempted", 7, 1.0))
    d.close()
    assert text.getvalue().splitlines() == [
        "[1/3] mnist/bn [x] seed 0: completed at step 100, 91.2 %, 1 min 01 s",
        "[2/3] mnist/bn [x] seed 1: failed at step 7, 1 s: out of [luck]",
        "[3/3] mnist/bn [x] seed 2: stopped at step 7, 1 s",
    ]


def test_a_log_gets_sparse_lines_about_the_runs_at_work(rows, monkeypatch):
    d, text = log_of(rows[:2])
    at(rows[0], 10, top1=0.5)
    d.update()
    assert text.getvalue() == ""
    monkeypatch.setattr(display, "LOG_SECONDS", 0)
    monkeypatch.setattr(display, "LOG_SHARE", 0)
    monkeypatch.setattr(display, "REFRESH_SECONDS", 0)
    at(rows[0], 20)
    d.update()
    assert text.getvalue().startswith("mnist/bn [x] seed 0 at 20/100, 50.0 %; about ")
    (rows[0].directory / paths.TIMING).write_text('{"step": 20}\n')
    d.update()
    assert "at 20/100, 50.0 %, evaluating" in text.getvalue().splitlines()[1]
    monkeypatch.setattr(display, "MANY", 1)
    at(rows[1], 30)
    d.update()
    assert "2 runs at 50/200 steps in all" in text.getvalue().splitlines()[-1]


class Cell:
    """A notebook's output."""

    def __init__(self):
        self.drawn = []

    def update(self, data, raw):
        assert raw
        self.drawn.append(data["text/plain"])


def test_a_notebook_gets_a_table_that_is_redrawn(rows, monkeypatch):
    cell = Cell()
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: cell)
    monkeypatch.setattr(display, "REFRESH_SECONDS", 0)
    d = Display(rows[:1], Console(file=io.StringIO(), force_jupyter=True, width=100))
    for step, top1 in ((25, 0.5), (75, 0.75)):
        at(rows[0], step, top1)
        d.update()
    d.close()
    assert ["25/100" in cell.drawn[0], "75/100" in cell.drawn[1]] == [True, True]
    assert "━" in cell.drawn[1]
    assert "75.0 %" in cell.drawn[1]
    assert cell.drawn[-1].strip() == ""
    assert "\x1b" not in "".join(cell.drawn)


def test_a_thread_updates_while_this_one_trains(rows, monkeypatch):
    monkeypatch.setattr(display, "REFRESH_SECONDS", 0.01)
    text = io.StringIO()
    d = Display(rows[:1], Console(file=text, force_terminal=True, width=120, height=20))
    with display.updated(d):
        for _ in range(6_000):
            at(rows[0], 42)
            time.sleep(0.01)
            if "42/100" in text.getvalue():
                break
    assert "42/100" in text.getvalue()


def lines_of(rows, statuses, width=200):
    text = io.StringIO()
    console = Console(file=text, width=width)
    print_table(console, table(rows, statuses, width))
    return text.getvalue().splitlines()


def test_a_line_has_all_of_a_run(tmp_path):
    row = RunRow(TITLE, tmp_path, 400, 60)
    recorded = time.time() - 3
    header, line = lines_of([row], [RunStatus("running", 100, 0.912, 50.0, recorded)])
    assert header.split()[:2] == ["run", "state"]
    words = [TITLE, "running", "━━━━············", "100/400", "91.2 %", "6 s", "50.0/s", "3 s ago"]
    assert [part.strip() for part in line.split("  ") if part.strip()] == words
    header, line = lines_of([row], [RunStatus("completed", 400, 0.95, 50.0, recorded)])
    assert header.split() == ["run", "state", "step", "accuracy"]
    assert line.endswith("95.0 %")


@pytest.mark.parametrize("width", [80, 90, 100, 110, 140])
def test_titles_stay_whole_in_a_narrow_terminal(tmp_path, width):
    titles = [f"imagenet/bn_x5 model.width=0.5 data.held_out=5000 {k} seed 2" for k in range(2)]
    rows = [RunRow(title, tmp_path, 400, 60) for title in titles]
    status = RunStatus("interrupted", 100, 0.912, 50.0, time.time() - 500)
    lines = lines_of(rows, [status, status], width)
    assert max(map(len, lines)) <= width
    room = lines[0].index("state")
    assert (
        "".join(line[:room].strip() + " " for line in lines[1:]).split() == " ".join(titles).split()
    )
    assert sum("91.2 %" in line for line in lines) == 2


def test_a_small_screen_has_what_is_at_work_first(tmp_path):
    rows = [RunRow(f"run {k}", tmp_path, 400, 60) for k in range(100)]
    statuses = [RunStatus("completed", 400)] * 97
    statuses += [RunStatus("running", 5), RunStatus("failed", 5), RunStatus("not begun")]
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, height=12)
    console.print(Display(rows, console, "all").view(statuses))
    drawn = text.getvalue()
    assert drawn.index("run 97") < drawn.index("run 98") < drawn.index("run 99")
    assert "and 94 more: 94 completed" in drawn
    assert len(drawn.splitlines()) < 12


@pytest.mark.parametrize("height", [1, 5, 6, 9])
def test_a_screen_with_room_for_no_run_has_their_count(tmp_path, height):
    rows = [RunRow(f"run {k} " + "x" * 90, tmp_path, 400, 60) for k in range(9)]
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=height)
    with console.capture() as drawn:
        console.print(Display(rows, console, "all").view([RunStatus("running", 5)] * 9))
    assert "more: " in drawn.get()


def test_the_table_of_outcomes_takes_any_text():
    text = io.StringIO()
    outcome = Outcome("failed", 3, 0.1, error="bad [/sub] tag")
    made = display.table_of_outcomes(["model.hidden=[100] seed 0"], [outcome])
    print_table(Console(file=text, width=200), made)
    assert "model.hidden=[100] seed 0" in text.getvalue()
    assert "failed: bad [/sub] tag" in text.getvalue()
    assert all(line == line.rstrip() for line in text.getvalue().splitlines())


@pytest.mark.parametrize(
    ("seconds", "words"), [(41.4, "41 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words
