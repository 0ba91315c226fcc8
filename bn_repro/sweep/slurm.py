"""Runs as jobs of submitit: of a SLURM cluster, or local processes that stand in for one.

A job that gets SIGUSR2, as when its time is up, saves its state, queues itself again and goes on.
One that gets SIGTERM may have been cancelled: it saves its state and ends. Its machine may have
what this one has not, a GPU for one; so a run that cannot train there fails in its job.
"""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from bn_repro.config.identity import directory_of
from bn_repro.config.schema import Config, check
from bn_repro.records.files import ensure_writable
from bn_repro.records.reader import Outcome, last_status
from bn_repro.records.recorder import mark_as_lost
from bn_repro.stop_signal import StopFlag
from bn_repro.sweep.local import ignore_interrupts, side_by_side
from bn_repro.sweep.planned import PlannedRun
from bn_repro.sweep.scheduler import LOST, Worker, failed_before

PREEMPTION = "SIGUSR2"
"""The signal that submitit lets a cluster send before it takes the machine away."""
ASK_SECONDS = 10.0
"""After Ctrl-C, how often the cluster is asked."""


@dataclass(frozen=True)
class SlurmExecutor:
    """Jobs on ``cluster``, ``slurm`` or ``local``; submitit's own files lie in ``folder``.

    ``common`` are submitit's parameters for any cluster, ``special`` those of this one.
    """

    cluster: str
    folder: str
    jobs: int | None = None
    max_num_timeout: int = 0
    common: Mapping[str, Any] = field(default_factory=dict)
    special: Mapping[str, Any] = field(default_factory=dict)

    def preflight(self, configs: Sequence[Config]) -> None:
        """ValueError for the first of ``configs`` that no machine could train."""
        for config in configs:
            check(config)
            ensure_writable(directory_of(config))

    def has_room(self, run: PlannedRun, busy: int) -> bool:
        """On a cluster always, unless ``jobs`` are at work: it queues the others.

        On this machine (``cluster=local``) ``jobs``, by default one to a core; one alone where jobs
        use GPUs, since submitit shows all of them the same ones.
        """
        if self.cluster != "local":
            return self.jobs is None or busy < self.jobs
        on_gpus = self.common.get("gpus_per_node", 0) > 0
        here = 1 if on_gpus else side_by_side(replace(run.config, device="cpu"))
        return busy < (self.jobs or here)

    def start(self, runs: Sequence[PlannedRun], busy: Sequence[Worker]) -> Sequence[Worker]:
        """Submit the runs together: on SLURM one array. ValueError for what submitit refuses."""
        import submitit  # of an extra
        from submitit.core.utils import FailedJobError

        try:
            own = {f"{self.cluster}_max_num_timeout": self.max_num_timeout}
            executor = submitit.AutoExecutor(self.folder, cluster=self.cluster, **own)
            special = {f"{self.cluster}_{key}": value for key, value in self.special.items()}
            executor.update_parameters(**self.common, **special)
            with ignore_interrupts(), executor.batch():
                training = Training(tuple(sys.argv))
                jobs = [executor.submit(training, run.config) for run in runs]
        except (NameError, AssertionError, RuntimeError, FailedJobError) as e:
            raise ValueError(f"hydra/launcher: submitit: {str(e).splitlines()[0]}") from e
        return [Job(run, job, self.cluster) for run, job in zip(runs, jobs, strict=True)]

    def wait(self, workers: Sequence[Worker]) -> None:
        """A moment; a cluster's shared disk is asked less often."""
        time.sleep(0.5 if self.cluster == "local" else 5.0)


@dataclass(frozen=True)
class Training:
    """What a job does: one run; submitit calls ``checkpoint`` when it queues the job again."""

    command: tuple[str, ...]
    """The command line that the run was asked for by; its manifest keeps it."""

    def __call__(self, config: Config) -> Outcome:
        """Bring the run to its end, or to where the cluster wants it stopped."""
        from bn_repro.training.run import run  # torch, in the job

        sys.argv[:] = self.command
        stop = StopFlag()
        outcome = run(config, stop=stop)
        if outcome.state == "preempted" and stop.name == PREEMPTION:
            signal.raise_signal(getattr(signal, PREEMPTION))  # submitit's own handler queues it
        if outcome.state == "failed":
            raise RuntimeError(outcome.error)  # else the cluster would call the job completed
        return outcome

    def checkpoint(self, config: Config) -> Any:
        """The same again: the run goes on from its own checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, config)


class Job:
    """A run that is a job."""

    asked: ClassVar[float] = -math.inf
    """When the cluster was last asked how its cancelled jobs are."""

    def __init__(self, run: PlannedRun, job: Any, cluster: str) -> None:
        self.run, self.job, self.cluster = run, job, cluster
        self.stopped = False

    def stop(self) -> None:
        """Cancel the job; at work, it saves its state."""
        self.stopped = True
        if self.cluster == "local":  # submitit's own way gives it a second
            with suppress(ProcessLookupError):  # it ends just now
                os.kill(int(self.job.job_id), signal.SIGTERM)
        else:
            self.job.cancel(check=False)

    def ended(self) -> bool:
        """Whether the job has ended, and is not merely queued again."""
        # One that was cancelled before it began leaves no result, so the cluster has to be asked,
        # and submitit asks it seldom. Its answer is of all jobs.
        now = time.monotonic()
        ask = self.stopped and now - Job.asked > ASK_SECONDS
        Job.asked = now if ask else Job.asked
        return self.job.done(force_check=ask)

    def outcome(self, stopping: bool) -> Outcome:
        """What it returned; or how it was lost."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        # submitit waits a while for a result; of a job that was taken back there may be none.
        missing = not self.job.paths.result_pickle.exists()
        if missing and stopping:
            return Outcome("preempted", last_status(self.run.directory).step, 0.0)
        reason = f"{LOST}: job {self.job.job_id} left no result; see {self.job.paths.stderr}"
        if missing and self.cluster == "local":
            return mark_as_lost(self.run.directory, reason)
        try:
            return self.job.result()
        except FailedJobError as error:  # its status says why; or submitit's traceback does
            before = failed_before([self.run]).get(self.run.directory)
            lines = [line for line in str(error).splitlines() if re.match(r"[\w.]+: ", line)]
            if before or not lines:
                return before or mark_as_lost(self.run.directory, reason)
            return mark_as_lost(self.run.directory, lines[-1], cause="other")
        except UncompletedJobError:
            return mark_as_lost(self.run.directory, reason)
