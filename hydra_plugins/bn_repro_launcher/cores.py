"""``-m`` sweeps reach the scheduler that studies use: a process a run, one to a core."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class CoresLauncher(Launcher):
    """Composes the jobs of a sweep and runs them side by side."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra's own hook; the task itself is not called, its runs are."""
        self.context, self.config = hydra_context, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs; each one's outcome is its return value."""
        from bn_repro import cli
        from bn_repro.compose import plain
        from bn_repro.study import Planned

        loader = self.context.config_loader
        try:
            runs = []
            for overrides in job_overrides:
                composed = loader.load_sweep_config(self.config, list(overrides))
                with open_dict(composed):
                    del composed["hydra"]
                runs.append(Planned(plain(composed), _varied(overrides)))
            outcomes = cli.train_sweep(runs, self.jobs)
        except ValueError as error:
            cli.exit_code = cli.refuse(error)
            return []
        returns = []
        for outcome, overrides in zip(outcomes, job_overrides, strict=True):
            done = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
            done.return_value = outcome
            returns.append(done)
        return returns


def _varied(overrides: Sequence[str]) -> dict[str, str]:
    pairs = (word.split("=", 1) for word in overrides if "=" in word)
    return {key: value for key, value in pairs if key not in ("experiment", "seed", "runs")}
