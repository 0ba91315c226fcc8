"""How far runs are, read from their directories: nothing is written there, and nobody is asked."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bn_repro.config.schema import Config
from bn_repro.records import paths, reader

TAIL = 16_384
"""Bytes from the end of a record that hold its last rows."""
LAST = 4_096
"""The same, of a finished run: its last rows are those of its last step."""
FINISHED = ("completed", "diverged")


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
        status = reader.read_object(directory / paths.STATUS)
    except reader.Unreadable as error:
        begun = (directory / paths.STATUS).exists()
        return Look("unreadable", error=str(error)) if begun else Look("waiting")
    state, step = str(status.get("state")), status.get("step") or 0
    if state == "running" and locked(directory) is False:
        state = "interrupted"
    rows = _tail(directory / paths.METRICS, LAST if state in FINISHED else TAIL)
    last = {row.get("split"): row.get("top1") for row in rows if row.get("statistics") == "moving"}
    rate = None
    if state not in FINISHED:
        step = max([step, *(row.get("step", 0) for row in rows)])
        timing = _tail(directory / paths.TIMING, LAST)
        if timing and batch_size:
            rate = timing[-1].get("examples_per_second", 0.0) / batch_size or None
    names = (paths.STATUS, paths.METRICS, paths.TIMING)
    times = [p.stat().st_mtime for name in names if (p := directory / name).exists()]
    age = max(0.0, time.time() - max(times)) if times else None
    return Look(state, step, last.get("val", last.get("test")), rate, age, status.get("error"))


def _tail(path: Path, length: int) -> list[dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - length))
            lines = file.read().splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:  # the first may be cut, the last still being written
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows += [row] if isinstance(row, dict) else []
    return rows


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
    places, configs = [], []
    for directory in sorted(root.rglob("seed*")):
        seed = re.fullmatch(r"seed(\d+)", directory.name)
        run = re.fullmatch(r"(.+)-([0-9a-z]+)", directory.parent.relative_to(root).as_posix())
        if seed and run and directory.is_dir():
            places.append((run[1], int(seed[1]), directory))
            try:
                configs.append(_config(directory))
            except reader.Unreadable:
                configs.append({})
    if not places:
        raise ValueError(
            f"runs: no runs under {root} yet; train one (python scripts/train.py "
            f"experiment=mnist/bn), or say where they are with runs=..."
        )
    values: dict[tuple[str, str], set[str]] = {}
    for (experiment, _, _), config in zip(places, configs, strict=True):
        for key, value in config.items():
            values.setdefault((experiment, key), set()).add(repr(value))
    rows = []
    for (experiment, seed, directory), config in zip(places, configs, strict=True):
        told = (f" {k}={v}" for k, v in config.items() if len(values[experiment, k]) > 1)
        title = f"{experiment}{''.join(told)} seed {seed}"
        size = config.get("train.batch_size", 0)
        rows.append(Row(title, directory, config.get("train.steps", 0), size))
    return sorted(rows, key=lambda row: row.title)


@cache
def _config(directory: Path) -> dict[str, Any]:
    return reader.read_config(directory / paths.CONFIG)


def planned(config: Config, words: Sequence[str]) -> tuple[list[Row], bool]:
    """The runs of the study that are known by now, begun or not; and whether these are all."""
    from bn_repro.sweep.study import accuracy_of, expand  # torch comes with it

    runs, whole = expand(config.study, list(words), accuracy_of)
    lengths = ((r.config.train.steps, r.config.train.batch_size) for r in runs)
    rows = zip(runs, lengths, strict=True)
    return [Row(run.title, run.directory, *length) for run, length in rows], whole
