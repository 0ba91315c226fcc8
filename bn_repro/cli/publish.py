"""Send finished runs to Weights & Biases, at any later time; nothing is sent twice.

bn-repro publish wandb=online
bn-repro publish wandb=online study=fig1
bn-repro publish wandb=offline experiment=mnist/bn seed=0
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bn_repro.cli.errors import COMPLETED, FAILED
from bn_repro.cli.evaluate import runs_to_evaluate
from bn_repro.cli.main import overrides
from bn_repro.config.identity import directory_of
from bn_repro.config.schema import Config
from bn_repro.records.search import find_runs
from bn_repro.sweep import display
from bn_repro.tracking.publish import publish_all


def main(config: Config) -> int:
    """Send finished records to W&B: of an experiment, a study, or all under the runs directory."""
    directories = directories_to_send(config, overrides())
    return COMPLETED if publish_all(config, directories, display.console()) else FAILED


def directories_to_send(config: Config, own: Sequence[str]) -> list[Path]:
    """The run directories that a command names."""
    if config.study.blocks or config.experiment:
        runs, _ = runs_to_evaluate(config, own)
        return [directory_of(run.config, run.config.evaluation.world) for run in runs]
    return [run.directory for run in find_runs(config.runs)]
