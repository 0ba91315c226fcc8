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
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from bn_repro.distributed import StopFlag
from bn_repro.experiment import already, lost, preflight
from bn_repro.experiment import run as run_experiment
from bn_repro.progress import Board
from bn_repro.study import Planned
from bn_repro.train import Outcome


@dataclass
class Worker:
    """A run in progress."""

    run: Planned
    process: BaseProcess
    pipe: Connection
    slot: int
    outcome: Outcome | None = None
    seen: dict[str, Any] = field(default_factory=dict)


def run_all(runs: Sequence[Planned], board: Board, jobs: int | None = None) -> list[Outcome]:
    """Bring all ``runs`` to their end, ``jobs`` at a time; outcomes in the order given.

    Finished runs are not done again; ValueError where one of the others could not train, before any
    begins. A signal asks the running ones to stop at their next step; those that had not begun are
    ``preempted`` at step 0.
    """
    outcomes = {i: done for i, run in enumerate(runs) if (done := already(run.config)) is not None}
    waiting = [i for i in range(len(runs)) if i not in outcomes]
    preflight([runs[i].config for i in waiting])
    board.begin([runs[i].config.train.steps for i in waiting], finished=len(outcomes))
    working: dict[int, Worker] = {}
    with StopFlag(patient=True).listening() as stop:
        context, told = _context() if waiting else None, False
        while working or (waiting and not stop):
            while waiting and not stop and len(working) < _jobs(runs[waiting[0]], jobs):
                i = waiting.pop(0)
                slot = min(set(range(len(working) + 1)) - {w.slot for w in working.values()})
                working[i] = _start(context, runs[i], slot)
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
                    outcomes[i] = worker.outcome or _died(worker, bool(stop))
                    board.end(i, runs[i].title, outcomes[i])
                    worker.pipe.close()
                    del working[i]
    board.close()
    for i in waiting:
        outcomes[i] = Outcome("preempted", 0, 0.0)
    return [outcomes[i] for i in range(len(runs))]


def _context() -> Any:
    """Runs are forked from a server that has imported torch once, where the system can fork."""
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["bn_repro.scheduler"])
    # The server begins deaf to Ctrl-C, which is for the runs: they listen once they are there.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)
    return context


def _jobs(run: Planned, jobs: int | None) -> int:
    if jobs is None and run.config.device in ("auto", "cuda") and torch.cuda.is_available():
        return torch.cuda.device_count()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return jobs or max(1, (cores or 1) // run.config.threads)


def _start(context: Any, run: Planned, slot: int) -> Worker:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(run, theirs, slot), name=run.title)
    process.start()
    theirs.close()
    return Worker(run, process, ours, slot)


def _work(run: Planned, pipe: Connection, slot: int) -> None:
    """The child: one run, its progress and its outcome told through ``pipe``.

    The runs in progress are spread over the GPUs; a process sees its own alone.
    """
    gpus = torch.cuda.device_count()
    if gpus > 1:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
        os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[slot % gpus]
    last = 0.0

    def tell(what: object) -> None:
        with suppress(OSError):  # nobody listens any more: the run itself goes on
            pipe.send(what)

    def progress(step: int, values: Mapping[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last > 0.2:
            last = time.monotonic()
            tell({"step": step, **values})

    with StopFlag().listening() as stop:
        try:
            tell(run_experiment(run.config, progress=progress, say=lambda line: None, stop=stop))
        except Exception as error:  # bad input that the preflight could not see
            tell(Outcome("failed", 0, 0.0, error=f"{type(error).__name__}: {error}"))


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


def _died(worker: Worker, stopping: bool) -> Outcome:
    """The outcome of a run whose process told none: killed, or stopped before it listened."""
    code = worker.process.exitcode or 0
    if stopping and -code in (signal.SIGTERM, signal.SIGINT):
        return Outcome("preempted", worker.seen.get("step", 0), 0.0)
    reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return lost(worker.run.config, f"its process ended: {reason}")


def _signal(process: BaseProcess) -> None:
    # Ctrl-C in a terminal has reached the children already; a second SIGINT would interrupt them.
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, signal.SIGTERM)
