"""``dry=true``: what a run, a sweep or a study would take; nothing is trained, nothing written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from bn_repro.cli import COMPLETED
from bn_repro.cli.refusals import OF_THE_COMMAND, refuse_studies, refuse_unread_folder
from bn_repro.config.schema import Config, check
from bn_repro.records.reader import Outcome
from bn_repro.sweep.console import count_of, log, new_console, print_table
from bn_repro.sweep.forecast import Forecast
from bn_repro.sweep.planned import Key, PlannedRun, accuracy_or_reported, reported_outcomes
from bn_repro.sweep.study import accuracy_anew, expand
from bn_repro.training.world import launched_world


def one_run(config: Config, finished: Outcome | None = None) -> int:
    """Say what one run would take, unless it is known how it ``finished``."""
    if not config.experiment:
        check(config)
    config = replace(config, retry=True)  # one run that failed is tried again by itself
    run = PlannedRun(config, {})
    _tell("", [run], config, 1, rows={run.key: finished} if finished else None)
    return COMPLETED


def study(config: Config, own: Sequence[str], jobs: Callable[[Config], int | None]) -> int:
    """Say what the runs of a study would take; those that wait for a choice have any value.

    ``jobs``: how many runs like that of a configuration are at work at once.
    """
    own = [override for override in own if not override.startswith(OF_THE_COMMAND)]
    rows = reported_outcomes(config.study)
    accuracy = accuracy_or_reported(rows)
    if config.force:
        accuracy = accuracy_anew(config.study, own, accuracy)
    known, complete = expand(config.study, own, accuracy)
    runs = known if complete else expand(config.study, own, lambda run: accuracy(run) or 0.0)[0]
    title, later = f"study {config.study.name}", len(runs) - len(known)
    _tell(title, runs, config, jobs(runs[0].config), rows=rows, later=later)
    return COMPLETED


def sweep(runs: Sequence[PlannedRun], jobs: int | None) -> None:
    """Say what the runs of a ``-m`` sweep would take."""
    refuse_studies(runs)
    _tell("sweep", runs, runs[0].config, jobs)


def _tell(
    title: str,
    runs: Sequence[PlannedRun],
    config: Config,
    jobs: int | None,
    *,
    rows: Mapping[Key, Outcome] | None = None,
    later: int = 0,
) -> None:
    """Say what ``runs`` would take, and what they still need to be given."""
    if launched_world().size > 1:
        raise ValueError("dry: run it without torchrun")
    refuse_unread_folder([run.config for run in runs])
    write = partial(log, new_console())
    made = Forecast(runs, config, rows)
    write(f"{title or runs[0].title}: {made.summary}")
    if later:
        write(f"{count_of(later, 'run')} of a later block wait for a choice among the others")
    if len(runs) > 1:
        print_table(new_console(), made.table())
    write(f"time: {made.time(jobs)}")
    write(f"disk: {made.disk}")
    for line in dict.fromkeys(filter(None, map(_lacking, runs))):
        write(f"to be given before they train: {line}")
    write("dry=true: nothing was trained, and nothing written")


def _lacking(run: PlannedRun) -> str | None:
    """What would be refused of a run, before it looks at its data."""
    try:
        check(run.config)
    except ValueError as error:
        return str(error)
