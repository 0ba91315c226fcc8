"""Write the trained network of a finished run to a file (safetensors), with a model card beside it.

bn-repro export experiment=mnist/bn seed=0
bn-repro export experiment=mnist/bn seed=0 out=bn.safetensors
"""

from __future__ import annotations

from pathlib import Path

from bn_repro.cli import COMPLETED
from bn_repro.config.identity import directory_of
from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.training.finished import check_no_copy


def main(config: Config) -> int:
    """Write the network of one run and its model card, and say where."""
    if not config.experiment:
        raise ValueError("nothing to export: give experiment=..., and what its run was given")
    from bn_repro.training import weights  # torch

    directory = directory_of(config, config.evaluation.world)
    check_no_copy(directory)
    file = Path(config.out or directory / paths.WEIGHTS)
    print(f"wrote {file} and {weights.export(directory, file)}")
    return COMPLETED
