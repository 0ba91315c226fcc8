"""How far runs are, by their own records: nothing is written there, and no process is asked."""

from __future__ import annotations

import math
import os
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from bn_repro.records import paths, reader
from bn_repro.records.accuracy import Curve, final_accuracy, monitored_curve
from bn_repro.records.json_files import TAIL_BYTES, Row, number, read_tail
from bn_repro.records.reader import FINISHED

AT_WORK = ("running", "evaluating")
SHORT_TAIL = 4_096
"""Bytes that hold the last timed step, and the last evaluation of a finished run."""


@dataclass(frozen=True)
class RunRow:
    """A run to be displayed; its length in steps and its mini-batch in examples, 0 if unknown."""

    title: str
    directory: Path
    steps: int
    batch_size: int


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    ``state`` is that of ``status.json``, or ``not begun`` where there is none, ``evaluating``
    between two steps, ``interrupted`` where the file says ``running`` but no process holds the
    run's lock. ``top1`` is the last accuracy on the monitored split, ``rate`` is in steps a second,
    ``recorded`` the time of the last record in seconds since the epoch, ``seconds`` the run's time
    so far as its status has it.
    """

    state: str
    step: int = 0
    top1: float | None = None
    rate: float | None = None
    recorded: float | None = None
    seconds: float = 0.0
    error: str | None = None


def run_status(directory: Path, batch_size: int = 0) -> RunStatus:
    """The run in ``directory``; its rate is known where ``batch_size`` and a timed step are."""
    last = reader.last_status(directory)
    if last.state == reader.UNREADABLE:
        return RunStatus(last.state, error=last.error)
    names = (paths.STATUS, paths.METRICS, paths.TIMING)
    times = []
    for name in names:
        with suppress(OSError):  # not there yet, or moved aside by force=true
            times.append((directory / name).stat().st_mtime)
    if not times:
        return RunStatus("not begun")
    over = last.state in FINISHED
    rows = read_tail(directory / paths.METRICS, SHORT_TAIL if over else TAIL_BYTES)
    curve = monitored_curve(rows)
    top1 = final_accuracy(curve)
    status = RunStatus(
        last.state,
        last.step,
        top1=top1 if math.isfinite(top1) else None,
        recorded=max(times),
        seconds=last.seconds,
        error=last.error,
    )
    return status if over else _under_way(directory, status, rows, curve, batch_size)


def _under_way(
    directory: Path,
    status: RunStatus,
    rows: Sequence[Row],
    curve: Curve,
    batch_size: int,
) -> RunStatus:
    """What the rows say of a run that has not finished, beyond its ``status``."""
    timing = read_tail(directory / paths.TIMING, SHORT_TAIL)
    state, rate = status.state, None
    if timing and batch_size:
        rate = number(timing[-1].get("examples_per_second")) / batch_size
        rate = rate if rate > 0 else None
    step = max([status.step, *(row["step"] for row in rows)])
    evaluated = curve[-1][0] if curve else 0
    if state == "running" and not is_locked(directory):
        state = "interrupted"
    elif state == "running" and timing and evaluated < timing[-1]["step"] >= step:
        state = "evaluating"  # which begins with a row of timing, and ends with one of metrics
    return replace(status, state=state, step=step, rate=rate)


def is_locked(directory: Path) -> bool:
    """Whether a process works on the run; true where the system cannot tell."""
    try:
        import fcntl

        file = os.open(paths.lock_file(directory), os.O_RDONLY)
    except ImportError:
        return True
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(file)


class Statuses:
    """The statuses of runs that are read again and again: of ended runs when they change, of those
    at work with the rate at which steps were recorded since the first reading."""

    def __init__(self) -> None:
        self._ended: dict[Path, tuple[int, RunStatus]] = {}
        self._first: dict[Path, tuple[float, int]] = {}
        self._last: dict[Path, tuple[float, int]] = {}

    def read(self, rows: Sequence[RunRow]) -> list[RunStatus]:
        """The status of each run by now."""
        return [self._read(row) for row in rows]

    def _read(self, row: RunRow) -> RunStatus:
        try:
            changed = (row.directory / paths.STATUS).stat().st_mtime_ns
        except OSError:
            changed = None
        known = self._ended.get(row.directory)
        if known is not None and known[0] == changed:
            return known[1]
        status = run_status(row.directory, row.batch_size)
        if changed and status.state in (*FINISHED, "failed", "preempted"):
            self._ended[row.directory] = (changed, status)
        elif status.state in AT_WORK:
            status = replace(status, rate=self._rate(row.directory, status) or status.rate)
        return status

    def _rate(self, directory: Path, status: RunStatus) -> float | None:
        now = (status.recorded or 0.0, status.step)
        first = self._first.setdefault(directory, now)
        last = self._last.setdefault(directory, now)
        if status.step != last[1]:  # later records of the same step are those of its evaluation
            self._last[directory] = last = now
        steps, seconds = last[1] - first[1], last[0] - first[0]
        return steps / seconds if steps > 0 and seconds > 0 else None


def time_left(
    rows: Sequence[RunRow], statuses: Sequence[RunStatus], to_train: Container[Path] = ()
) -> float | None:
    """Seconds until the runs at work, and those ``to_train`` after them, have come to their end.

    The steps that are left, at the rate of their run or of runs like it, are shared by as many
    runs as are at work now. None where nothing is at work, or no rate is known yet.
    """
    known: dict[Path, list[float]] = {}
    for row, status in zip(rows, statuses, strict=True):
        pace = _seconds_a_step(status)
        if pace is not None:
            known.setdefault(row.directory.parent, []).append(pace)
    pace_of = {configuration: fmean(paces) for configuration, paces in known.items()}
    working: list[float] = []
    waiting: list[float] = []
    for row, status in zip(rows, statuses, strict=True):
        works = status.state in AT_WORK
        if status.state in FINISHED or not (works or row.directory in to_train):
            continue
        if not pace_of:
            return None
        pace = _seconds_a_step(status) or pace_of.get(row.directory.parent)
        pace = pace or fmean(pace_of.values())
        (working if works else waiting).append(pace * max(0, row.steps - status.step))
    if not working:
        return None
    return max(*working, sum(working + waiting) / len(working))


def _seconds_a_step(status: RunStatus) -> float | None:
    if status.state in AT_WORK:
        return 1 / status.rate if status.rate else None
    return status.seconds / status.step if status.state == "completed" and status.step else None
