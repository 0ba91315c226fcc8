"""How far runs are, read from their directories: nothing is written there, and nobody is asked."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bn_repro.config.identity import settings_of
from bn_repro.config.schema import Config
from bn_repro.records import paths, reader, search
from bn_repro.records.reader import FINISHED

LAST = 4_096
"""Bytes from the end of a finished run's records: its last rows are those of its last step."""


@dataclass(frozen=True)
class Look:
    """What the files of a run say.

    ``state`` is that of its status, or ``waiting`` where it has none yet, or ``interrupted`` where
    it says ``running`` and no process holds its lock; ``rate`` is in steps a second, ``age`` in
    seconds since its last record.
    """

    state: str
    step: int = 0
    top1: float | None = None
    rate: float | None = None
    age: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Row:
    """A run to be shown."""

    title: str
    directory: Path
    steps: int
    batch_size: int


def look(directory: Path, batch_size: int | None = None) -> Look:
    """The run in ``directory``; its rate is known where the examples of a step are."""
    try:
        status = reader.read_status(directory)
    except reader.Unreadable as error:
        return Look("unreadable", error=str(error))
    if not status:
        return Look("waiting")
    state, step = str(status.get("state")), status.get("step") or 0
    if state == "running" and locked(directory) is False:
        state = "interrupted"
    length = LAST if state in FINISHED else reader.TAIL_BYTES
    rows = reader.read_tail(directory / paths.METRICS, length)
    top1 = reader.final_accuracy(reader.monitored_curve(rows))
    rate = None
    if state not in FINISHED:
        step = max([step, *(row.get("step", 0) for row in rows)])
        timing = reader.read_tail(directory / paths.TIMING, LAST)
        if timing and batch_size:
            rate = timing[-1].get("examples_per_second", 0.0) / batch_size or None
    names = (paths.STATUS, paths.METRICS, paths.TIMING)
    times = [p.stat().st_mtime for name in names if (p := directory / name).exists()]
    age = max(0.0, time.time() - max(times)) if times else None
    return Look(state, step, top1 if math.isfinite(top1) else None, rate, age, status.get("error"))


def locked(directory: Path) -> bool | None:
    """Whether a process works on the run; None where the system cannot tell."""
    try:
        import fcntl

        file = os.open(paths.lock_file(directory), os.O_RDONLY)
    except ImportError:
        return None
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(file)


def found(root: Path) -> list[Row]:
    """Every run under a runs directory, by what tells it from others of its experiment."""
    places = search.find_runs(root)
    configs = []
    for run in places:
        try:
            configs.append(_config(run.directory))
        except reader.Unreadable:
            configs.append({})
    values: dict[tuple[str, str], set[str]] = {}
    for run, config in zip(places, configs, strict=True):
        for key, value in config.items():
            values.setdefault((run.experiment, key), set()).add(repr(value))
    rows = []
    for run, config in zip(places, configs, strict=True):
        told = (f" {k}={v}" for k, v in config.items() if len(values[run.experiment, k]) > 1)
        title = f"{run.experiment}{''.join(told)} seed {run.seed}"
        size = config.get("train.batch_size", 0)
        rows.append(Row(title, run.directory, config.get("train.steps", 0), size))
    return sorted(rows, key=lambda row: row.title)


@cache
def _config(directory: Path) -> dict[str, Any]:
    return settings_of(reader.read_config(directory))


def planned(config: Config, words: Sequence[str]) -> tuple[list[Row], bool]:
    """The runs of the study that are known by now, begun or not; and whether these are all."""
    from bn_repro.sweep.study import accuracy_of, expand  # torch comes with it

    runs, whole = expand(config.study, list(words), accuracy_of)
    lengths = ((r.config.train.steps, r.config.train.batch_size) for r in runs)
    rows = zip(runs, lengths, strict=True)
    return [Row(run.title, run.directory, *length) for run, length in rows], whole
