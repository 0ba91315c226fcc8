"""Many runs at once, none of which can harm another.

A crew is where they go: the processes of this machine here, a cluster's jobs in ``cluster.py``. A
run that is killed, or fails, leaves the others running; its directory says why, and asking again
resumes it.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import torch

from bn_repro import rundir
from bn_repro.config import Config
from bn_repro.distributed import StopFlag
from bn_repro.experiment import already, lost, preflight
from bn_repro.experiment import run as run_experiment
from bn_repro.progress import Board
from bn_repro.record import read_json
from bn_repro.study import Planned
from bn_repro.train import Outcome

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


class Crew(Protocol):
    """Where runs go to work."""

    def preflight(self, configs: Sequence[Config]) -> None:
        """ValueError for the first of ``configs`` that could not train there."""
        ...

    def room(self, run: Planned, busy: int) -> bool:
        """Whether ``run`` may begin beside ``busy`` others."""
        ...

    def start(self, runs: Sequence[Planned], busy: Sequence[Worker]) -> Sequence[Worker]:
        """Send ``runs`` to work, beside the ``busy``."""
        ...

    def wait(self, workers: Sequence[Worker]) -> None:
        """Until one of ``workers`` may have news, or for a moment."""
        ...


def run_all(
    runs: Sequence[Planned],
    board: Board,
    crew: Crew,
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
        done = (left or {}).get(run.directory) or already(run.config)
        if done is not None:
            outcomes[i] = done
    waiting = [i for i in range(len(runs)) if i not in outcomes]
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


def failed_before(runs: Sequence[Planned]) -> dict[Path, Outcome]:
    """The runs that failed of themselves, by their directories; one that was killed did not."""
    found: dict[Path, Outcome] = {}
    for run in runs:
        status = read_json(run.directory / rundir.STATUS) or {}
        error = str(status.get("error"))
        if status.get("state") == "failed" and not error.startswith(LOST):
            step, seconds = int(status.get("step", 0)), float(status.get("seconds", 0.0))
            found[run.directory] = Outcome("failed", step, seconds, error=error)
    return found


class Processes:
    """A crew of this machine's processes, ``jobs`` at a time; null: one to a core, or to a GPU."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs
        self.context: Any = None

    def preflight(self, configs: Sequence[Config]) -> None:
        """As :func:`bn_repro.experiment.preflight`."""
        preflight(configs)

    def room(self, run: Planned, busy: int) -> bool:
        """Whether a core, or a GPU, is free."""
        return busy < (self.jobs or side_by_side(run.config))

    def start(self, runs: Sequence[Planned], busy: Sequence[Worker]) -> Sequence[Worker]:
        """A process to each run, each in a slot of its own."""
        self.context = self.context or _context()
        slots = {w.slot for w in busy if isinstance(w, Process)}
        begun: list[Worker] = []
        for run in runs:
            slot = min(set(range(len(slots) + 1)) - slots)
            slots.add(slot)
            begun.append(Process(self.context, run, slot))
        return begun

    def wait(self, workers: Sequence[Worker]) -> None:
        """Until a process says something, half a second at most."""
        wait([w.pipe for w in workers if isinstance(w, Process)], timeout=0.5)


def side_by_side(config: Config) -> int:
    """How many runs like this one this machine does at once."""
    if config.device in ("auto", "cuda") and torch.cuda.is_available():
        return torch.cuda.device_count()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // config.threads)


@contextmanager
def deaf() -> Iterator[None]:
    """What begins within does not hear Ctrl-C, which a terminal sends to it too."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _context() -> Any:
    """Runs are forked from a server that has imported torch once, where the system can fork.

    Its compiler too: the first optimizer imports that, in 1.5 s, however it is going to train.
    """
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["bn_repro.scheduler", "torch._dynamo"])
    with deaf():  # Ctrl-C is for the runs: they listen once they are there
        forkserver.ensure_running()
    return context


class Process:
    """A run in a process of its own, which tells its progress through a pipe."""

    def __init__(self, context: Any, run: Planned, slot: int) -> None:
        self.run, self.slot = run, slot
        self.seen: dict[str, Any] = {"step": 0}
        self.told: Outcome | None = None
        self.pipe: Connection
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(
            target=_work, args=(run, theirs, slot, torch.cuda.device_count()), name=run.title
        )
        self.process.start()
        theirs.close()

    def listen(self) -> None:
        """Take what the pipe holds."""
        try:
            while self.pipe.poll():
                told = self.pipe.recv()
                if isinstance(told, Outcome):
                    self.told = told
                else:
                    self.seen = told
        except (EOFError, ConnectionError):
            self.process.join(timeout=5)

    def stop(self) -> None:
        """By SIGTERM; a second SIGINT, after the terminal's own, would interrupt at once."""
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGTERM)

    def over(self) -> bool:
        """Whether the process has ended."""
        return not self.process.is_alive()

    def outcome(self, stopping: bool) -> Outcome:
        """What it told; or that it was killed, or stopped before it listened."""
        self.pipe.close()
        code = self.process.exitcode or 0
        if self.told is not None:
            return self.told
        if stopping and -code in (signal.SIGTERM, signal.SIGINT):
            return Outcome("preempted", self.seen["step"], 0.0)
        reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return lost(self.run.config, f"{LOST}: {reason}")


def _work(run: Planned, pipe: Connection, slot: int, gpus: int) -> None:
    """The child: one run, its progress and its outcome told through ``pipe``.

    The runs in progress are spread over the GPUs; a process sees its own alone.
    """
    if gpus > 1:  # counted by the parent: here CUDA may begin by it, and see them all for good
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
