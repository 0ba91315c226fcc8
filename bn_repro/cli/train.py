"""What ``scripts/train.py`` does: a run, a sweep or a study, and how it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from rich.console import Console

from bn_repro.cli import main as command_line
from bn_repro.cli.errors import COMPLETED, FAILED, PREEMPTED
from bn_repro.cli.main import words
from bn_repro.config.schema import Config, check
from bn_repro.records import paths
from bn_repro.records.files import archive_run, lock_or_refuse
from bn_repro.records.reader import Outcome, quarantined
from bn_repro.sweep import display
from bn_repro.sweep.scheduler import Executor, failed_before, run_all
from bn_repro.sweep.study import PlannedRun, accuracy_of, expand, numbered
from bn_repro.training.world import launched_world

OF_THE_WHOLE = ("force=", "retry=", "on_failure=")
"""Words about a study, not about its runs."""

swept: list[tuple[PlannedRun, Outcome]] = []
"""The runs of this command's sweep, which may come in batches."""


def main(config: Config) -> int:
    """One run, or the runs of a study: their exit code."""
    if config.study.run is not None:
        config = numbered(config.study, words()).config
    if config.study.blocks:
        launcher = HydraConfig.get().launcher
        if not launcher._target_.startswith("hydra_plugins.bn_repro_launcher."):
            raise ValueError("hydra/launcher: give cores, submitit_local or submitit_slurm")
        return train_study(config, words(), instantiate(launcher).crew(config.study.jobs))
    check(config)
    return train_one(config)


def train_one(config: Config) -> int:
    """One run in this process."""
    title = f"{config.experiment} seed {config.seed}"
    console = display.console()
    console.quiet = not launched_world().main
    board = display.Board(console)
    board.begin([config.train.steps], finished=0)
    board.start(0, title, config.train.steps)
    say = partial(board.console.print, soft_wrap=True, highlight=False, markup=False)
    from bn_repro.training.run import run  # torch

    try:
        outcome = run(config, progress=lambda step, v: board.step(0, step=step, **v), log=say)
    finally:
        board.close()
    board.end(0, title, outcome)
    return code_of([outcome])


def train_study(config: Config, own: Sequence[str], crew: Executor) -> int:
    """The runs of a study, block after block where one depends on another."""
    one_process()
    console = display.console()
    fresh: set[Path] = set()
    left: dict[Path, Outcome] = {}
    own = [word for word in own if not word.startswith(OF_THE_WHOLE)]
    whole, over, runs, outcomes = False, False, [], []
    while not whole and not over:
        before = len(runs)
        known = config.force and not fresh
        runs, whole = expand(config.study, own, (lambda run: None) if known else accuracy_of)
        if not whole and len(runs) == before:
            break  # runs that the next block needs did not finish
        if config.force:
            renew(runs, fresh, crew, console)
        if not config.retry:
            left |= failed_before(runs)
        board = display.Board(console)
        outcomes = run_all(runs, board, crew, on_failure=config.on_failure, left=left)
        left |= {r.directory: o for r, o in zip(runs, outcomes, strict=True) if o.state == "failed"}
        over = is_over(outcomes, config.on_failure)
    tell(runs, outcomes, console)
    code = code_of(outcomes, config.on_failure)
    if code == PREEMPTED:
        console.print(
            f"stopped; the same command{' without force' * config.force} goes on from here"
        )
    return code


def one_process() -> None:
    """ValueError under torchrun."""
    if launched_world().size > 1:
        raise ValueError("torchrun: give one experiment; a study or a sweep starts its own runs")


def renew(runs: Sequence[PlannedRun], fresh: set[Path], crew: Executor, console: Console) -> None:
    """Move the runs that lie there out of the way, each once for one command.

    ValueError, and nothing is moved, where one could not train or is being trained.
    """
    anew = [planned for planned in runs if planned.directory not in fresh]
    crew.preflight([planned.config for planned in anew])
    there = [planned.directory for planned in anew if planned.directory.exists()]
    for directory in there:
        with lock_or_refuse(directory):
            pass
    for directory in there:
        with lock_or_refuse(directory):
            archive_run(directory, partial(console.print, highlight=False, markup=False))
    fresh.update(planned.directory for planned in anew)


def train_sweep(runs: Sequence[PlannedRun], crew: Executor) -> tuple[list[Outcome], bool]:
    """The runs of a ``-m`` sweep, or of a batch of it; and whether no other batch may follow."""
    one_process()
    console = display.console()
    if not runs:
        raise ValueError("-m: nothing to run; what was given stands for no value at all")
    if any(planned.config.study.blocks for planned in runs):
        raise ValueError("-m: a study is a sweep of its own; give study=... without -m")
    asked = runs[0].config
    plain = {"force": False, "retry": False, "on_failure": "continue"}
    runs = [replace(planned, config=replace(planned.config, **plain)) for planned in runs]
    if asked.force:
        renew(runs, set(), crew, console)
    left = {} if asked.retry else failed_before(runs)
    board = display.Board(console)
    outcomes = run_all(runs, board, crew, on_failure=asked.on_failure, left=left)
    if command_line.last_words is None:
        swept.clear()
    swept.extend(zip(runs, outcomes, strict=True))
    all_runs, all_outcomes = zip(*swept, strict=True)
    command_line.exit_code = code_of(all_outcomes, asked.on_failure)
    command_line.last_words = partial(tell, all_runs, all_outcomes, console)
    return outcomes, is_over(outcomes, asked.on_failure)


def tell(runs: Sequence[PlannedRun], outcomes: Sequence[Outcome], console: Console) -> None:
    """The table of the runs, the files that they could not read, and what to do of failures."""
    say = partial(console.print, soft_wrap=True, highlight=False, markup=False)
    console.print(display.table([r.title for r in runs], outcomes))
    read = [r.directory for r, o in zip(runs, outcomes, strict=True) if o.state != "failed"]
    unread = {directory: quarantined(directory) for directory in read}
    files = {line for lines in unread.values() for line in lines}
    if files:
        most = max(unread, key=lambda directory: len(unread[directory]))
        say(
            f"{len(files)} image file{'s' * (len(files) > 1)} could not be read; the manifests of "
            f"the runs tell which, {most}/{paths.MANIFEST} for one"
        )
    failed = failed_before(runs)
    if failed:
        say(
            f"{len(failed)} failed; {next(iter(failed))}/{paths.TRACEBACK} tells why; "
            "retry=true tries again"
        )


def is_over(outcomes: Sequence[Outcome], on_failure: str) -> bool:
    """Whether a signal, or a failure, ended more than its own run."""
    states = {o.state for o in outcomes}
    return "preempted" in states or (on_failure == "stop" and "failed" in states)


def code_of(outcomes: Sequence[Outcome], on_failure: str = "continue") -> int:
    """0 where all completed or diverged, 75 where one was stopped, else 1."""
    states = {o.state for o in outcomes}
    if "failed" in states and (on_failure == "stop" or "preempted" not in states):
        return FAILED
    return PREEMPTED if "preempted" in states else COMPLETED
