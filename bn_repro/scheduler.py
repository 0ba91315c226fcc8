"""Many runs on one machine: each a process of its own, so that none can harm another.

A run that is killed, or fails, leaves the others running; its directory says why, and asking again
resumes it.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from bn_repro.distributed import StopFlag
from bn_repro.experiment import finished
from bn_repro.experiment import run as run_experiment
from bn_repro.progress import Board
from bn_repro.record import last_top1
from bn_repro.study import Planned
from bn_repro.train import Outcome


@dataclass
class Worker:
    """A run in progress."""

    run: Planned
    process: BaseProcess
    pipe: Connection
    outcome: Outcome | None = None
    seen: dict[str, Any] = field(default_factory=dict)


def run_all(runs: Sequence[Planned], board: Board, jobs: int | None = None) -> list[Outcome]:
    """Bring all ``runs`` to their end, ``jobs`` at a time; outcomes in the order given.

    Finished runs are not done again. A signal asks the running ones to stop at their next step;
    those that had not begun are ``preempted`` at step 0.
    """
    outcomes: dict[int, Outcome] = {}
    waiting = []
    for i, run in enumerate(runs):
        done = None if run.config.force else finished(run.directory)
        if done is None:
            waiting.append(i)
        else:
            outcomes[i] = Outcome(done.state, done.step, done.seconds, last_top1(run.directory))
    board.begin([runs[i].config.train.steps for i in waiting], finished=len(outcomes))
    context = _context()
    working: dict[int, Worker] = {}
    with StopFlag().listening() as stop:
        told = False
        while working or (waiting and not stop):
            while waiting and not stop and len(working) < _jobs(runs[waiting[0]], jobs):
                i = waiting.pop(0)
                working[i] = _start(context, runs[i])
                board.start(i, runs[i].title, runs[i].config.train.steps)
            wait([w.pipe for w in working.values()], timeout=0.5)
            if stop and not told:
                told = True
                for worker in working.values():
                    _signal(worker.process)
            for i, worker in list(working.items()):
                _listen(worker)
                board.step(i, **worker.seen)
                if not worker.process.is_alive():
                    _listen(worker)
                    outcomes[i] = worker.outcome or _killed(worker)
                    board.end(i, runs[i].title, outcomes[i])
                    worker.pipe.close()
                    del working[i]
    board.close()
    for i in waiting:
        outcomes[i] = Outcome("preempted", 0, 0.0)
    return [outcomes[i] for i in range(len(runs))]


def _context() -> Any:
    """Runs are forked from a server that has imported torch once, where the system can fork."""
    if "forkserver" in mp.get_all_start_methods():
        context = mp.get_context("forkserver")
        context.set_forkserver_preload(["bn_repro.experiment", "bn_repro.scheduler"])
        return context
    return mp.get_context("spawn")


def _jobs(run: Planned, jobs: int | None) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return jobs or max(1, (cores or 1) // run.config.threads)


def _start(context: Any, run: Planned) -> Worker:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(run, theirs), name=run.title)
    process.start()
    theirs.close()
    return Worker(run, process, ours)


def _work(run: Planned, pipe: Connection) -> None:
    """The child: one run, its progress and its outcome told through ``pipe``."""
    last = 0.0

    def tell(what: object) -> None:
        with suppress(OSError):  # nobody listens any more: the run itself goes on
            pipe.send(what)

    def progress(step: int, values: Mapping[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last > 0.2:
            last = time.monotonic()
            tell({"step": step, **values})

    try:
        tell(run_experiment(run.config, progress=progress, say=lambda line: None))
    except ValueError as error:
        tell(Outcome("failed", 0, 0.0, error=str(error)))


def _listen(worker: Worker) -> None:
    try:
        while worker.pipe.poll():
            told = worker.pipe.recv()
            if isinstance(told, Outcome):
                worker.outcome = told
            else:
                worker.seen = told
    except (EOFError, ConnectionError):
        worker.process.join(timeout=5)


def _killed(worker: Worker) -> Outcome:
    code = worker.process.exitcode
    reason = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
    return Outcome("failed", worker.seen.get("step", 0), 0.0, error=f"its process ended: {reason}")


def _signal(process: BaseProcess) -> None:
    # Ctrl-C in a terminal has reached the children already; a second SIGINT would interrupt them.
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, signal.SIGTERM)
