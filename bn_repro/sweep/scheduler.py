"""Brings many runs to their end; none can harm another.

An executor says where they work: as processes of this machine (``local.py``) or as jobs of a
cluster (``slurm.py``). A run that is killed, or fails, leaves the others running; its directory
says why, and running the command again resumes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from rich.console import Console

from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.records.errors import Unreadable
from bn_repro.records.reader import UNREADABLE, Outcome, last_status, last_top1
from bn_repro.stop_signal import StopFlag
from bn_repro.sweep.console import count_of, log
from bn_repro.sweep.display import Display
from bn_repro.sweep.planned import PlannedRun
from bn_repro.sweep.run_status import RunRow
from bn_repro.training.engine import unmet_requirements
from bn_repro.training.finished import find_finished, lacks_probes
from bn_repro.training.world import World

LOST = "its process ended"
"""The beginning of the error of a run that was killed, so did not fail by itself."""


class Worker(Protocol):
    """A run at work; its progress is in its records."""

    def stop(self) -> None:
        """Ask it to stop at its next step, with its state saved."""

    def ended(self) -> bool:
        """Whether it has come to an end."""
        ...

    def outcome(self, stopping: bool) -> Outcome:
        """How it ended; ``stopping`` where it had been asked to."""
        ...


class Executor(Protocol):
    """Where runs work."""

    def preflight(self, configs: Sequence[Config]) -> None:
        """ValueError for the first of ``configs`` that could not train there."""

    def has_room(self, run: PlannedRun, busy: int) -> bool:
        """Whether ``run`` may begin beside ``busy`` others."""
        ...

    def start(self, runs: Sequence[PlannedRun], busy: Sequence[Worker]) -> Sequence[Worker]:
        """Begin ``runs`` beside the ``busy``: a worker for each."""
        ...

    def wait(self, workers: Sequence[Worker]) -> None:
        """Until one of ``workers`` may have ended, or for a moment."""


def run_all(
    runs: Sequence[PlannedRun],
    executor: Executor,
    console: Console,
    *,
    title: str = "sweep",
    on_failure: str = "continue",
    skipped: Mapping[Path, Outcome] | None = None,
) -> list[Outcome]:
    """Bring all ``runs`` to their end; outcomes in the order given.

    Finished runs are not done again, nor are those whose directories are ``skipped`` (failed
    before, or done elsewhere); ValueError where one of the others could not train, before any
    begins. A signal, and a failure with ``on_failure="stop"``, ask the running ones to stop at
    their next step; those that had not begun are ``preempted`` at step 0.
    """
    outcomes: dict[int, Outcome] = {}
    for i, run in enumerate(runs):
        before = (skipped or {}).get(run.directory) or _found_finished(run)
        if before is not None:
            outcomes[i] = before
    waiting = [i for i in range(len(runs)) if i not in outcomes]
    log(console, f"{title}: {_counts(list(outcomes.values()), len(runs))}")
    unprobed = sum(lacks_probes(runs[i].config, runs[i].directory) for i in outcomes)
    if unprobed and not skipped:
        log(
            console,
            f"{title}: {count_of(unprobed, 'finished run')} without the probes that it asks for "
            "(force=true trains all of its runs again)",
        )
    for last in (last_status(runs[i].directory) for i in waiting):
        if last.state == UNREADABLE:
            log(console, str(last.error))
    to_train = {runs[i].directory for i in waiting}
    with StopFlag(patient=True).listening() as stop:
        if waiting:
            executor.preflight([runs[i].config for i in waiting])
        with closing(Display([row_of(r) for r in runs], console, title, to_train)) as display:
            outcomes |= _work(runs, waiting, executor, display, stop, on_failure)
    return [outcomes.get(i, Outcome("preempted", 0, 0.0)) for i in range(len(runs))]


def _work(
    runs: Sequence[PlannedRun],
    waiting: list[int],
    executor: Executor,
    display: Display,
    stop: StopFlag,
    on_failure: str,
) -> dict[int, Outcome]:
    """The outcomes of the runs that are ``waiting``, of those that began."""
    outcomes: dict[int, Outcome] = {}
    working: dict[int, Worker] = {}
    ending = asked = False
    if waiting:
        display.start()
    while working or (waiting and not ending):
        ending = ending or bool(stop)
        if ending and not asked:
            asked = True
            for worker in working.values():
                worker.stop()
        ready: list[int] = []
        busy = list(working.values())
        while (
            waiting
            and not ending
            and executor.has_room(runs[waiting[0]], len(working) + len(ready))
        ):
            ready.append(waiting.pop(0))
        if ready:
            workers = executor.start([runs[i] for i in ready], busy)
            working |= dict(zip(ready, workers, strict=True))
        executor.wait(list(working.values()))
        display.update()
        for i in [i for i, worker in working.items() if worker.ended()]:
            outcomes[i] = working.pop(i).outcome(ending)
            display.end(display.rows[i], outcomes[i])
            ending = ending or (on_failure == "stop" and outcomes[i].state == "failed")
    return outcomes


def with_one_engine(runs: Sequence[PlannedRun], compared: Sequence[PlannedRun]) -> list[PlannedRun]:
    """``runs``, whose numbers are ``compared``: eager where by_hand does not serve all of these.

    Networks of ``mnist/`` and of ``imagenet/`` are never compared. What asks for an engine keeps
    it, and so does a run that was begun.
    """
    unlike = {
        _family(run)
        for run in compared
        if unmet_requirements("by_hand", run.config, "cpu", World())
    }

    def eager(config: Config) -> Config:
        return replace(config, train=replace(config.train, engine="eager"))

    return [
        replace(run, config=eager(run.config))
        if _family(run) in unlike
        and run.config.train.engine == "auto"
        and not (run.directory / paths.MANIFEST).exists()
        else run
        for run in runs
    ]


def _family(run: PlannedRun) -> str:
    return run.config.experiment.partition("/")[0]


def _found_finished(run: PlannedRun) -> Outcome | None:
    """As :func:`find_finished`; what is wrong with one run's records is that run's failure."""
    try:
        return find_finished(run.config)
    except ValueError as error:
        return Outcome("failed", 0, 0.0, error=str(error), cause="other")


def row_of(run: PlannedRun) -> RunRow:
    """A planned run in the display."""
    train = run.config.train
    return RunRow(run.title, run.directory, train.steps, train.batch_size)


def _counts(before: Sequence[Outcome], count: int) -> str:
    failed = sum(outcome.state == "failed" for outcome in before)
    finished, rest = len(before) - failed, count - len(before)
    if not before:
        return f"{count_of(count, 'run')} to train"
    parts = [f"{finished} of {count_of(count, 'run')} are already finished"] * bool(finished)
    parts += [f"{failed} failed before (retry=true tries again)"] * bool(failed)
    parts += [f"{rest} to train"] * bool(rest)
    return ", ".join(parts)


def failed_before(runs: Sequence[PlannedRun]) -> dict[Path, Outcome]:
    """The directories of the runs that failed by themselves; a killed run did not."""
    last = {run.directory: last_status(run.directory) for run in runs}
    return {
        directory: outcome
        for directory, outcome in last.items()
        if outcome.state == "failed"
        and outcome.cause != "lost"
        and not str(outcome.error).startswith(LOST)  # of a version that recorded no cause
    }


def outcome_of(directory: Path) -> Outcome:
    """How a run ended whose process came to its own end, by its records."""
    last = last_status(directory)
    if last.state == "running":  # it was stopped while it waited for another process
        last = replace(last, state="preempted")
    if last.state in ("failed", UNREADABLE):  # its records may be what failed
        return replace(last, state="failed")
    try:
        return replace(last, top1=last_top1(directory))
    except Unreadable as error:
        return replace(last, state="failed", error=str(error), cause="other")
