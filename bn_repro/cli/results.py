"""How the runs of one command ended: their table, what to do next, the exit code."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from bn_repro.cli import COMPLETED, FAILED, PREEMPTED
from bn_repro.cli.errors import first_of
from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.records.reader import FINISHED, Outcome, passed_over, passed_over_line, quarantined
from bn_repro.sweep.console import count_of, log, print_table
from bn_repro.sweep.display import table_of_outcomes
from bn_repro.tracking.sent import destination_of, is_sent, tensorboard_command


class Results:
    """How the runs of one command ended; those of a ``-m`` sweep may come in batches."""

    def __init__(self, config: Config, console: Console) -> None:
        """``config`` is the command's, whose ``on_failure``, ``force`` and ``wandb`` count."""
        self.config, self.console = config, console
        self.outcomes: dict[Path, Outcome] = {}
        self.titles: dict[Path, str] = {}
        self.archived: set[Path] = set()
        """Of the runs that this command trains anew (``force``), those that it moved aside."""

    def add(self, title: str, directory: Path, outcome: Outcome) -> None:
        """Keep the outcome of a run, in place of one that it had before."""
        self.titles[directory], self.outcomes[directory] = title, outcome

    def of(self, state: str) -> list[Path]:
        """The directories of the runs that ended in ``state``."""
        return [path for path, outcome in self.outcomes.items() if outcome.state == state]

    @property
    def ended(self) -> bool:
        """Whether a signal, or a failure with ``on_failure=stop``, ended more than its own run."""
        stopping = self.config.on_failure == "stop" and self.of("failed")
        return bool(self.of("preempted") or stopping)

    @property
    def exit_code(self) -> int:
        """The first of 1, 75, 0 among the runs' own."""
        codes = {"failed": FAILED, "preempted": PREEMPTED}
        return first_of(*(codes.get(o.state, COMPLETED) for o in self.outcomes.values()), COMPLETED)

    def log(self) -> None:
        """Print the table of several runs, and what to do about those that need something."""
        if len(self.outcomes) > 1:
            titles = list(self.titles.values())
            print_table(self.console, table_of_outcomes(titles, list(self.outcomes.values())))
        self._log_unread_files()
        self._log_failures()
        if self.of("preempted"):
            without = " without force" * self.config.force
            log(self.console, f"stopped; run the same command again{without} to go on")
        self._log_wandb()
        self._log_tensorboard()

    def _log_failures(self) -> None:
        directories: dict[str, list[Path]] = {}
        for directory in self.of("failed"):
            directories.setdefault(self.outcomes[directory].error or "", []).append(directory)
        for error, failed in directories.items():
            traces = [t for d in failed if (t := d / paths.TRACEBACK).exists()]
            log(self.console, f"{len(failed)} failed: {error} ({[*traces, failed[0]][0]})")
        if directories and len(self.outcomes) > 1:
            log(self.console, "add retry=true to train failed runs again")

    def _log_unread_files(self) -> None:
        if len(self.outcomes) > 1:  # a run alone says so at its start
            found = filter(None, map(passed_over, self.outcomes))
            for line in dict.fromkeys(map(passed_over_line, found)):
                log(self.console, line)
        unread = {d: quarantined(d) for d, o in self.outcomes.items() if o.state != "failed"}
        files = {line for lines in unread.values() for line in lines}
        if files:
            most = max(unread, key=lambda directory: len(unread[directory]))
            log(
                self.console,
                f"{count_of(len(files), 'image file')} could not be read; the manifests of the "
                f"runs list them, {most / paths.MANIFEST} for one",
            )

    def _log_wandb(self) -> None:
        destination = destination_of(self.config)
        if destination.mode == "disabled" or os.environ.get("WANDB_SWEEP_ID"):
            return
        here = ((d, o) for d, o in self.outcomes.items() if d.exists())
        finished = [d for d, o in here if o.state in FINISHED]
        unsent = [directory for directory in finished if not is_sent(directory, destination)]
        if unsent:
            log(
                self.console,
                f"trained before, and not in W&B: {count_of(len(unsent), 'run')} ({unsent[0]}"
                f"{', ...' * (len(unsent) > 1)}); bn-repro publish sends finished runs",
            )
        if destination.mode == "offline" and len(unsent) < len(finished):
            log(self.console, f"To W&B: {destination.sync_command}")

    def _log_tensorboard(self) -> None:
        if self.config.logger != "tensorboard":
            return
        finished = [d for d, o in self.outcomes.items() if o.state in FINISHED and d.exists()]
        without = [directory for directory in finished if not (directory / paths.EVENTS).is_dir()]
        if without:
            log(
                self.console,
                f"trained before, and without event files: {count_of(len(without), 'run')} "
                f"({without[0]}{', ...' * (len(without) > 1)}); bn-repro publish "
                "logger=tensorboard writes them",
            )
        if len(without) < len(finished):
            log(self.console, f"To look: {tensorboard_command(self.config.runs)}")
