"""A planned run of a study or a sweep, and what is known of its accuracy."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bn_repro.config.identity import run_id
from bn_repro.config.schema import Config, StudyConfig
from bn_repro.records import paths
from bn_repro.records.errors import Unreadable
from bn_repro.records.reader import Outcome, copy_warning, finished

Key = tuple[str, str, int]
"""Of a run: its experiment, its id, its seed."""


@dataclass(frozen=True)
class PlannedRun:
    """A run of a study or a sweep: its configuration, and what was varied to make it."""

    config: Config
    varied: dict[str, Any]
    common: frozenset[str] = frozenset()
    """The keys varied that all runs of its block share, and that no title needs."""
    blocks: tuple[str, ...] = ()
    """The names of the study's blocks that ask for it."""

    @cached_property
    def key(self) -> Key:
        """Which of all runs it is."""
        return self.config.experiment, run_id(self.config), self.config.seed

    @cached_property
    def directory(self) -> Path:
        """Its run directory."""
        return paths.run_directory(self.config.runs, *self.key)

    @property
    def title(self) -> str:
        """``mnist/bn optimizer.lr=0.3 seed 4``."""
        named = (item for item in self.varied.items() if item[0] not in self.common)
        varied = "".join(f" {key}={value}" for key, value in named)
        return f"{self.config.experiment}{varied} seed {self.config.seed}"


Accuracy = Callable[[PlannedRun], float | None]
"""The final accuracy of a finished run (0 where it diverged); None while it is not finished."""


def accuracy_of(run: PlannedRun) -> float | None:
    """The final accuracy of a finished run, from its directory, unless that is another's copy."""
    try:
        return None if copy_warning(run.directory) else _accuracy(finished(run.directory))
    except Unreadable:  # whoever is to train it says so
        return None


def _accuracy(done: Outcome | None) -> float | None:
    if done is None:
        return None
    return 0.0 if done.state == "diverged" else done.top1


def reported_outcomes(study: StudyConfig) -> dict[Key, Outcome]:
    """How the runs in the study's ``results/<study>/runs.csv`` ended.

    Empty unless the study is asked for with ``skip_reported``: then these runs count as done.
    """
    return rows_of(paths.RESULTS / study.name / "runs.csv") if study.skip_reported else {}


def rows_of(table: Path) -> dict[Key, Outcome]:
    """How the runs of a ``runs.csv`` ended; empty where there is none.

    ValueError where it is no such table.
    """
    found: dict[Key, Outcome] = {}
    try:
        with open(table, newline="") as file:
            for row in csv.DictReader(file):
                step, seconds = int(row.get("step") or 0), float(row.get("seconds") or 0)
                top1 = float(row["final_top1"]) if row["final_top1"] else None
                outcome = Outcome(row["state"], step, seconds, top1)
                found[row["experiment"], row["id"], int(row["seed"])] = outcome
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{table}: not rows of runs ({error}); restore it from git, or write it anew with "
            "bn-repro report"
        ) from None
    return found


def accuracy_or_reported(rows: Mapping[Key, Outcome]) -> Accuracy:
    """As :func:`accuracy_of`; for a run that is not finished here, its accuracy in ``rows``."""

    def accuracy(run: PlannedRun) -> float | None:
        found = accuracy_of(run)
        return _accuracy(rows.get(run.key)) if found is None else found

    return accuracy
