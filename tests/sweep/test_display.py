"""What a log file gets to read: a line for each run's end, and nothing that markup could break."""

import io

import pytest
from rich.console import Console

from bn_repro.records.reader import Outcome
from bn_repro.sweep import display


def board():
    text = io.StringIO()
    return display.Board(Console(file=text, width=200)), text


def test_a_log_gets_a_line_for_each_run(monkeypatch):
    b, text = board()
    b.begin([100, 100], finished=1)
    for run in (0, 1):
        b.start(run, f"mnist/bn seed {run}", 100)
    b.step(0, step=50, top1=0.5)
    b.step(0, step=100, top1=0.9)
    b.end(0, "mnist/bn seed 0", Outcome("completed", 100, 61.0, 0.912))
    b.end(1, "mnist/bn seed 1", Outcome("failed", 7, 1.0, error="out of [luck]"))
    b.close()
    lines = text.getvalue().splitlines()
    assert lines[0] == "1 of 3 runs are already finished"
    assert lines[1] == "[2/3] mnist/bn seed 0: completed at step 100, 91.2 %, 1 min 01 s"
    assert lines[2] == "[3/3] mnist/bn seed 1: failed at step 7, 1 s: out of [luck]"


def test_a_log_is_told_now_and_then_of_what_goes_on(monkeypatch):
    b, text = board()
    b.begin([100], finished=0)
    b.start(0, "mnist/bn [hidden1]", 100)
    b.step(0, step=10)
    assert text.getvalue() == ""
    monkeypatch.setattr(display, "QUIET_SECONDS", 0)
    b.step(0, step=20)
    assert "mnist/bn [hidden1] at 20/100" in text.getvalue()


def test_a_log_is_told_of_many_runs_together(monkeypatch):
    monkeypatch.setattr(display, "QUIET_SECONDS", 0)
    b, text = board()
    b.begin([100] * 20, finished=0)
    for run in range(20):
        b.start(run, f"run {run}", 100)
        b.step(run, step=10)
    assert "20 runs at 200/2,000 steps in all; " in text.getvalue().splitlines()[-1]


def test_runs_that_failed_before_are_counted_apart():
    b, text = board()
    b.begin([100], finished=1, failed=2)
    b.start(0, "mnist/bn seed 0", 100)
    b.end(0, "mnist/bn seed 0", Outcome("completed", 100, 1.0))
    lines = text.getvalue().splitlines()
    assert lines[:2] == [
        "1 of 4 runs are already finished",
        "2 of 4 runs failed before; they are left alone",
    ]
    assert lines[2].startswith("[4/4]")


class Cell:
    """A notebook's output."""

    def __init__(self):
        self.shown = []

    def update(self, data, raw):
        assert raw
        self.shown.append(data["text/plain"])


def test_a_notebook_gets_bars_that_are_drawn_over_each_other(monkeypatch):
    cell = Cell()
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: cell)
    monkeypatch.setattr(display, "NOTEBOOK_SECONDS", 0)
    text = io.StringIO()
    b = display.Board(Console(file=text, force_jupyter=True, width=100))
    b.begin([100], finished=0)
    b.start(0, "mnist/bn seed 0", 100)
    b.step(0, step=25, top1=0.5)
    b.step(0, step=75, top1=0.75)
    b.close()
    assert ["25/100" in cell.shown[0], "75/100" in cell.shown[1]] == [True, True]
    assert "━" in cell.shown[1]
    assert "75.0 %" in cell.shown[1]
    assert cell.shown[-1].strip() == ""
    assert "\x1b" not in "".join(cell.shown)


def test_the_table_takes_any_text():
    text = io.StringIO()
    outcome = Outcome("failed", 3, 0.1, error="bad [/sub] tag")
    Console(file=text, width=200).print(display.table(["model.hidden=[100] seed 0"], [outcome]))
    assert "model.hidden=[100] seed 0" in text.getvalue()
    assert "failed: bad [/sub] tag" in text.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"), [(41.4, "41 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds, words):
    assert display.duration(seconds) == words
