"""Runs in processes of this machine, forked from a server that has imported torch."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from bn_repro.config.dataset import ImageFilesConfig
from bn_repro.config.schema import Config
from bn_repro.records.reader import Outcome, last_status
from bn_repro.records.recorder import mark_as_lost
from bn_repro.stop_signal import StopFlag
from bn_repro.sweep.planned import PlannedRun
from bn_repro.sweep.scheduler import LOST, Worker, outcome_of
from bn_repro.training.world import cores, loader_workers

NOT_BEGUN = 75
"""The exit code of a run that failed before, and was stopped before it had gone on."""


class LocalExecutor:
    """Processes of this machine, ``jobs`` at a time; None: as many as :func:`side_by_side`."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs
        self.context: Any = None

    def preflight(self, configs: Sequence[Config]) -> None:
        """As :func:`bn_repro.training.run.preflight`."""
        from bn_repro.training.run import preflight  # torch

        preflight(configs)

    def has_room(self, run: PlannedRun, busy: int) -> bool:
        """Whether a core, or a part of a GPU, is free."""
        return busy < self._jobs(run)

    def _jobs(self, run: PlannedRun) -> int:
        return self.jobs or side_by_side(run.config)

    def start(self, runs: Sequence[PlannedRun], busy: Sequence[Worker]) -> Sequence[Worker]:
        """A process to each run, each in the first slot that is free; slots go round the GPUs."""
        self.context = self.context or process_context()
        slots = {worker.slot for worker in busy if isinstance(worker, Process)}
        begun: list[Worker] = []
        for run in runs:
            slot = min(set(range(len(slots) + 1)) - slots)
            slots.add(slot)
            begun.append(Process(self.context, with_limited_workers(run, self._jobs(run)), slot))
        return begun

    def wait(self, workers: Sequence[Worker]) -> None:
        """Until a process ends, half a second at most."""
        wait([w.process.sentinel for w in workers if isinstance(w, Process)], timeout=0.5)


def with_limited_workers(run: PlannedRun, jobs: int) -> PlannedRun:
    """The same run, with no more loader workers than one of ``jobs`` has cores for."""
    data = run.config.data
    if not isinstance(data, ImageFilesConfig):
        return run
    data = replace(data, workers=loader_workers(data.workers, jobs))
    return replace(run, config=replace(run.config, data=data))


def gpu_count() -> int:
    """How many GPUs torch sees here."""
    import torch  # the parent of a sweep needs it only where there is something to train

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


SHARE, SMALL = 4, 64
"""So many runs share a GPU, cores allowing, where images are at most this large: launching takes
most of their steps. A run on larger images has a GPU of its own."""


def side_by_side(config: Config) -> int:
    """How many runs like this one this machine does at once: one to a core, or on its GPUs."""
    on_cores = max(1, cores() // config.threads)
    gpus = gpu_count() if config.takes_gpu else 0
    if not gpus:
        return on_cores
    small = getattr(config.data, "image_size", 0) <= SMALL  # digits have no such key
    return max(gpus, min(on_cores, SHARE * gpus)) if small else gpus


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Child processes started in this block ignore SIGINT, which a terminal sends to them too."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def process_context() -> Any:
    """Runs are forked from a server that has imported torch once, where the system can fork."""
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["bn_repro.training.run"])
    with ignore_interrupts():  # until a run has handlers of its own
        forkserver.ensure_running()
    return context


class Process:
    """A run in a process of its own."""

    def __init__(self, context: Any, run: PlannedRun, slot: int) -> None:
        self.run, self.slot = run, slot
        self.process: BaseProcess = context.Process(
            target=_train,
            args=(run, slot, gpu_count() if run.config.takes_gpu else 0),
            name=run.title,
        )
        self._start()

    def _start(self) -> None:
        """Begin; anew where the server dies meanwhile, as it does where memory is short."""
        for pause in (0.1, 1.0):
            try:
                return self.process.start()
            except (EOFError, ConnectionError):
                time.sleep(pause)  # until it is known to be dead, and another is started
                with ignore_interrupts():
                    forkserver.ensure_running()
        self.process.start()

    def stop(self) -> None:
        """By SIGTERM; a second SIGINT, after the terminal's own, would interrupt at once."""
        if self.process.pid is not None and self.process.is_alive():
            with suppress(ProcessLookupError):  # it ends just now
                os.kill(self.process.pid, signal.SIGTERM)

    def ended(self) -> bool:
        """Whether the process has ended."""
        return not self.process.is_alive()

    def outcome(self, stopping: bool) -> Outcome:
        """What its records say; or that it was killed, or stopped before it had handlers."""
        code = self.process.exitcode or 0
        if code == 0:
            return outcome_of(self.run.directory)
        if code == NOT_BEGUN or (stopping and -code in (signal.SIGTERM, signal.SIGINT)):
            return Outcome("preempted", last_status(self.run.directory).step, 0.0)
        reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return mark_as_lost(self.run.directory, f"{LOST}: {reason}")


def _train(run: PlannedRun, slot: int, gpus: int) -> None:
    """The child: one run; what it could not begin with becomes its status."""
    choose_gpu(slot, gpus)
    from bn_repro.training.run import run as train  # torch, in the child

    with StopFlag().listening() as stop:
        try:
            outcome = train(run.config, log=lambda line: None, stop=stop)
        except Exception as error:  # bad input that the preflight could not see
            run.directory.mkdir(parents=True, exist_ok=True)
            outcome = mark_as_lost(run.directory, f"{type(error).__name__}: {error}", cause="other")
    before = last_status(run.directory).state
    if outcome.state == "preempted" and before == "failed":
        sys.exit(NOT_BEGUN)
    if outcome.state == "failed" and before != "failed":
        sys.exit(f"{run.title}: {outcome.error}")  # the disk took no status


def choose_gpu(slot: int, gpus: int) -> None:
    """Let this process see one of ``gpus`` alone; slots go round them.

    The parent counts them: to count here could start CUDA, which would then see them all.
    """
    if gpus > 1:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
        os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[slot % gpus]
