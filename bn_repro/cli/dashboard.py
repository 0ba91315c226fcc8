"""Save a report in the runs' W&B project, and print its address.

bn-repro dashboard                          Figures 1 to 4
bn-repro dashboard study=dropout            a study's runs, a line for each setting
bn-repro dashboard 'wandb.tags=[mine]'      the runs with that tag
"""

from __future__ import annotations

from bn_repro.cli import COMPLETED
from bn_repro.config.schema import Config
from bn_repro.tracking.dashboard import save


def main(config: Config) -> int:
    """Save the report and print its address."""
    print(save(config))
    return COMPLETED
