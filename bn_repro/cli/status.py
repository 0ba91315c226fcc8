"""``scripts/status.py``: how far the runs of a study are, or all those under the runs directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from bn_repro.cli.errors import COMPLETED
from bn_repro.cli.main import overrides
from bn_repro.config.identity import at_scale, settings_of
from bn_repro.config.schema import Config
from bn_repro.records.reader import FINISHED, Unreadable, read_config
from bn_repro.records.search import find_runs
from bn_repro.sweep import display
from bn_repro.sweep.display import Display, label, log, print_table, summary, table
from bn_repro.sweep.run_status import Row
from bn_repro.sweep.scheduler import row_of
from bn_repro.sweep.study import accuracy_of, expand

REFRESH_SECONDS = 2.0
EXPAND_SECONDS = 30.0
"""A study whose later blocks wait for its earlier ones is expanded anew each so often."""


def main(config: Config) -> int:
    """Follow until all runs have finished; Ctrl-C ends it, and is no failure."""
    with suppress(KeyboardInterrupt):
        follow(config, overrides(), display.console())
    return COMPLETED


def follow(config: Config, own: Sequence[str], console: Console) -> None:
    """Print how far the runs are: once, or in a terminal until all have finished."""
    if config.study.blocks:
        title, rows_now = f"study {config.study.name}", rows_of_study(config, own)
    else:
        root = Path(config.runs)
        title, rows_now = str(root), lambda: rows_under(root)
    view = Display(rows_now(), console, title)
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
        while not all(status.state in FINISHED for status in view.current):
            time.sleep(REFRESH_SECONDS)
            view.rows = rows_now()
            view.update()


def rows_of_study(config: Config, own: Sequence[str]) -> Callable[[], list[Row]]:
    """What gives the runs of a study that are known by now, begun or not."""
    runs, complete = expand(config.study, list(own), accuracy_of)
    expanded = time.monotonic()

    def rows() -> list[Row]:
        nonlocal runs, complete, expanded
        if not complete and time.monotonic() - expanded > EXPAND_SECONDS:
            runs, complete = expand(config.study, list(own), accuracy_of)
            expanded = time.monotonic()
        return [row_of(run) for run in runs]

    return rows


def rows_under(root: Path) -> list[Row]:
    """Every run under a runs directory, titled by its scale, where it is not the usual one, and by
    what tells it from the others of its experiment and scale."""
    runs = find_runs(root)
    arms, settings = [], []
    for run in runs:
        scale, values = _configuration(run.directory)
        arms.append(at_scale(run.experiment, scale))
        settings.append(values)
    choices: dict[tuple[str, str], set[str]] = {}
    for arm, values in zip(arms, settings, strict=True):
        for key, value in values.items():
            choices.setdefault((arm, key), set()).add(repr(value))
    rows = []
    for run, arm, values in zip(runs, arms, settings, strict=True):
        varied = (f" {key}={v}" for key, v in values.items() if len(choices[arm, key]) > 1)
        title = f"{arm}{''.join(varied)} seed {run.seed}"
        steps, size = values.get("train.steps", 0), values.get("train.batch_size", 0)
        rows.append(Row(title, run.directory, steps, size))
    return sorted(rows, key=lambda row: row.title)


@cache
def _configuration(directory: Path) -> tuple[str, dict[str, Any]]:
    try:
        config = read_config(directory)
    except Unreadable:
        return "default", {}
    return config.get("scale", "default"), settings_of(config)
