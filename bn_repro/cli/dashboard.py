"""``scripts/wandb_dashboard.py``: a report on the project's runs, saved in W&B."""

from __future__ import annotations

from bn_repro.cli.errors import COMPLETED
from bn_repro.config.schema import Config
from bn_repro.tracking.dashboard import save


def main(config: Config) -> int:
    """Save the report and print its address."""
    print(save(config))
    return COMPLETED
