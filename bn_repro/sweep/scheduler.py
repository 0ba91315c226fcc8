"""Many runs at once, none of which can harm another.

A crew is where they go: the processes of this machine here, a cluster's jobs in ``cluster.py``. A
run that is killed, or fails, leaves the others running; its directory says why, and asking again
resumes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from bn_repro.config.schema import Config
from bn_repro.records.reader import Outcome, last_status
from bn_repro.sweep.display import Board
from bn_repro.sweep.study import PlannedRun
from bn_repro.training.finished import find_finished
from bn_repro.training.stop_signal import StopFlag

LOST = "its process ended"
"""How the error begins of a run that was killed, and so has not failed of itself."""


class Worker(Protocol):
    """A run in progress."""

    seen: dict[str, Any]
    """Its last ``step`` and ``top1``; empty while it waits to begin."""

    def listen(self) -> None:
        """Bring ``seen`` up to date."""
        ...

    def stop(self) -> None:
        """Ask it to stop at its next step, with its state saved."""
        ...

    def over(self) -> bool:
        """Whether it has come to an end."""
        ...

    def outcome(self, stopping: bool) -> Outcome:
        """How it ended; ``stopping`` where it had been asked to."""
        ...


class Executor(Protocol):
    """Where runs go to work."""

    def preflight(self, configs: Sequence[Config]) -> None:
        """ValueError for the first of ``configs`` that could not train there."""
        ...

    def room(self, run: PlannedRun, busy: int) -> bool:
        """Whether ``run`` may begin beside ``busy`` others."""
        ...

    def start(self, runs: Sequence[PlannedRun], busy: Sequence[Worker]) -> Sequence[Worker]:
        """Send ``runs`` to work, beside the ``busy``."""
        ...

    def wait(self, workers: Sequence[Worker]) -> None:
        """Until one of ``workers`` may have news, or for a moment."""
        ...


def run_all(
    runs: Sequence[PlannedRun],
    board: Board,
    crew: Executor,
    *,
    on_failure: str = "continue",
    left: Mapping[Path, Outcome] | None = None,
) -> list[Outcome]:
    """Bring all ``runs`` to their end; outcomes in the order given.

    Finished runs are not done again, nor are those of the directories in ``left``, failed before;
    ValueError where one of the others could not train, before any begins. A signal, and a failure
    with ``on_failure="stop"``, ask the running ones to stop at their next step; those that had not
    begun are ``preempted`` at step 0.
    """
    outcomes: dict[int, Outcome] = {}
    for i, run in enumerate(runs):
        done = (left or {}).get(run.directory) or find_finished(run.config)
        if done is not None:
            outcomes[i] = done
    waiting = [i for i in range(len(runs)) if i not in outcomes]
    if waiting:
        crew.preflight([runs[i].config for i in waiting])
    failed = sum(o.state == "failed" for o in outcomes.values())
    steps = [runs[i].config.train.steps for i in waiting]
    board.begin(steps, finished=len(outcomes) - failed, failed=failed)
    working: dict[int, Worker] = {}
    shown: set[int] = set()
    ending = told = False
    with closing(board), StopFlag(patient=True).listening() as stop:
        while working or (waiting and not ending):
            ending = ending or bool(stop)
            if ending and not told:
                told = True
                for worker in working.values():
                    worker.stop()
            ready: list[int] = []
            while waiting and not ending and crew.room(runs[waiting[0]], len(working) + len(ready)):
                ready.append(waiting.pop(0))
            if ready:
                begun = crew.start([runs[i] for i in ready], list(working.values()))
                working |= dict(zip(ready, begun, strict=True))
            crew.wait(list(working.values()))
            for i, worker in list(working.items()):
                over = worker.over()  # asked before its last words are heard, or they were lost
                worker.listen()
                if i not in shown and (worker.seen or over):
                    board.start(i, runs[i].title, runs[i].config.train.steps)
                    shown.add(i)
                if worker.seen:
                    board.step(i, **worker.seen)
                if over:
                    outcomes[i] = worker.outcome(ending)
                    board.end(i, runs[i].title, outcomes[i])
                    ending = ending or (on_failure == "stop" and outcomes[i].state == "failed")
                    del working[i]
    for i in waiting:
        outcomes[i] = Outcome("preempted", 0, 0.0)
    return [outcomes[i] for i in range(len(runs))]


def failed_before(runs: Sequence[PlannedRun]) -> dict[Path, Outcome]:
    """The runs that failed of themselves, by their directories; one that was killed did not."""
    last = {run.directory: last_status(run.directory) for run in runs}
    return {
        directory: outcome
        for directory, outcome in last.items()
        if outcome.state == "failed"
        and outcome.cause != "lost"
        and not str(outcome.error).startswith(LOST)  # of a version that recorded no cause
    }
