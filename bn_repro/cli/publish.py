"""Send finished runs to Weights & Biases, none twice, or write event files for TensorBoard.

bn-repro publish wandb=online
bn-repro publish wandb=online study=fig1
bn-repro publish wandb=offline experiment=mnist/bn seed=0
bn-repro publish logger=tensorboard experiment=mnist/bn seed=0
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bn_repro.cli import COMPLETED, FAILED
from bn_repro.cli.evaluate import runs_to_evaluate
from bn_repro.cli.main import overrides
from bn_repro.config.identity import directory_of
from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.records.reader import last_status
from bn_repro.records.search import find_runs
from bn_repro.sweep import console
from bn_repro.tracking.publish import publish_all


def main(config: Config) -> int:
    """Show finished runs: of an experiment, of a study, or all under the runs directory."""
    directories = directories_to_send(config, overrides())
    log = partial(console.log, console.new_console())
    if config.wandb.mode != "disabled" and config.wandb.log_model == "final":
        export_all(directories, log)
    return COMPLETED if publish_all(config, directories, log) else FAILED


def export_all(directories: Sequence[Path], log: Callable[[str], None]) -> None:
    """The networks of the completed runs that have not been exported into their directories."""
    from bn_repro.training.weights import export  # torch

    for directory in directories:
        if last_status(directory).state == "completed" and not (directory / paths.WEIGHTS).exists():
            try:
                export(directory, directory / paths.WEIGHTS)
            except ValueError as error:
                log(f"{error}; without its network")


def directories_to_send(config: Config, own: Sequence[str]) -> list[Path]:
    """The run directories that a command names."""
    if config.study.blocks or config.experiment:
        runs, _ = runs_to_evaluate(config, own)
        return [directory_of(run.config, run.config.evaluation.world) for run in runs]
    return [run.directory for run in find_runs(config.runs)]
