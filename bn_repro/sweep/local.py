"""Runs in processes of this machine, forked from a server that has imported torch."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from bn_repro.config.schema import Config
from bn_repro.records.reader import Outcome
from bn_repro.records.recorder import mark_as_lost
from bn_repro.sweep.scheduler import LOST, Worker
from bn_repro.sweep.study import PlannedRun
from bn_repro.training.stop_signal import StopFlag


class LocalExecutor:
    """A crew of this machine's processes, ``jobs`` at a time; null: one to a core, or to a GPU."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs
        self.context: Any = None

    def preflight(self, configs: Sequence[Config]) -> None:
        """As :func:`bn_repro.cli.train.run.preflight`."""
        from bn_repro.training.run import preflight  # torch

        preflight(configs)

    def room(self, run: PlannedRun, busy: int) -> bool:
        """Whether a core, or a GPU, is free."""
        return busy < (self.jobs or side_by_side(run.config))

    def start(self, runs: Sequence[PlannedRun], busy: Sequence[Worker]) -> Sequence[Worker]:
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


def gpu_count() -> int:
    """How many GPUs torch sees here."""
    import torch  # the parent of a sweep needs it only where there is something to train

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def side_by_side(config: Config) -> int:
    """How many runs like this one this machine does at once."""
    gpus = gpu_count() if config.device in ("auto", "cuda") else 0
    if gpus:
        return gpus
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // config.threads)


@contextmanager
def ignore_interrupts() -> Iterator[None]:
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
    context.set_forkserver_preload(["bn_repro.training.run", "torch._dynamo"])
    with ignore_interrupts():  # Ctrl-C is for the runs: they listen once they are there
        forkserver.ensure_running()
    return context


class Process:
    """A run in a process of its own, which tells its progress through a pipe."""

    def __init__(self, context: Any, run: PlannedRun, slot: int) -> None:
        self.run, self.slot = run, slot
        self.seen: dict[str, Any] = {"step": 0}
        self.told: Outcome | None = None
        self.pipe: Connection
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(
            target=_work, args=(run, theirs, slot, gpu_count()), name=run.title
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
        return mark_as_lost(self.run.directory, f"{LOST}: {reason}")


def _work(run: PlannedRun, pipe: Connection, slot: int, gpus: int) -> None:
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

    from bn_repro.training.run import run as run_experiment  # torch, in the child

    with StopFlag().listening() as stop:
        try:
            tell(run_experiment(run.config, progress=progress, log=lambda line: None, stop=stop))
        except Exception as error:  # bad input that the preflight could not see
            tell(Outcome("failed", 0, 0.0, error=f"{type(error).__name__}: {error}"))
