"""Show the progress of the runs of a study, or of all in the runs folder, one line and bar a run.

bn-repro status
bn-repro status fig1
bn-repro status live=false
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from bn_repro.cli import COMPLETED
from bn_repro.cli.main import overrides
from bn_repro.config.identity import arm_of, settings_of
from bn_repro.config.schema import Config
from bn_repro.records.errors import Unreadable
from bn_repro.records.reader import FINISHED, copy_warning, read_config, read_manifest
from bn_repro.records.search import find_runs
from bn_repro.sweep.console import log, new_console, print_table
from bn_repro.sweep.display import Display, label, summary, table
from bn_repro.sweep.planned import PlannedRun, accuracy_or_reported, reported_outcomes
from bn_repro.sweep.run_status import RunRow
from bn_repro.sweep.scheduler import row_of
from bn_repro.sweep.study import expand

REFRESH_SECONDS = 2.0
EXPAND_SECONDS = 30.0
"""A study whose later blocks wait for its earlier ones is expanded anew each so often."""


def main(config: Config) -> int:
    """Follow until all runs have finished; Ctrl-C ends it, and is no failure."""
    with suppress(KeyboardInterrupt):
        follow(config, overrides(), new_console())
    return COMPLETED


def follow(config: Config, own: Sequence[str], console: Console) -> None:
    """Print how far the runs are: once, or in a terminal until all have finished."""
    left_out: list[str] = []
    if config.study.blocks:
        title, rows_now = f"study {config.study.name}", rows_of_study(config, own)
        first, complete = rows_now(True)
    else:
        root = Path(config.runs)
        title, rows_now = str(root), lambda anew: (rows_under(root), True)
        first, complete = rows_under(root, left_out), True
    for line in left_out:
        log(console, line)
    view = Display(first, console, title)
    if not (config.live and console.is_terminal):
        statuses = view.statuses.read(view.rows)
        log(console, summary(title, view.rows, statuses))
        print_table(console, table(view.rows, statuses, console.width))
        for row, status in zip(view.rows, statuses, strict=True):
            if status.error:
                error = f"{label(status.state)}: {status.error}"
                log(console, f"{row.title}: {error} ({row.directory})")
        return
    view.start(keep=True)
    with closing(view):
        view.update()
        while True:
            ended = all(status.state in FINISHED for status in view.current)
            if ended and complete:
                break
            time.sleep(REFRESH_SECONDS)
            view.rows, complete = rows_now(ended)
            view.update()


def rows_of_study(
    config: Config, own: Sequence[str]
) -> Callable[[bool], tuple[list[RunRow], bool]]:
    """What gives the runs of a study that are known by now, begun or not, and whether these are
    all; True: look for those of later blocks at once."""
    accuracy = accuracy_or_reported(reported_outcomes(config.study))
    runs, complete, expanded = list[PlannedRun](), False, float("-inf")

    def rows(anew: bool) -> tuple[list[RunRow], bool]:
        nonlocal runs, complete, expanded
        if not complete and (anew or time.monotonic() - expanded > EXPAND_SECONDS):
            runs, complete = expand(config.study, list(own), accuracy)
            expanded = time.monotonic()
        return [row_of(run) for run in runs], complete

    return rows


def rows_under(root: Path, left_out: list[str] | None = None) -> list[RunRow]:
    """Every run under a runs directory, without copies.

    A title has the scale where it is not the usual one, and the keys that differ from the
    experiment's file. Where titles still coincide (the file may be gone), the keys follow in which
    their runs differ.
    """
    found = find_runs(root, left_out)
    copies = [
        run for run in found if _configuration(run.directory).get("seed") not in (None, run.seed)
    ]
    if left_out is not None:
        left_out += [f"{copy_warning(run.directory)}; it is left out" for run in copies]
    runs = [run for run in found if run not in copies]
    one_of = {run.directory.parent: run for run in reversed(runs)}
    arms = {folder: _arm(run.experiment, run.directory) for folder, run in one_of.items()}
    alike: dict[str, list[dict[str, Any]]] = {}
    for folder, arm in arms.items():
        alike.setdefault(arm, []).append(_settings(one_of[folder].directory))
    rows = []
    for run in runs:
        arm, values = arms[run.directory.parent], _settings(run.directory)
        differ = (k for k, v in values.items() if any(v != o.get(k, v) for o in alike[arm]))
        title = " ".join([arm, *(f"{key}={values[key]}" for key in differ), f"seed {run.seed}"])
        steps, size = values.get("train.steps", 0), values.get("train.batch_size", 0)
        rows.append(RunRow(title, run.directory, steps, size * _ranks(run.directory)))
    return sorted(rows, key=lambda row: row.title)


def _arm(experiment: str, directory: Path) -> str:
    return arm_of({"scale": "default", **_configuration(directory), "experiment": experiment})


def _settings(directory: Path) -> dict[str, Any]:
    return settings_of(_configuration(directory))


def _ranks(directory: Path) -> int:
    """How many ranks share each step; each has ``train.batch_size`` images of its own."""
    try:
        return _read_manifest(directory)["world"]
    except (Unreadable, KeyError):  # not kept: a run that begins has none for a moment
        return 1


_read_manifest = cache(read_manifest)


_read = cache(read_config)


def _configuration(directory: Path) -> dict[str, Any]:
    try:
        return _read(directory)
    except Unreadable:  # not kept: a run that begins has none for a moment
        return {}
