"""``scripts/publish_wandb.py``: finished runs sent to Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bn_repro.analysis import tables
from bn_repro.cli.errors import COMPLETED, FAILED
from bn_repro.cli.evaluate import chosen as chosen_runs
from bn_repro.cli.main import words
from bn_repro.config.identity import directory_of
from bn_repro.config.schema import Config
from bn_repro.sweep import display
from bn_repro.tracking.publish import publish_all


def main(config: Config) -> int:
    """Send finished records to W&B: of an experiment, a study, or all under the runs directory."""
    whole = publish_all(config, chosen(config, words()), display.console())
    return COMPLETED if whole else FAILED


def chosen(config: Config, words: Sequence[str]) -> list[Path]:
    """The run directories that a command names."""
    if config.study.blocks or config.experiment:
        runs, _ = chosen_runs(config, words)
        return [directory_of(run.config, run.config.evaluation.world) for run in runs]
    return [m.directory for m in tables.discover(config.runs) if m.directory is not None]
