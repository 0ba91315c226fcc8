"""Train a run, a sweep (-m), or a study.

bn-repro train experiment=mnist/bn seed=0
bn-repro train experiment=mnist/bn optimizer.lr=0.5 model.init_std=0.05
bn-repro train -m 'experiment=glob(mnist/*)' 'optimizer.lr=choice(0.1,1.0)' seed=0,1,2
bn-repro train study=fig1
bn-repro train study=fig1 dry=true                       what it would train, and how long it takes
bn-repro train study=fig3 study.run=0 data.root=FOLDER   only its first run
bn-repro train --config-dir FOLDER experiment=mnist/mine a configuration of your own
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from bn_repro import stop_signal
from bn_repro.cli import dry
from bn_repro.cli.main import LAUNCHERS, overrides
from bn_repro.cli.refusals import (
    OF_THE_COMMAND,
    refuse_keys_of_a_study,
    refuse_launcher,
    refuse_studies,
    refuse_unread_folder,
)
from bn_repro.cli.results import Results
from bn_repro.config.identity import directory_of
from bn_repro.config.schema import Config, check
from bn_repro.records.files import archive_run, lock_or_refuse
from bn_repro.records.reader import Outcome
from bn_repro.sweep.console import log, new_console
from bn_repro.sweep.display import Display, updated
from bn_repro.sweep.planned import Key, PlannedRun, accuracy_or_reported, reported_outcomes
from bn_repro.sweep.run_status import RunRow
from bn_repro.sweep.scheduler import Executor, failed_before, run_all, with_one_engine
from bn_repro.sweep.study import accuracy_anew, every_run, expand, numbered
from bn_repro.training.finished import find_finished, finished_line
from bn_repro.training.world import launched_world

NextRuns = Callable[[bool], tuple[list[PlannedRun], bool]]
"""Gives the runs known by now, and whether these are all; True: as if no run had finished."""


def main(config: Config) -> int:
    """Train one run, or the runs of a study; the exit code."""
    if config.force and config.study.skip_reported:
        raise ValueError("study.skip_reported: skips what force=true would train; leave one out")
    done = None
    if not config.study.blocks:
        refuse_keys_of_a_study(config.study)
    elif config.study.run is not None:
        planned = numbered(config.study, overrides())
        (planned,) = with_one_engine([planned], every_run(config.study, overrides()))
        config, done = planned.config, reported_outcomes(config.study).get(planned.key)
    if not config.study.blocks:
        refuse_launcher()
        refuse_unread_folder([config])
        if config.dry:
            return dry.one_run(config, done)
        results = train_one(config, done)
    else:
        launcher = HydraConfig.get().launcher
        if not launcher._target_.startswith("hydra_plugins.bn_repro_launcher."):
            raise ValueError(LAUNCHERS)
        if config.dry:
            jobs = partial(instantiate(launcher).expected_jobs, config.study.jobs)
            return dry.study(config, overrides(), jobs)
        executor = instantiate(launcher).executor(config.study.jobs)
        results = train_study(config, overrides(), executor)
    results.log()
    return results.exit_code


def train_one(config: Config, finished: Outcome | None = None) -> Results:
    """One run in this process, unless it is known how it ``finished``."""
    check(config)
    world, results = launched_world(), Results(config, new_console())
    results.console.quiet = not world.main
    write = partial(log, results.console)
    title, directory = f"{config.experiment} seed {config.seed}", directory_of(config, world.size)
    in_agent = bool(os.environ.get("WANDB_SWEEP_ID"))  # which waits for W&B to show the run
    if finished is None and not config.force and world.size == 1 and not in_agent:
        finished = find_finished(config)
    if finished is not None:
        write(finished_line(config, directory, finished))
        results.add(title, directory, finished)
        return results
    write(f"{title}: {config.train.steps:,} steps, in {directory}")  # before torch takes seconds
    if world.size == 1:  # several stop together, once they can speak to each other
        stop_signal.check()
    from bn_repro.training.run import run

    row = RunRow(title, directory, config.train.steps, config.train.batch_size * world.size)
    display = Display([row], results.console, to_train={directory})
    with updated(display):
        outcome = run(config, log=write)
    display.end(row, outcome)
    results.add(title, directory, outcome)
    return results


def train_study(config: Config, own: Sequence[str], executor: Executor) -> Results:
    """The runs of a study, block after block where one depends on another."""
    own = [override for override in own if not override.startswith(OF_THE_COMMAND)]

    study, rows = config.study, reported_outcomes(config.study)
    accuracy = accuracy_or_reported(rows)

    def next_runs(anew: bool) -> tuple[list[PlannedRun], bool]:
        return expand(study, own, accuracy_anew(study, own, accuracy) if anew else accuracy)

    results = Results(config, new_console())
    if "scale=smoke" in own:
        seed = "each block's first seed, and " * (config.study.seeds is None)
        line = (
            f"scale=smoke takes {seed}the first and last value of each block's lists; all "
            "experiments, and values that another block needs, stay"
        )
        log(results.console, line)
    title, compared = f"study {study.name}", every_run(study, own)
    train_all(title, next_runs, executor, results, rows=rows, compared=compared)
    return results


def train_sweep(runs: Sequence[PlannedRun], executor: Executor, results: Results) -> list[Outcome]:
    """The runs of a ``-m`` sweep, or of a batch of it; their outcomes are added to ``results``."""
    refuse_studies(runs)
    plain = {"force": False, "retry": False, "on_failure": "continue"}
    runs = [replace(planned, config=replace(planned.config, **plain)) for planned in runs]
    train_all("sweep", lambda anew: (runs, True), executor, results, compared=runs)
    return [results.outcomes[planned.directory] for planned in runs]


def train_all(
    title: str,
    next_runs: NextRuns,
    executor: Executor,
    results: Results,
    *,
    compared: Sequence[PlannedRun],
    rows: Mapping[Key, Outcome] | None = None,
) -> None:
    """The runs that ``next_runs`` gives until these are all, or until ``results`` are ended.

    Those in ``rows`` are done, wherever they were trained. ``compared``: all whose numbers are set
    beside theirs, so that one engine serves them.
    """
    if launched_world().size > 1:
        raise ValueError("torchrun: give one experiment; a study or sweep starts its own processes")
    config, runs, complete = results.config, [], False
    skipped: dict[Path, Outcome] = {}
    while not complete and not results.ended:
        before, first = len(runs), not runs
        # With force: what later blocks have there now too, by the choices made before.
        there = next_runs(False)[0] if config.force and first else []
        runs, complete = next_runs(config.force and first)
        refuse_unread_folder([run.config for run in runs] if complete else [])
        if not complete and len(runs) == before:
            break  # runs that the next block needs did not finish
        if config.force:
            archive(list({r.directory: r for r in (*there, *runs)}.values()), executor, results)
        runs = with_one_engine(runs, compared)
        skipped |= {run.directory: rows[run.key] for run in runs if rows and run.key in rows}
        if not config.retry:
            skipped |= failed_before(runs)
        outcomes = run_all(
            runs,
            executor,
            results.console,
            title=title,
            on_failure=config.on_failure,
            skipped=skipped,
        )
        for run, outcome in zip(runs, outcomes, strict=True):
            results.add(run.title, run.directory, outcome)
            if outcome.state == "failed":
                skipped[run.directory] = outcome


def archive(runs: Sequence[PlannedRun], executor: Executor, results: Results) -> None:
    """Move existing runs aside, each at most once in a command.

    ValueError, and nothing is moved, where one could not train or is being trained.
    """
    anew = [planned for planned in runs if planned.directory not in results.archived]
    executor.preflight([replace(planned.config, force=True) for planned in anew])
    there = [planned.directory for planned in anew if planned.directory.exists()]
    for directory in there:
        with lock_or_refuse(directory):
            pass
    for directory in there:
        with lock_or_refuse(directory):
            archive_run(directory, partial(log, results.console))
    results.archived.update(planned.directory for planned in anew)
