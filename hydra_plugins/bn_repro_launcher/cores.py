"""``-m`` sweeps reach the scheduler that studies use; the launcher says where their runs work."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from bn_repro.config.schema import Config
    from bn_repro.sweep.planned import PlannedRun
    from bn_repro.sweep.scheduler import Executor

COMMON = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "name")
"""What submitit calls by one name for every cluster."""


class ComposedByLauncher:
    """Hydra's loader, but no sweeper composes a job by it, to see that it can be: the launcher
    composes all before the first begins, once for all seeds."""

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """No job's: sweepers do not look at it."""
        return master_config


class CoresLauncher(Launcher):
    """Composes the jobs of a sweep and runs them side by side on this machine, ``jobs`` at once."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra's own hook; ``task_function`` is not called: it keeps the results."""
        loader = ComposedByLauncher(hydra_context.config_loader)
        hydra_context.config_loader = loader  # pyright: ignore
        self.config, self.command = config, task_function

    def executor(self, jobs: int | None = None) -> Executor:
        """Where runs work; ``jobs`` side by side where the launcher gives no number."""
        from bn_repro.sweep.local import LocalExecutor

        return LocalExecutor(self.side_by_side(jobs))

    def expected_jobs(self, jobs: int | None, config: Config) -> int | None:
        """How many runs like that of ``config`` are at work at once, as far as that is known."""
        from bn_repro.sweep.local import side_by_side

        return self.side_by_side(jobs) or side_by_side(config)

    def side_by_side(self, jobs: int | None) -> int | None:
        """Its own number of jobs, else ``jobs``. ValueError for one with which none would begin."""
        if self.jobs is not None and (type(self.jobs) is not int or self.jobs < 1):
            raise ValueError(f"hydra.launcher.jobs: {self.jobs!r} is not 1 or more, or null")
        return self.jobs or jobs

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs; what each returns is its accuracy, for a sweeper that seeks the best."""
        from bn_repro.cli import train
        from bn_repro.cli.main import Command
        from bn_repro.cli.results import Results
        from bn_repro.config.compose import compose_once
        from bn_repro.sweep.console import new_console
        from bn_repro.sweep.planned import PlannedRun

        assert isinstance(self.command, Command)
        if not job_overrides:
            raise ValueError("-m: nothing to run: a swept key has no values")
        hydra = self.config.hydra
        same = _as_sweepers_write(hydra.overrides.task)
        runs = [
            PlannedRun(
                compose_once([*hydra.overrides.hydra, *words], hydra.job.config_name),
                _varied(words, same),
            )
            for words in job_overrides
        ]
        self.command.begun = True
        if runs[0].config.dry:
            return self._said(runs)
        results = self.command.results or Results(runs[0].config, new_console())
        outcomes = train.train_sweep(runs, self.executor(), results)
        self.command.results = results
        if results.ended:
            raise KeyboardInterrupt  # to a sweeper, which else would send its next jobs
        returns = []
        for outcome, overrides in zip(outcomes, job_overrides, strict=True):
            done = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
            done.return_value = 0.0 if outcome.state == "diverged" else outcome.top1
            returns.append(done)
        return returns

    def _said(self, runs: Sequence[PlannedRun]) -> Sequence[JobReturn]:
        """What the jobs would take, of a sweep whose jobs are all known."""
        from bn_repro.cli import dry

        if not self.config.hydra.sweeper._target_.endswith("BasicSweeper"):
            raise ValueError("dry: a search chooses its runs as it goes; leave out hydra/sweeper")
        dry.sweep(runs, self.expected_jobs(None, runs[0].config))
        return [JobReturn(status=JobStatus.COMPLETED) for _ in runs]


class SubmititLauncher(CoresLauncher):
    """Runs the jobs of a sweep on a cluster, by submitit."""

    def __init__(
        self,
        cluster: str,
        submitit_folder: str,
        jobs: int | None = None,
        max_num_timeout: int = 0,
        **parameters: Any,
    ) -> None:
        super().__init__(jobs)
        self.cluster, self.folder = cluster, submitit_folder
        self.max_num_timeout, self.parameters = max_num_timeout, parameters

    def expected_jobs(self, jobs: int | None, config: Config) -> int | None:
        """The number of its jobs at once; how many the cluster gives is not known."""
        return self.side_by_side(jobs)

    def executor(self, jobs: int | None = None) -> Executor:
        """That of the cluster. ValueError where submitit is not installed."""
        if find_spec("submitit") is None:
            from bn_repro.records.paths import extra_command

            raise ValueError(f"hydra/launcher: submitit is not installed; {extra_command('slurm')}")
        from bn_repro.config.fields import expanded
        from bn_repro.sweep.slurm import SlurmExecutor

        plain = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in self.parameters.items()
            if value is not None
        }
        return SlurmExecutor(
            self.cluster,
            expanded("hydra.launcher.submitit_folder", self.folder),
            self.side_by_side(jobs),
            self.max_num_timeout,
            common={key: value for key, value in plain.items() if key in COMMON},
            special={key: value for key, value in plain.items() if key not in COMMON},
        )


def _as_sweepers_write(typed: Sequence[str]) -> set[str]:
    """``live=false`` reaches a job as ``live=False``."""
    overrides = OverridesParser.create().parse_overrides(list(typed))
    plain = (o for o in overrides if not o.is_sweep_override())
    return {f"{o.get_key_element()}={o.get_value_element_as_str()}" for o in plain}


def _varied(overrides: Sequence[str], same: set[str]) -> dict[str, str]:
    """What tells a job from the others: not what was typed for all of them."""
    pairs = (word.split("=", 1) for word in overrides if "=" in word and word not in same)
    return {key: value for key, value in pairs if key not in ("experiment", "seed", "runs")}
